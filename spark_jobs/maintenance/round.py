"""A maintenance round. It runs for seconds in a process of its own (`spark_jobs.maintenance.__main__`), so that rows and libraries take memory only
while needed.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptoviz.components import MAINTENANCE
from cryptoviz.errors import CryptoVizError
from cryptoviz.lake.delta import TABLE_ERRORS
from cryptoviz.lake.store_errors import reason
from cryptoviz.local.private import write_private
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.settings import Settings, settings_from_environment
from spark_jobs.maintenance.result import PROGRESS_SUFFIX, RoundResult
from spark_jobs.maintenance.safe_clock import EarlierClock
from spark_jobs.maintenance.steps import STEPS, RoundContext, Step
from spark_jobs.tables.lease import Lease, LeaseHeld, lease_object, lease_of

__all__ = ["main", "run", "run_round"]

_LEASE_WAIT_S = 300.0
"""Another round, scheduled or manual, takes seconds; the first round of a large lake takes minutes."""
_LEASE_POLL_S = 1.0
_FAILURES: tuple[type[Exception], ...] = (CryptoVizError, *TABLE_ERRORS)

log = get_logger("maintenance")


def run_round(context: RoundContext, steps: Sequence[Step] = STEPS) -> RoundResult:
    """Run the steps. The result lists failures by step."""
    begun = time.monotonic()
    shutil.rmtree(context.scratch, ignore_errors=True)
    # A unique folder: a superseded round must not mistake files of the next round for its own.
    context = replace(context, scratch=context.scratch / uuid.uuid4().hex)
    context.scratch.mkdir(parents=True)
    failures = []
    durations = {}
    for step in steps:
        context.say(step.name)
        step_begun = time.monotonic()
        try:
            step.run(context)
        except _FAILURES as error:
            log.warning("maintenance_step_failed", step=step.name, error=f"{type(error).__name__}: {reason(error)}")
            failures.append(f"{step.name}: {reason(error)}")
        durations[step.name] = round((time.monotonic() - step_begun) * 1000, 1)
    shutil.rmtree(context.scratch, ignore_errors=True)
    if context.clock_warning:
        log.warning("clocks_differ", clock_warning=context.clock_warning)
    return RoundResult(
        figures=dict(context.figures),
        failures=tuple(failures),
        warnings=(context.clock_warning,) if context.clock_warning else (),
        step_ms=durations,
        took_ms=round((time.monotonic() - begun) * 1000, 1),
        window_ms=context.window_ms,
        peak_rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )


def main(settings: Settings, target: Path, tables: tuple[str, ...] = ()) -> None:
    """Run a round of `tables` (empty: all) and write its result to `target` as JSON. Its progress text is in a file with the suffix `.progress`."""
    progress = target.with_suffix(PROGRESS_SUFFIX)

    def say(text: str) -> None:
        write_private(progress, text)

    lease = lease_of(settings, MAINTENANCE, str(settings.home), uuid.uuid4().hex[:12])
    try:
        _acquire(lease, say)
        try:
            clock = EarlierClock(lease_object(settings, MAINTENANCE).now())
            # A round that has lost its lease stops at the next check; until then it does no harm (`spark_jobs.tables.replace_files`).
            context = RoundContext(
                settings,
                settings.home / "maintenance-scratch",
                tables=tables,
                now=clock.now,
                clock_warning=clock.warning,
                check=lease.check,
                say=say,
                at=lambda _: lease.check(),
            )
            result = run_round(context)
        finally:
            lease.release()
    except CryptoVizError as error:
        result = RoundResult(failures=(error.message,))
    write_private(target, json.dumps(result.to_json_dict()))
    progress.unlink(missing_ok=True)


def _acquire(lease: Lease, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _LEASE_WAIT_S
    while True:
        try:
            lease.acquire()
        except LeaseHeld as held:
            if time.monotonic() > deadline:
                raise
            say(held.message)
            threading.Event().wait(_LEASE_POLL_S)
        else:
            return


def run(target: Path, tables: tuple[str, ...]) -> None:
    """`main` with the settings of the environment, logging to stdout."""
    settings = settings_from_environment()
    configure_logging(settings.log_level, sys.stdout, settings.log_format)
    main(settings, target, tables)
