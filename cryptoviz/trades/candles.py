"""Candles from trades: exact decimals, UTC aligned, incomplete as long as a trade may be missing. Pure; no clock.

Trades of a candle are ordered by number, not by arrival: the open is the price of the lowest number, the close that of the highest. A candle is
complete when everything that the venue executed before its end is recorded, and neither an open nor a permanent gap touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from cryptoviz.trades.candle import INTERVALS_US, CandleSums, TradeCandle, candle_of
from cryptoviz.trades.gap_tracker import HALT_AFTER_US, Accepted
from cryptoviz.trades.gaps import TradeGap, TradeGapState
from cryptoviz.trades.record import Trade

__all__ = ["CandleBuilder", "candles_of"]

_SECOND_US = INTERVALS_US["1s"]
KEEP_CANDLES = 1_500
"""Of one interval, in memory: a day of minutes, 25 minutes of seconds. Twice as many while they are incomplete."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Venue times between which trades are missing, both inclusive; None: without a bound."""

    from_us: int | None
    to_us: int | None

    @classmethod
    def of(cls, gap: TradeGap) -> _Window:
        if gap.from_us is not None and gap.to_us is not None and gap.to_us < gap.from_us:
            return cls(gap.to_us, gap.from_us)  # the venue's clock was set back
        return cls(gap.from_us, gap.to_us)

    def touches(self, start_us: int, end_us: int) -> bool:
        return (self.from_us is None or self.from_us < end_us) and (self.to_us is None or self.to_us >= start_us)


@dataclass(slots=True)
class _Interval:
    """The candles of one interval, by their start.

    Attributes:
        quiet: starts of rows without trades.
        reported: candles as last returned.
        pending: starts of candles that were incomplete then.
        forgotten_us: candles that start before it are not in memory.
        filled_us: quiet rows before it have been made.
    """

    name: str
    length_us: int
    forgotten_us: int | None = None
    filled_us: int | None = None
    sums: dict[int, CandleSums] = field(default_factory=dict)
    quiet: set[int] = field(default_factory=set)
    reported: dict[int, TradeCandle] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)

    def start(self, moment_us: int) -> int:
        return moment_us - moment_us % self.length_us


class CandleBuilder:
    """Candles of one instrument, from what its `GapTracker` accepts. `add` often; `changed` as often as candles are to be seen.

    Attributes:
        recompute: (interval, open_us) of candles that are not in memory, in whole or in part, and got trades: to be made from the lake's trades by
            `candles_of`. The caller removes them.
        untimed: trades without a venue time, which are in no candle; each makes the candle at its arrival in order incomplete.
    """

    def __init__(
        self, *, quiet_rows: bool, resumed_us: int | None = None, intervals: Iterable[str] = tuple(INTERVALS_US), halt_after_us: int = HALT_AFTER_US
    ) -> None:
        """A builder without candles.

        Args:
            quiet_rows: the venue's candles have rows for intervals without trades (`QuietRule.ROW`).
            resumed_us: venue time of the last trade that an earlier builder got. Candles from before it are only named in `recompute`.
            intervals: names of `INTERVALS_US`.
            halt_after_us: a silence of this length is a halt, which has no quiet rows.
        """
        self.recompute: set[tuple[str, int]] = set()
        self.untimed = 0
        self._quiet_rows = quiet_rows
        self._halt_after_us = halt_after_us
        self._resumed = resumed_us is not None
        self._intervals = [_Interval(name, length_us) for name, length_us in INTERVALS_US.items() if name in set(intervals)]
        if resumed_us is not None:
            for interval in self._intervals:
                interval.forgotten_us = interval.start(resumed_us) + interval.length_us
        self._open: dict[str, _Window] = {}
        self._permanent: list[_Window] = []
        self._gaps_changed: list[_Window] = []
        self._seconds: dict[int, CandleSums] = {}
        self._since_us: int | None = None
        self._seen_us: int | None = None
        self._instrument: Trade | None = None

    def add(self, accepted: Accepted, seen_us: int | None) -> None:
        """Take what a tracker accepted. `seen_us`: its `GapTracker.seen_us` afterwards."""
        for gap in accepted.gaps:
            self._add_gap(gap)
        for trade in accepted.new:
            self._add_trade(trade)
        if seen_us is not None:
            self._seen_us = max(seen_us, self._seen_us or seen_us)

    def changed(self) -> list[TradeCandle]:
        """The candles that are new or different since the last call, ascending in each interval.

        A candle comes again when a late trade corrects it, and when it becomes complete or a gap in it is found.
        """
        instrument, seconds = self._instrument, self._seconds
        if instrument is None:
            return []
        windows, self._seconds, self._gaps_changed = self._gaps_changed, {}, []
        found: list[TradeCandle] = []
        for interval in self._intervals:
            touched = self._merge(interval, seconds)
            touched |= interval.pending | self._fill_quiet(interval)
            touched |= {start for window in windows for start in interval.reported if window.touches(start, start + interval.length_us)}
            touched |= {start for each in touched for start in _quiet_after(interval, each)}
            found += self._report(interval, sorted(touched), instrument)
            self._forget(interval)
        self._permanent = [window for window in self._permanent if self._is_kept(window)]
        return found

    def _add_gap(self, gap: TradeGap) -> None:
        if gap.state == TradeGapState.HALT:
            return
        window = _Window.of(gap)
        if gap.state == TradeGapState.PERMANENT and window.to_us is None:
            window = _Window(window.from_us, self._seen_us)
        self._gaps_changed.append(self._open.pop(gap.gap_id, window))
        self._gaps_changed.append(window)
        if gap.state == TradeGapState.OPEN:
            self._open[gap.gap_id] = window
        elif gap.state == TradeGapState.PERMANENT:
            self._permanent.append(window)

    def _add_trade(self, trade: Trade) -> None:
        self._instrument = trade
        if trade.trade_number is None or trade.venue_ts is None:
            self.untimed += 1
            if self._seen_us is not None:
                self._permanent.append(window := _Window(self._seen_us, self._seen_us))
                self._gaps_changed.append(window)
            return
        second_us = trade.venue_ts - trade.venue_ts % _SECOND_US
        one = CandleSums.of(trade, trade.trade_number)
        if one.too_large:
            self._permanent.append(window := _Window(trade.venue_ts, trade.venue_ts))
            self._gaps_changed.append(window)
            return
        known = self._seconds.setdefault(second_us, one)
        if known is not one:
            known.merge(one)
        self._since_us = trade.venue_ts if self._since_us is None else min(self._since_us, trade.venue_ts)

    def _merge(self, interval: _Interval, seconds: dict[int, CandleSums]) -> set[int]:
        touched: set[int] = set()
        for second_us, sums in seconds.items():
            start = interval.start(second_us)
            if interval.forgotten_us is not None and start < interval.forgotten_us:
                self.recompute.add((interval.name, start))
                continue
            touched.add(start)
            interval.quiet.discard(start)
            if start in interval.sums:
                interval.sums[start].merge(sums)
            else:
                interval.sums[start] = sums.copy()
        return touched

    def _fill_quiet(self, interval: _Interval) -> set[int]:
        """New rows for intervals that are over and had no trade, after the first candle; not for a halt, nor for single seconds."""
        if not self._quiet_rows or self._seen_us is None or interval.length_us == _SECOND_US or not interval.sums:
            return set()
        over_us = interval.start(self._seen_us)
        if interval.filled_us is None:
            interval.filled_us = min(interval.sums)
        found = [start for start in range(interval.filled_us, over_us, interval.length_us) if start not in interval.sums]
        interval.filled_us = max(interval.filled_us, over_us)
        longest = max((len(run) for run in _consecutive(found, interval.length_us)), default=0) * interval.length_us
        if longest >= self._halt_after_us:
            found = [start for run in _consecutive(found, interval.length_us) if len(run) * interval.length_us < self._halt_after_us for start in run]
        interval.quiet |= set(found)
        return set(found)

    def _report(self, interval: _Interval, starts: Sequence[int], instrument: Trade) -> Iterator[TradeCandle]:
        for start in starts:
            sums = interval.sums.get(start)
            if sums is None:
                before = _close_before(interval, start)
                if start not in interval.quiet or before is None:
                    continue
                sums = CandleSums.quiet(before)
            complete = self._is_complete(start, start + interval.length_us)
            # What can never become complete need not be looked at again.
            (interval.pending.discard if complete or self._is_lost(start, start + interval.length_us) else interval.pending.add)(start)
            if not sums.trades and not complete:
                continue  # unknown, which is not the same as quiet
            candle = candle_of(sums, instrument, interval.name, start, complete=complete)
            if interval.reported.get(start) != candle:
                interval.reported[start] = candle
                yield candle

    def _is_complete(self, start: int, end: int) -> bool:
        if self._seen_us is None or end > self._seen_us or self._is_lost(start, end):
            return False
        return not any(window.touches(start, end) for window in self._open.values())

    def _is_lost(self, start: int, end: int) -> bool:
        """Whether a permanent gap touches it, or the stream began within it."""
        if not self._resumed and (self._since_us is None or start < self._since_us):
            return True
        return any(window.touches(start, end) for window in self._permanent)

    def _forget(self, interval: _Interval) -> None:
        """Keep memory flat: the oldest candles go, incomplete ones later, and then to `recompute`."""
        excess = len(interval.reported) - KEEP_CANDLES
        if excess <= KEEP_CANDLES // 10:
            return
        for start in sorted(interval.reported)[:excess]:
            if start in interval.pending:
                if len(interval.reported) <= 2 * KEEP_CANDLES:
                    break
                self.recompute.add((interval.name, start))
                interval.pending.discard(start)
            interval.reported.pop(start)
            interval.sums.pop(start, None)
            interval.forgotten_us = start + interval.length_us
        if interval.forgotten_us is not None:
            interval.quiet = {start for start in interval.quiet if start >= interval.forgotten_us}
            interval.pending = {start for start in interval.pending if start >= interval.forgotten_us}

    def _is_kept(self, window: _Window) -> bool:
        """Whether a candle in memory may touch it."""
        return any(each.forgotten_us is None or window.to_us is None or window.to_us >= each.forgotten_us for each in self._intervals)


def candles_of(trades: Iterable[Trade], interval: str, gaps: Iterable[TradeGap], seen_us: int, *, quiet_rows: bool) -> list[TradeCandle]:
    """Candles of one interval from all trades of an instrument in whole intervals, such as those read from the lake.

    `gaps`: open and permanent ones of that time; `seen_us`: venue time up to which everything is recorded or in a gap.
    """
    builder = CandleBuilder(quiet_rows=quiet_rows, resumed_us=-(10**18), intervals=(interval,))
    builder.add(Accepted(new=list(trades), gaps=list(gaps)), seen_us)
    return builder.changed()


def _consecutive(starts: Sequence[int], length_us: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for start in starts:
        if runs and runs[-1][-1] + length_us == start:
            runs[-1].append(start)
        else:
            runs.append([start])
    return runs


def _quiet_after(interval: _Interval, start: int) -> Iterator[int]:
    """The quiet rows that repeat the close of the candle `start`."""
    following = start + interval.length_us
    while following in interval.quiet:
        yield following
        following += interval.length_us


def _close_before(interval: _Interval, start: int) -> Decimal | None:
    """The close of the last candle with trades before a quiet row. Rows between them are quiet too."""
    before = start - interval.length_us
    while before in interval.quiet:
        before -= interval.length_us
    return interval.sums[before].close if before in interval.sums else None
