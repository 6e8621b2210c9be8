"""Runs maintenance rounds in a new process, like the component, at a given time."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

from cryptoviz.settings import Settings
from spark_jobs.maintenance.result import RoundResult
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from spark_jobs.tables.table_log import CONFIGURATION

__all__ = ["later", "tend", "tend_until_done"]

_MOST_ROUNDS = 60
# A benchmark's clock jumps, so gap detection and candles are meaningless.
_TIDYING = frozenset({"sweep", "compact", "mark", "log"})


def tend(settings: Settings, now: datetime, log_keep_s: float | None = None) -> RoundResult:
    """A round of the steps for data files. `now`: its wall-clock time. `log_keep_s`: retention of the log instead of the product's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_round, settings, now, log_keep_s).result()


def tend_until_done(settings: Settings, now: datetime) -> list[RoundResult]:
    """Run rounds until nothing is left to merge. Raises SystemExit if a round fails."""
    done: list[RoundResult] = []
    while len(done) < _MOST_ROUNDS:
        done.append(tend(settings, now))
        if done[-1].failures:
            raise SystemExit(f"maintenance failed: {'; '.join(done[-1].failures)}")
        if not done[-1].figures.get("merges"):
            break
    return done


def later() -> datetime:
    """A time at which all days of the benchmark are closed and quiet."""
    return datetime.now(UTC) + timedelta(days=2)


def _round(settings: Settings, now: datetime, log_keep_s: float | None) -> RoundResult:
    if log_keep_s is not None:
        CONFIGURATION.update(
            dict.fromkeys(("delta.logRetentionDuration", "delta.deletedFileRetentionDuration"), f"interval {log_keep_s:.0f} seconds")
        )
    steps = [step for step in STEPS if step.name in _TIDYING]
    return run_round(RoundContext(settings, settings.home / "maintenance-scratch", now=lambda: now), steps)
