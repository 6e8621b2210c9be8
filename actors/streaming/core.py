"""What arrives becomes transactions: trades of one actor's instruments, each once, with the changes of their gaps. No input or output."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actors.publishing.transaction import KafkaTransaction, Message
from cryptoviz.clock import Clock
from cryptoviz.errors import TerminalError
from cryptoviz.log import get_logger
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.gap_tracker import Accepted, GapTracker, MissingRun, TrackerState
from cryptoviz.trades.gaps import TradeGap
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Trade, topic_key
from cryptoviz.venues.events import Heartbeat, Trades, Voided
from cryptoviz.venues.spec import Instrument, VenueSpec

__all__ = ["TRANSACTION_TRADES", "InstrumentFeed", "StreamCore"]

TRANSACTION_TRADES = 5_000
"""Trades after which a transaction is made at once, about 2 MB: it must end within the broker's timeout for transactions."""

log = get_logger("stream")


@dataclass(slots=True)
class InstrumentFeed:
    """An instrument and what is known of its trades. `data_s`: monotonic time of its last trade; None before the first."""

    instrument: Instrument
    tracker: GapTracker
    key: bytes
    data_s: float | None = None
    acked: bool = False
    refusal: str = ""


@dataclass(slots=True)
class CoreStats:
    """Counts since the start of the actor."""

    trades: int = 0
    refilled: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class _Pending:
    """The next transaction."""

    messages: list[Message] = field(default_factory=list)
    others: list[Message] = field(default_factory=list)
    since_s: float = 0.0
    gaps: dict[str, tuple[TradeGap, InstrumentFeed]] = field(default_factory=dict)


class StreamCore:
    """One event loop only."""

    def __init__(self, spec: VenueSpec, instruments: Sequence[Instrument], clock: Clock, now_us: Callable[[], int]) -> None:
        """`now_us`: UTC epoch us.

        Raises:
            TerminalError: the venue's ids do not prove that nothing is missing.
        """
        if not spec.contiguous_ids:
            raise TerminalError(f"{spec.name} has no contiguous trade ids: its streams are not supported")
        self.stats = CoreStats()
        self._spec = spec
        self._clock = clock
        self._now_us = now_us
        self.feeds: dict[str, InstrumentFeed] = {
            one.symbol: InstrumentFeed(one, GapTracker(spec.name, one.symbol), topic_key(spec.name, one.symbol)) for one in instruments
        }
        self._pending = _Pending()
        self._changed_us = 0

    @property
    def pending(self) -> int:
        """Trades that are not in a transaction yet."""
        return len(self._pending.messages)

    @property
    def since_s(self) -> float:
        """Monotonic time at which the oldest pending trade arrived."""
        return self._pending.since_s

    @property
    def has_news(self) -> bool:
        """Whether `take_transaction` has something to return."""
        return bool(self._pending.messages or self._pending.gaps or self._pending.others)

    def restore(self, states: Mapping[str, TrackerState]) -> None:
        """Continue after what is committed. Open gaps are written again, so that Kafka's retention does not forget them.

        The newest change of a gap is its state, so a change is later than all before it, also if the clock was set back meanwhile.
        """
        for symbol, state in states.items():
            self._changed_us = max(self._changed_us, state.changed_us)
            feed = self.feeds[symbol]
            feed.tracker = GapTracker(self._spec.name, symbol, state=state)
            for gap in feed.tracker.open_gaps():
                self._pending.gaps[gap.gap_id] = (gap, feed)

    def streamed(self, event: Trades) -> None:
        """Trades of a frame."""
        if len(event.trades) == 1 and not event.voided:  # each frame of most venues
            self._accept(event.trades[0].venue_symbol, event.trades, ())
            return
        by_symbol: dict[str, tuple[list[Trade], list[int]]] = {}
        for trade in event.trades:
            by_symbol.setdefault(trade.venue_symbol, ([], []))[0].append(trade)
        for one in event.voided:
            by_symbol.setdefault(one.symbol, ([], []))[1].append(one.trade_number)
        for symbol, (own, numbers) in by_symbol.items():
            self._accept(symbol, own, numbers)

    def refilled(self, instrument: Instrument, trades: Iterable[Trade], voided: Iterable[Voided], absent: Iterable[tuple[IdRun, str]]) -> None:
        """Trades of a response. Those above the highest streamed one are left to the stream: a restarted actor resumes after its highest one."""
        feed = self.feeds[instrument.symbol]
        high = feed.tracker.high or 0
        known = [one for one in trades if one.trade_number is not None and one.trade_number <= high and one.venue_symbol == instrument.symbol]
        numbers = [one.trade_number for one in voided if one.trade_number <= high and one.symbol == instrument.symbol]
        found = feed.tracker.accept(known, self._now_us(), numbers)
        self.stats.refilled += len(found.new)
        found.duplicates = 0  # a response also has trades around the gap
        self._take(feed, found)
        for run, reason in absent:
            self.give_up(instrument, run, reason)

    def give_up(self, instrument: Instrument, run: IdRun, reason: str) -> None:
        """Trades that will never arrive."""
        feed = self.feeds[instrument.symbol]
        log.warning("trades_are_gone", venue=self._spec.name, symbol=instrument.symbol, first=run.first, last=run.last, reason=reason)
        self._take(feed, feed.tracker.give_up(run, reason, self._now_us()))

    def beat(self, event: Heartbeat) -> None:
        """A heartbeat that states the last trade of a symbol: those that did not arrive are a gap."""
        feed = self.feeds.get(event.symbol or "")
        if feed is not None and event.last_trade:
            self._take(feed, feed.tracker.expect(event.last_trade, self._now_us()))

    def record(self, others: Iterable[Message]) -> None:
        """Records of other topics, for the next transaction."""
        self._pending.others += others

    def missing(self) -> dict[str, list[MissingRun]]:
        """Runs of open gaps by symbol, ascending."""
        return {symbol: runs for symbol, feed in self.feeds.items() if (runs := feed.tracker.missing())}

    def open_gaps(self) -> int:
        return sum(len(feed.tracker.open_gaps()) for feed in self.feeds.values())

    def missing_trades(self) -> int:
        return sum(run.run.size for runs in self.missing().values() for run in runs)

    def take_transaction(self) -> KafkaTransaction | None:
        """The next transaction: all pending trades in the order of their arrival, with the gaps that changed. None if there is no news.

        It is never split: trades without the gaps that they opened would hide them from a restart.
        """
        pending = self._pending
        if not self.has_news:
            return None
        self._pending = _Pending()
        self._changed_us = max(self._changed_us + 1, self._now_us())
        changes = tuple(Message(feed.key, self._change(gap, feed).to_json()) for gap, feed in pending.gaps.values())
        return KafkaTransaction(uuid.uuid4().hex, self._clock.now_ms(), tuple(pending.messages), (*changes, *pending.others))

    def _change(self, gap: TradeGap, feed: InstrumentFeed) -> GapChange:
        runs = [one.run for one in feed.tracker.missing() if gap.first_id <= one.run.first <= gap.last_id]
        return GapChange.of(gap, runs, feed.instrument.asset_id, feed.instrument.quote_currency, self._changed_us)

    def _accept(self, symbol: str, trades: Sequence[Trade], voided: Sequence[int]) -> None:
        feed = self.feeds.get(symbol)
        if feed is not None:
            feed.data_s = self._clock.monotonic_s()
            self._take(feed, feed.tracker.accept(trades, self._now_us(), voided))

    def _take(self, feed: InstrumentFeed, found: Accepted) -> None:
        self.stats.trades += len(found.new)
        self.stats.duplicates += found.duplicates
        if found.new and not self._pending.messages:
            self._pending.since_s = self._clock.monotonic_s()
        self._pending.messages += [Message(feed.key, trade.to_json()) for trade in found.new]
        for gap in found.gaps:
            self._pending.gaps[gap.gap_id] = (gap, feed)
