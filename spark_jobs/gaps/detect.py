"""Gap detection for a UTC day: compares expected ticks with the ticks in the lake. Pure.

The grid: ticks are multiples of `collect.tick_s`. Each tick record has its grid step, so a change of the setting begins a new era at the first tick
with the new step; the time before it, running or not, belongs to the previous era.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cryptoviz.gaps import DROPPED, NOT_RUNNING, Gap, GapScope

__all__ = ["DayContents", "Era", "Fill", "TickRecord", "day_gaps", "eras_after", "grid", "refilled"]

Ticks = npt.NDArray[np.int64]
MISSING_ASSET = "missing_asset"
"""The tick was collected and providers answered, but none had a price for the asset."""


@dataclass(frozen=True, slots=True)
class Era:
    """From `from_ms` on (UTC epoch ms), ticks are the multiples of `tick_ms`."""

    from_ms: int
    tick_ms: int


@dataclass(frozen=True, slots=True)
class TickRecord:
    """The collector's record of a tick: providers that answered, providers that failed with the reason, providers that were not scheduled."""

    good: frozenset[str] = frozenset()
    failed: tuple[tuple[str, str], ...] = ()
    idle: frozenset[str] = frozenset()

    @property
    def providers(self) -> frozenset[str]:
        return self.good | self.idle | {name for name, _ in self.failed}


@dataclass(frozen=True, slots=True)
class Fill:
    """A row written by a backfill."""

    provider: str
    ingest_ms: int


@dataclass
class DayContents:
    """Content of the lake for a day. Ticks are UTC epoch ms, sorted and distinct.

    Attributes:
        live: by asset, ticks with a live row.
        fills: by asset and tick.
        records: by tick.
        asked: by provider, ticks with an exchange of any outcome.
        answered: by provider, ticks with a successful exchange.
        dropped, unplanned: ticks that the collector reported later: lost while Kafka was unavailable; not collected because no provider's plan
            covered it.
    """

    live: dict[str, Ticks] = field(default_factory=dict)
    fills: dict[str, dict[int, Fill]] = field(default_factory=dict)
    records: dict[int, TickRecord] = field(default_factory=dict)
    asked: dict[str, Ticks] = field(default_factory=dict)
    answered: dict[str, Ticks] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    unplanned: frozenset[int] = frozenset()


def grid(eras: Sequence[Era], start_ms: int, end_ms: int) -> Iterator[tuple[int, Ticks]]:
    """Expected ticks in `[start_ms, end_ms)` as (step, ticks) for each era. `eras` are in order of time; no tick is expected before the first."""
    for number, era in enumerate(eras):
        begin = max(era.from_ms, start_ms)
        end = min(end_ms, eras[number + 1].from_ms if number + 1 < len(eras) else end_ms)
        first = begin + -begin % era.tick_ms
        if first < end:
            yield era.tick_ms, np.arange(first, end, era.tick_ms, dtype=np.int64)


def eras_after(eras: Sequence[Era], steps: Iterable[tuple[int, int]]) -> tuple[Era, ...]:
    """`eras` updated with a day's pairs of (tick, grid step), in order of time. Known eras after the last pair stay."""
    pairs = list(steps)
    if not pairs:
        return tuple(eras)
    first, last = pairs[0][0], pairs[-1][0]
    kept = [era for era in eras if era.from_ms < first]
    for tick, step in pairs:
        if not kept or kept[-1].tick_ms != step:
            kept.append(Era(tick, step))
    for era in eras:
        if era.from_ms > last and kept[-1].tick_ms != era.tick_ms:
            kept.append(era)
    return tuple(kept)


def day_gaps(
    seen: DayContents, eras: Sequence[Era], start_ms: int, end_ms: int, assets: Mapping[str, tuple[int, int]], providers: Sequence[str], now_ms: int
) -> list[Gap]:
    """The gaps within `[start_ms, end_ms)`, a UTC day or its settled part.

    Args:
        seen: content of the lake for the day.
        eras: the grid, in order of time.
        start_ms: inclusive.
        end_ms: exclusive.
        assets: by id, the first and last tick at which the asset is expected, inclusive.
        providers: those expected while the pipeline does not run; while it runs, each tick record has them.
        now_ms: becomes `found_ms`; for a known gap the caller restores the earlier time.
    """
    found: list[Gap] = []
    silent = _silent(seen)
    expected = list(grid(eras, start_ms, end_ms))
    for asset_id, (first, last) in sorted(assets.items()):
        live, fills = seen.live.get(asset_id, _NONE), seen.fills.get(asset_id, {})
        for step, ticks in expected:
            missing = np.setdiff1d(ticks[(ticks >= first) & (ticks <= last)], live, assume_unique=True)
            reasons = ((int(tick), _why_no_price(int(tick), seen, silent)) for tick in missing)
            found += _runs(GapScope.ASSET, asset_id, step, reasons, fills, now_ms)
    for name in sorted({*providers, *(one for record in set(seen.records.values()) for one in record.providers)}):
        answered = seen.answered.get(name, _NONE)
        fills = _fills_of(seen, name)
        for step, ticks in expected:
            missing = np.setdiff1d(ticks, answered, assume_unique=True)
            reasons = ((int(tick), _why_no_answer(int(tick), name, name in providers, seen, silent)) for tick in missing)
            found += _runs(GapScope.PROVIDER, name, step, reasons, fills, now_ms)
    return found


def refilled(known: Iterable[Gap], seen: DayContents) -> list[Gap]:
    """Known gaps of a day, updated with the rows of backfills; only the fills of `seen` are used."""
    found = []
    for gap in known:
        fills = seen.fills.get(gap.subject, {}) if gap.scope is GapScope.ASSET else _fills_of(seen, gap.subject)
        found.append(_gap(gap.scope, gap.subject, gap.from_ms, gap.to_ms, gap.tick_ms, gap.reason, fills, gap.found_ms))
    return found


def _fills_of(seen: DayContents, provider: str) -> dict[int, Fill]:
    return {tick: fill for by_tick in seen.fills.values() for tick, fill in by_tick.items() if fill.provider == provider}


_NONE: Ticks = np.array([], dtype=np.int64)


def _silent(seen: DayContents) -> frozenset[int]:
    """Ticks that were collected and then lost: exchanges exist, but no tick record, or the collector reported them as dropped."""
    asked = {int(tick) for ticks in seen.asked.values() for tick in ticks}
    return frozenset(asked - seen.records.keys()) | seen.dropped


def _why_no_price(tick: int, seen: DayContents, silent: frozenset[int]) -> str | None:
    """Reason of a missing row; None if no row was expected."""
    if tick in seen.unplanned:
        return None
    record = seen.records.get(tick)
    if record is None:
        return DROPPED if tick in silent else NOT_RUNNING
    if record.good:
        # The collector reported later that it lost records of this tick.
        return DROPPED if tick in seen.dropped else MISSING_ASSET
    return record.failed[0][1] if record.failed else None


def _why_no_answer(tick: int, name: str, usual: bool, seen: DayContents, silent: frozenset[int]) -> str | None:
    """Reason of a missing answer; None if the provider was not scheduled or answered."""
    if tick in seen.unplanned:
        return None
    record = seen.records.get(tick)
    if record is None:
        return (DROPPED if tick in silent else NOT_RUNNING) if usual else None
    return dict(record.failed).get(name)


def _runs(
    scope: GapScope, subject: str, step: int, reasons: Iterable[tuple[int, str | None]], fills: Mapping[int, Fill], now_ms: int
) -> Iterator[Gap]:
    """Gaps: runs of consecutive missing ticks with the same reason."""
    begin = last = 0
    running: str | None = None
    for tick, reason in reasons:
        if running is not None and (reason != running or tick != last + step):
            yield _gap(scope, subject, begin, last, step, running, fills, now_ms)
            running = None
        if reason is not None and running is None:
            begin, running = tick, reason
        last = tick
    if running is not None:
        yield _gap(scope, subject, begin, last, step, running, fills, now_ms)


def _gap(scope: GapScope, subject: str, begin: int, last: int, step: int, reason: str, fills: Mapping[int, Fill], now_ms: int) -> Gap:
    brought = [fills[tick] for tick in range(begin, last + 1, step) if tick in fills] if fills else []
    return Gap(
        scope=scope,
        subject=subject,
        from_ms=begin,
        to_ms=last,
        tick_ms=step,
        missing=(last - begin) // step + 1,
        reason=reason,
        found_ms=now_ms,
        filled=len(brought),
        filled_by=tuple(sorted({fill.provider for fill in brought})),
        filled_ms=max((fill.ingest_ms for fill in brought), default=None),
    )
