"""Recent trades of each instrument: tape, rate, candles, gaps, and the last quote. Feeds write it, and only while a page looks at it.

Pages do not subscribe: each `wait` is for one change, so a page that shows something else costs nothing, and nothing queues for a slow one.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cryptoviz.settings import Settings
from cryptoviz.trades.candles import KEEP_CANDLES, CandleBuilder
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.gap_tracker import Accepted
from cryptoviz.trades.gaps import TradeGapState
from cryptoviz.trades.quote import QuoteRecord
from cryptoviz.trades.record import Trade
from cryptoviz.venues.registry import venue_of
from dashboard.shared_state import CONNECTING, FeedStatus
from dashboard.views.trade_bars import TradeBar, bar_of
from dashboard.views.trade_rows import Instrument, InstrumentNow

__all__ = ["CANDLE_INTERVALS", "TAPE", "TradeState", "instruments_of"]

CANDLE_INTERVALS = ("1m", "5m", "1h", "1d")
TAPE = 200
"""Trades kept of an instrument."""
_GAPS = 500
"""Gaps kept of an instrument."""
_RATE_S = 10
_WATCHED_S = 60.0
_SUMMED_S = 60


@dataclass(slots=True)
class _Held:
    builder: CandleBuilder
    tape: deque[tuple[int, Trade]] = field(default_factory=lambda: deque(maxlen=TAPE))
    arrivals: deque[list[int]] = field(default_factory=lambda: deque(maxlen=2 * _RATE_S))  # second, trades
    newest: Trade | None = None
    unsummed_us: int | None = None  # venue time of the first trade that is in no candle yet
    bars: dict[str, dict[int, TradeBar]] = field(default_factory=lambda: {name: {} for name in CANDLE_INTERVALS})
    gaps: dict[str, GapChange] = field(default_factory=dict)
    gap_version: int = 0


def instruments_of(settings: Settings) -> tuple[Instrument, ...]:
    """The instruments that the settings name, by venue."""
    streams = settings.streams
    assets = settings.find_assets(streams.instruments) if streams.instruments else settings.assets
    listed = [(name, venue_of(name).spec.instrument(asset.asset_id)) for name in streams.venues for asset in assets]
    return tuple(Instrument(name, found.symbol, found.asset_id, found.quote_currency) for name, found in listed if found is not None)


class TradeState:
    """Thread-safe. Times are UTC epoch us unless stated otherwise."""

    def __init__(self, configured: Sequence[Instrument], monotonic_s: Callable[[], float]) -> None:
        """`configured`: the instruments of the settings, shown before their first trade."""
        self._configured = tuple(configured)
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._held: dict[Instrument, _Held] = {}
        self._quotes: dict[tuple[str, str], QuoteRecord] = {}
        self._status = FeedStatus(connected=False, message=CONNECTING)
        self._since_us = 0
        self._generation = 0
        self._number = 0
        self._looked_s = float("-inf")
        self._waiting: set[weakref.WeakMethod[Callable[[], None]]] = set()
        self.wanted = threading.Event()
        """Set while a page looks; waited for by the feed."""

    @property
    def configured(self) -> tuple[Instrument, ...]:
        return self._configured

    @property
    def generation(self) -> int:
        """Rises when the feed begins again: it brings trades that pages have."""
        with self._lock:
            return self._generation

    @property
    def status(self) -> FeedStatus:
        with self._lock:
            return self._status

    @property
    def watched(self) -> bool:
        """Whether a page has looked within the last minute."""
        with self._lock:
            return self._monotonic_s() - self._looked_s < _WATCHED_S

    def wait(self, call: Callable[[], None]) -> None:
        """Call this method once, from another thread, after the next change. Ask before reading, so that none is missed. Held weakly."""
        with self._lock:
            self._waiting.add(weakref.WeakMethod(call))
            self._looked_s = self._monotonic_s()
        self.wanted.set()

    def wake(self) -> None:
        """Call what waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for each in waiting:
            call = each()
            if call is not None:
                call()

    def restart(self, since_us: int) -> None:
        """The feed begins: candles hold the trades from `since_us` on, and the lake those before it."""
        with self._lock:
            self._held.clear()
            self._generation += 1
            self._since_us = since_us

    def set_status(self, status: FeedStatus) -> None:
        with self._lock:
            if status == self._status:
                return
            self._status = status
        self.wake()

    def set_quotes(self, quotes: Iterable[QuoteRecord]) -> None:
        """The last quote of each instrument that has one."""
        found = {(one.venue, one.venue_symbol): one for one in quotes}
        with self._lock:
            if found == self._quotes:
                return
            self._quotes = found
        self.wake()

    def apply(self, trades: Iterable[Trade], gaps: Iterable[GapChange] = ()) -> None:
        """Take what the topics have, in order of offset. Wakes nobody: the feed does, not for every batch."""
        with self._lock:
            grouped: dict[Instrument, list[Trade]] = {}
            for trade in trades:
                grouped.setdefault(Instrument(trade.venue, trade.venue_symbol, trade.asset_id, trade.quote_currency), []).append(trade)
            for instrument, some in grouped.items():
                self._take(self._of(instrument), some)
            for gap in gaps:
                held = self._of(Instrument(gap.venue, gap.venue_symbol, gap.asset_id, gap.quote_currency))
                known = held.gaps.get(gap.gap_id)
                if known is None or gap.changed_ts >= known.changed_ts:
                    held.gaps[gap.gap_id] = gap
                    held.gap_version += 1
                    if len(held.gaps) > _GAPS:
                        del held.gaps[min(held.gaps, key=lambda gap_id: held.gaps[gap_id].opened_ts)]

    def instruments(self, now_ms: int) -> list[InstrumentNow]:
        """Every instrument of the settings or with a trade, in that order."""
        with self._lock:
            order = dict.fromkeys((*self._configured, *self._held))
            return [self._now(instrument, now_ms) for instrument in order]

    def tape(self, instrument: Instrument, after: int, count: int) -> list[tuple[int, Trade]]:
        """At most the newest `count` trades with a number above `after`, newest first. The number counts trades of this process."""
        with self._lock:
            held = self._held.get(instrument)
            if held is None:
                return []
            found: list[tuple[int, Trade]] = []
            for number, trade in reversed(held.tape):
                if number <= after or len(found) == count:
                    break
                found.append((number, trade))
            return found

    def has_trades(self, instrument: Instrument) -> bool:
        with self._lock:
            held = self._held.get(instrument)
            return held is not None and held.newest is not None

    def bars(self, instrument: Instrument, interval: str) -> tuple[int, list[TradeBar]]:
        """The time (UTC epoch us) from which trades are in these bars, and the bars, oldest first. The lake has the trades before it."""
        with self._lock:
            held = self._held.get(instrument)
            if held is None:
                return self._since_us, []
            self._sum(held)
            bars = held.bars[interval]
            # Later than the feed's begin once the oldest were dropped.
            return max(self._since_us, next(iter(bars), 0) * 1000), list(bars.values())

    def gaps(self, instrument: Instrument) -> tuple[int, list[GapChange]]:
        """A version that rises with each change, and the newest state of each gap and halt, newest first."""
        with self._lock:
            held = self._held.get(instrument)
            if held is None:
                return 0, []
            return held.gap_version, sorted(held.gaps.values(), key=lambda gap: gap.opened_ts, reverse=True)

    def _of(self, instrument: Instrument) -> _Held:
        held = self._held.get(instrument)
        if held is None:
            held = self._held[instrument] = _Held(CandleBuilder(quiet_rows=False, intervals=CANDLE_INTERVALS))
        return held

    def _take(self, held: _Held, trades: list[Trade]) -> None:
        for trade in trades:
            self._number += 1
            held.tape.append((self._number, trade))
            second = trade.ingest_ts // 1_000_000
            if held.arrivals and held.arrivals[-1][0] >= second:
                held.arrivals[-1][1] += 1
            else:
                held.arrivals.append([second, 1])
            if held.newest is None or (trade.trade_number or 0) >= (held.newest.trade_number or 0):
                held.newest = trade
        timed = [trade for trade in trades if trade.venue_ts is not None and trade.venue_ts >= self._since_us]
        if not timed:
            return
        newest_us = max(trade.venue_ts or 0 for trade in timed)
        held.builder.add(Accepted(new=timed), newest_us)
        held.unsummed_us = held.unsummed_us or newest_us
        if newest_us - held.unsummed_us > _SUMMED_S * 1_000_000:  # seconds that no page shows are added up too
            self._sum(held)

    def _sum(self, held: _Held) -> None:
        held.unsummed_us = None
        for candle in held.builder.changed():
            bar = bar_of(candle)
            if bar is None:
                continue
            known = held.bars[candle.interval]
            late = bool(known) and bar.start_ms not in known and bar.start_ms < next(reversed(known))
            known[bar.start_ms] = bar
            if late:
                held.bars[candle.interval] = known = dict(sorted(known.items()))
            while len(known) > KEEP_CANDLES:
                del known[next(iter(known))]
        held.builder.recompute.clear()  # the lake has them

    def _now(self, instrument: Instrument, now_ms: int) -> InstrumentNow:
        held, quote = self._held.get(instrument), self._quotes.get((instrument.venue, instrument.symbol))
        if held is None:
            return InstrumentNow(instrument, None, 0.0, 0, 0, 0, quote)
        now_s = now_ms // 1000
        recent = sum(count for second, count in held.arrivals if now_s - _RATE_S <= second < now_s)
        states = [(gap.state, gap.missing) for gap in held.gaps.values()]
        return InstrumentNow(
            instrument,
            held.newest,
            recent / _RATE_S,
            sum(state == TradeGapState.OPEN for state, _ in states),
            sum(missing for state, missing in states if state in (TradeGapState.OPEN, TradeGapState.PERMANENT)),
            sum(state == TradeGapState.HALT for state, _ in states),
            quote,
        )
