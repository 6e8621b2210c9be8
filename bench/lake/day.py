"""Growth of memory and descriptors over 24 hours at a 60 s tick, with an accelerated clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bench.lake.environment import engines, lake_host
from bench.lake.feed import steady_ticks
from bench.lake.figures import Figure, Part
from bench.lake.maintenance_rounds import later, tend, tend_until_done
from bench.lake.position import wait_for
from bench.lake.records import START_MS, records
from bench.lake.tables import table_bytes
from bench.lake.usage import Family
from bench.lake.verify_summary import verdict
from tests.support.topics import ends_of

__all__ = ["Sizes", "creep", "day", "growth"]

_COINS = 17
_TICK_MS = 60_000
_DRAIN_TIMEOUT_S = 120.0
_LAKE_KINDS = ("executor JVM", "driver JVM", "Python workers", "lake actor")
_FLAT_MB = 50.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Ticks, seconds between them, and the interval of measurements and maintenance."""

    ticks: int = 1_440
    gap_s: float = 0.3
    looks: int = 24


@dataclass(frozen=True, slots=True)
class _Look:
    tick: int
    memory_by_kind: dict[str, float]
    descriptors_by_kind: dict[str, float]
    files: int

    @property
    def memory_mb(self) -> float:
        """PSS of all processes of the lake."""
        return round(sum(self.memory_by_kind.values()), 1)

    @property
    def descriptors(self) -> float:
        """Open descriptors of all processes of the lake."""
        return sum(self.descriptors_by_kind.values())


def day(sizes: Sizes) -> Part:
    """The lake job runs throughout; maintenance runs at each measurement, at the benchmark's clock."""
    looks: list[_Look] = []
    with engines(lake={"compact_files": 20}) as settings:
        with lake_host(settings) as host:
            host.start()
            source = records(sizes.ticks * _COINS, "full", tick_ms=_TICK_MS)
            family = Family()
            per_look = max(1, sizes.ticks // sizes.looks)
            for first in range(0, sizes.ticks, per_look):
                steady_ticks(settings, source, _COINS, min(per_look, sizes.ticks - first), sizes.gap_s)
                wait_for(settings, ends_of(settings, settings.kafka.stream_topic), _DRAIN_TIMEOUT_S)
                tick = min(first + per_look, sizes.ticks)
                tend(settings, datetime.fromtimestamp((START_MS + tick * _TICK_MS) / 1000, UTC))
                looks.append(_Look(tick, _lake(family.memory_mb()), _lake(family.descriptors()), table_bytes(settings)[1]))
            batches = host.probe().metrics["batches_total"]
            tend_until_done(settings, later())
            closed = table_bytes(settings)[1]
        proof = verdict(settings)
    warm = looks[len(looks) // 4 :]
    memory_growth = growth([look.tick for look in warm], [look.memory_mb for look in warm])
    fd_growth = creep([look.descriptors for look in looks])
    return Part(
        name="day",
        title="24 hours at a fast clock",
        sizes=f"{sizes.ticks} ticks of {_COINS} coins, {sizes.gap_s:g} s apart; {batches:.0f} batches; maintenance {len(looks)} times",
        figures=(
            Figure("memory of the lake's processes", round(looks[-1].memory_mb), "MB PSS", note=f"{_series(looks, 'memory_mb')}"),
            Figure(
                "its growth over the last three quarters",
                round(memory_growth * sizes.ticks, 1),
                "MB a day",
                f"< {_FLAT_MB:g}",
                memory_growth * sizes.ticks < _FLAT_MB,
            ),
            Figure("open descriptors", looks[-1].descriptors, "", note=_series(looks, "descriptors")),
            Figure("their growth, by the fewest of the middle and of the last third", fd_growth, "", "< 5", fd_growth < 5),
            Figure("files of the open day", looks[-1].files, "", note=_series(looks, "files")),
            Figure("files once the day is closed", closed, "", "1", closed == 1),
        ),
        verifier=proof,
        notes=tuple(
            f"{kind}: MB {_each(look.memory_by_kind[kind] for look in looks)}; descriptors {_each(look.descriptors_by_kind[kind] for look in looks)}"
            for kind in _LAKE_KINDS
        ),
    )


def growth(at: list[int], values: list[float]) -> float:
    """The slope of a straight line through the values, by least squares."""
    return float(np.polyfit(at, values, 1)[0])


def creep(values: list[float]) -> float:
    """Difference between the minimum of the last third and that of the third before: connections vary, a leak stays."""
    third = max(1, len(values) // 3)
    return min(values[-third:]) - min(values[-2 * third : -third] or values)


def _lake(by_kind: dict[str, float]) -> dict[str, float]:
    return {kind: by_kind.get(kind, 0.0) for kind in _LAKE_KINDS}


def _each(values: Iterable[float]) -> str:
    return " ".join(f"{value:.0f}" for value in values)


def _series(looks: list[_Look], name: str) -> str:
    step = max(1, len(looks) // 6)
    return ", ".join(f"{getattr(look, name):.0f}" for look in looks[::step]) + f" at every {looks[step - 1].tick if step else 1} ticks"
