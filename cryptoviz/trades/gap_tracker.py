"""`GapTracker`: proves by trade id that no trade of a symbol is missing. Pure and deterministic; its memory is bounded.

For venues whose trade numbers rise by 1 for each symbol. It takes trades from any number of connections and refills, in any order:

- Each trade is new exactly once. Doubles are dropped by number.
- A number that was jumped over belongs to an open gap until it arrives, or until `give_up` says that it never will.
- A gap is closed when all its numbers are accounted for: the ids meet.
- Ids that meet across a long silence are a halt.

When more than `max_runs` runs are missing, trades that would open another are not taken (`Accepted.deferred`): the last gap grows over them, and a
refill brings them later. So nothing is lost and nothing doubled, whatever happens, in memory for `max_runs` pairs of numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec

from cryptoviz.errors import RecordError
from cryptoviz.trades.gaps import TradeGap, TradeGapState, trade_gap_id
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Source, Trade

__all__ = ["Accepted", "GapTracker", "MissingRun", "TrackerState"]

MAX_RUNS = 1_000
"""Of one symbol. A connection that drops every tenth of 10 000 trades reaches it; the state is then 30 kB."""
REORDER_IDS = 1_000
"""A symbol whose first trade is n may still get earlier ones down to n - 1 000, as frames of a new connection can be out of order."""
HALT_AFTER_US = 600_000_000
"""Ten minutes without a trade."""


@dataclass(frozen=True, slots=True)
class MissingRun:
    """Numbers to ask for. `around_us`: venue times of the trades around their gap, UTC epoch us."""

    run: IdRun
    around_us: tuple[int | None, int | None]
    opened_us: int


@dataclass(slots=True)
class Accepted:
    """What became of some trades.

    Attributes:
        new: to be recorded, each for the first and only time, in ascending order of numbers unless they came by a refill.
        duplicates: dropped: received before.
        early: dropped: from before the first trade that this tracker answers for.
        deferred: not taken now, see the module; they are missing, and a refill brings them.
        gaps: opened, changed and closed gaps and halts, as rows; at most one for each gap, of its last state.
    """

    new: list[Trade] = field(default_factory=list)
    duplicates: int = 0
    early: int = 0
    deferred: int = 0
    gaps: list[TradeGap] = field(default_factory=list)


class OpenGap(msgspec.Struct, kw_only=True):
    """A gap with the runs that are still missing, ascending."""

    first: int
    last: int
    runs: list[tuple[int, int]]
    opened_us: int
    from_us: int | None = None
    to_us: int | None = None
    refilled: int = 0
    late: int = 0
    gone: int = 0
    reason: str = ""


class TrackerState(msgspec.Struct, kw_only=True):
    """All that a tracker knows, to be stored with the trades and restored after a restart.

    Attributes:
        first: lowest number that the tracker answers for; None before the first trade.
        high: all numbers from `first` to it are recorded or in `gaps`.
        high_us: venue time of the trade `high`, or of the last one before it with a time.
        seen_us: everything that the venue executed before it is recorded or in a gap.
        fixed: numbers below `first` were recorded by an earlier run, so they are duplicates.
        changed_us: time of the newest recorded change of its gaps, by the clock of the run that wrote it; 0 without one.
    """

    venue: str
    symbol: str
    first: int | None = None
    high: int | None = None
    high_us: int | None = None
    seen_us: int | None = None
    fixed: bool = False
    gaps: list[OpenGap] = []
    changed_us: int = 0

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, value: bytes) -> TrackerState:
        """Raises `RecordError` if it is not the output of `to_json`."""
        try:
            return _STATE.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(f"the state of a gap tracker cannot be decoded: {error}", reason="invalid_json") from None


_STATE = msgspec.json.Decoder(TrackerState)


class GapTracker:
    """See the module. One object for each (venue, symbol).

    `state` of an earlier tracker continues it. Without one, `GapTracker.after` continues from the last recorded trade. Times: UTC epoch us; `now_us`
    is our clock, all others are the venue's.
    """

    def __init__(
        self, venue: str, symbol: str, *, state: TrackerState | None = None, halt_after_us: int = HALT_AFTER_US, max_runs: int = MAX_RUNS
    ) -> None:
        self._s = state or TrackerState(venue=venue, symbol=symbol)
        self._halt_after_us = halt_after_us
        self._max_runs = max_runs
        self._run_count = sum(len(gap.runs) for gap in self._s.gaps)

    @classmethod
    def after(
        cls, venue: str, symbol: str, number: int, venue_us: int | None, *, halt_after_us: int = HALT_AFTER_US, max_runs: int = MAX_RUNS
    ) -> GapTracker:
        """Continue after the trade `number`, the highest that is recorded. Any number up to it is a double."""
        state = TrackerState(venue=venue, symbol=symbol, first=number + 1, high=number, high_us=venue_us, seen_us=venue_us, fixed=True)
        return cls(venue, symbol, state=state, halt_after_us=halt_after_us, max_runs=max_runs)

    @property
    def high(self) -> int | None:
        """All numbers up to it are recorded or in an open gap; None before the first trade."""
        return self._s.high

    @property
    def seen_us(self) -> int | None:
        """Venue time up to which each trade is recorded or in a gap; None before the first trade."""
        return self._s.seen_us

    def state(self) -> TrackerState:
        """A copy of all that this object knows."""
        return TrackerState.from_json(self._s.to_json())

    def open_gaps(self) -> list[TradeGap]:
        """The gaps that are open, ascending."""
        return [self._row(gap, TradeGapState.OPEN) for gap in self._s.gaps]

    def missing(self) -> list[MissingRun]:
        """The runs that are to be refilled, ascending."""
        return [MissingRun(IdRun(*run), (gap.from_us, gap.to_us), gap.opened_us) for gap in self._s.gaps for run in gap.runs]

    def accept(self, trades: Sequence[Trade], now_us: int, voided: Sequence[int] = ()) -> Accepted:
        """Take trades of this symbol in any order, from a frame or a refill; `voided`: numbers of rows that are no trades.

        Raises:
            ValueError: a trade has no number, or is of another symbol.
        """
        if len(trades) == 1 and not voided and self._is_next(trades[0]):
            return Accepted(new=list(trades))
        result, changed = Accepted(), _Changed()
        items: list[_Item] = [self._item(trade) for trade in trades] + [_Item(number, None, None, Source.STREAM) for number in voided]
        if any(later.number < earlier.number for earlier, later in pairwise(items)):
            items.sort(key=_number)
        deferred = [item for item in items if not self._take(item, now_us, result, changed)]
        # From the end of a run downwards each trade is at the edge of its gap, so that it needs no further run.
        left = [item for item in reversed(deferred) if not self._take(item, now_us, result, changed)]
        result.deferred = len(left)
        self._report(changed, now_us, result)
        return result

    def expect(self, number: int, now_us: int, venue_us: int | None = None) -> Accepted:
        """The venue says that its last trade is `number`, as of `venue_us`: trades up to it that did not arrive are a gap."""
        result, changed = Accepted(), _Changed()
        s = self._s
        if s.high is None:
            s.first, s.high = number + 1, number
        elif number > s.high:
            self._jump(number, None, now_us, changed)
        if venue_us is not None and number <= (s.high or 0):
            s.seen_us = max(s.seen_us or venue_us, venue_us)
        self._report(changed, now_us, result)
        return result

    def give_up(self, run: IdRun, reason: str, now_us: int) -> Accepted:
        """The missing numbers within `run` will never arrive (`PermanentReason`)."""
        result, changed = Accepted(), _Changed()
        for gap in self._s.gaps:
            kept: list[tuple[int, int]] = []
            for first, last in gap.runs:
                low, high = max(first, run.first), min(last, run.last)
                if low > high:
                    kept.append((first, last))
                    continue
                gap.gone += high - low + 1
                gap.reason = gap.reason or reason
                changed.gaps[gap.first] = gap
                kept += [part for part in ((first, low - 1), (high + 1, last)) if part[0] <= part[1]]
            self._run_count += len(kept) - len(gap.runs)
            gap.runs = kept
        self._report(changed, now_us, result)
        return result

    def _is_next(self, trade: Trade) -> bool:
        """Take the usual trade, which follows the last one and changes no gap: the same as the long way, at a third of its cost."""
        s, venue_us = self._s, trade.venue_ts
        if s.high is None or trade.trade_number != s.high + 1 or venue_us is None or s.high_us is None or s.seen_us is None:
            return False
        if self._run_count > self._max_runs or venue_us - s.high_us >= self._halt_after_us or (s.gaps and s.gaps[-1].to_us is None):
            return False
        if trade.venue_symbol != s.symbol or trade.venue != s.venue:
            return False
        s.high, s.high_us = trade.trade_number, venue_us
        if venue_us > s.seen_us:
            s.seen_us = venue_us
        return True

    def _item(self, trade: Trade) -> _Item:
        if trade.trade_number is None or trade.venue_symbol != self._s.symbol or trade.venue != self._s.venue:
            text = f"trade {trade.trade_id!r} of {trade.venue} {trade.venue_symbol}"
            raise ValueError(f"{text}: valid is a trade with a number of {self._s.venue} {self._s.symbol}")
        return _Item(trade.trade_number, trade, trade.venue_ts, trade.source)

    def _take(self, item: _Item, now_us: int, result: Accepted, changed: _Changed) -> bool:
        """Count the item, unless it has to be deferred: then False, and it is in a gap."""
        s, number = self._s, item.number
        if s.high is None or s.first is None:
            s.first = s.high = number
            self._advance(item, changed)
        elif number > s.high:
            if self._run_count > self._max_runs or (number > s.high + 1 and self._run_count >= self._max_runs):
                self._jump(number, None, now_us, changed)
                return False
            if number > s.high + 1:
                self._jump(number - 1, item.venue_us, now_us, changed)
            else:
                self._look_for_halt(item, now_us, changed)
            s.high = number
            self._advance(item, changed)
        elif number < s.first:
            if s.fixed or number < s.first - REORDER_IDS or self._run_count >= self._max_runs:
                result.early += 1
                return True
            if number < s.first - 1:
                run = (number + 1, s.first - 1)
                gap = OpenGap(first=run[0], last=run[1], runs=[run], opened_us=now_us, from_us=item.venue_us, to_us=s.high_us)
                self._open(0, gap, changed)
            s.first = number
        else:
            return self._fill(item, result, changed)
        if item.trade is not None:
            result.new.append(item.trade)
        return True

    def _advance(self, item: _Item, changed: _Changed) -> None:
        """The item is the new highest trade: it ends the gap below it, and its time is that of the symbol."""
        s = self._s
        if item.venue_us is None:
            return
        if s.gaps and s.gaps[-1].to_us is None:
            s.gaps[-1].to_us = item.venue_us
            changed.gaps[s.gaps[-1].first] = s.gaps[-1]
        s.high_us = item.venue_us
        s.seen_us = max(s.seen_us or item.venue_us, item.venue_us)

    def _jump(self, last: int, to_us: int | None, now_us: int, changed: _Changed) -> None:
        """The numbers above `high` up to `last` are missing: a new gap, or more of the one that ends at `high`."""
        s = self._s
        assert s.high is not None  # noqa: S101 - callers have seen a trade
        if last <= s.high:
            return
        tail = s.gaps[-1] if s.gaps and s.gaps[-1].last == s.high else None
        if tail is None:
            gap = OpenGap(first=s.high + 1, last=last, runs=[(s.high + 1, last)], opened_us=now_us, from_us=s.high_us, to_us=to_us)
            self._open(len(s.gaps), gap, changed)
        else:
            if tail.runs and tail.runs[-1][1] == s.high:
                tail.runs[-1] = (tail.runs[-1][0], last)
            else:
                tail.runs.append((s.high + 1, last))
                self._run_count += 1
            tail.last, tail.to_us = last, to_us
            changed.gaps[tail.first] = tail
        s.high = last

    def _open(self, index: int, gap: OpenGap, changed: _Changed) -> None:
        self._s.gaps.insert(index, gap)
        self._run_count += 1
        changed.gaps[gap.first] = gap

    def _fill(self, item: _Item, result: Accepted, changed: _Changed) -> bool:
        """A number between `first` and `high`: missing, or a double."""
        gaps, number = self._s.gaps, item.number
        at = bisect_right(gaps, number, key=_first) - 1
        gap = gaps[at] if at >= 0 else None
        index = -1 if gap is None else bisect_right(gap.runs, number, key=_start) - 1
        if gap is None or index < 0 or gap.runs[index][1] < number:
            result.duplicates += item.trade is not None
            return True
        first, last = gap.runs[index]
        parts = [part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1]]
        if self._would_overflow(parts, number):
            return False
        gap.runs[index : index + 1] = parts
        self._run_count += len(parts) - 1
        if item.source == Source.REFILL:
            gap.refilled += 1
        else:
            gap.late += 1
        changed.gaps[gap.first] = gap
        if item.trade is not None:
            result.new.append(item.trade)
        return True

    def _would_overflow(self, parts: list[tuple[int, int]], number: int) -> bool:
        """Whether taking the number leaves a run too many: now, or when the next trade is deferred to a last gap that no longer ends at `high`."""
        if len(parts) > 1:
            return self._run_count >= self._max_runs
        return bool(parts) and self._run_count > self._max_runs and number == self._s.high

    def _look_for_halt(self, item: _Item, now_us: int, changed: _Changed) -> None:
        """The next number after a long silence: nothing is missing, the venue did not trade."""
        s = self._s
        if item.venue_us is None or s.high_us is None or s.high is None or item.venue_us - s.high_us < self._halt_after_us:
            return
        changed.halts.append(
            TradeGap(
                gap_id=trade_gap_id(s.venue, s.symbol, s.high, "halt"), venue=s.venue, venue_symbol=s.symbol, first_id=s.high, last_id=item.number,
                state=TradeGapState.HALT, missing=0, from_us=s.high_us, to_us=item.venue_us, opened_us=now_us, closed_us=now_us,
            )
        )  # fmt: skip

    def _report(self, changed: _Changed, now_us: int, result: Accepted) -> None:
        """Rows of what changed; gaps without missing numbers are closed and forgotten."""
        for gap in changed.gaps.values():
            if gap.runs:
                result.gaps.append(self._row(gap, TradeGapState.OPEN))
                continue
            self._s.gaps.remove(gap)
            result.gaps.append(self._row(gap, TradeGapState.PERMANENT if gap.gone else TradeGapState.REFILLED, now_us))
        result.gaps += changed.halts

    def _row(self, gap: OpenGap, state: TradeGapState, closed_us: int | None = None) -> TradeGap:
        s = self._s
        return TradeGap(
            gap_id=trade_gap_id(s.venue, s.symbol, gap.first), venue=s.venue, venue_symbol=s.symbol, first_id=gap.first, last_id=gap.last,
            state=state, missing=gap.gone + sum(last - first + 1 for first, last in gap.runs), refilled=gap.refilled, late=gap.late,
            reason=gap.reason, from_us=gap.from_us, to_us=gap.to_us, opened_us=gap.opened_us, closed_us=closed_us,
        )  # fmt: skip


class _Item(NamedTuple):
    """A trade, or a voided number without one."""

    number: int
    trade: Trade | None
    venue_us: int | None
    source: str


@dataclass(slots=True)
class _Changed:
    """Gaps by their first number, and halts, that a call changed."""

    gaps: dict[int, OpenGap] = field(default_factory=dict)
    halts: list[TradeGap] = field(default_factory=list)


def _number(item: _Item) -> int:
    return item.number


def _first(gap: OpenGap) -> int:
    return gap.first


def _start(run: tuple[int, int]) -> int:
    return run[0]
