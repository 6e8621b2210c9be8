"""The newest quote of each instrument, and which of them are recorded: those that have changed since they were recorded. No input or output."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.publishing.transaction import KafkaTransaction, Message
from actors.streaming.log_pause import LogPause
from cryptoviz.clock import Clock
from cryptoviz.components import PER_INSTRUMENT
from cryptoviz.trades.quote import QUOTE_KEEP_S, QuoteRecord, spread_bps
from cryptoviz.trades.record import topic_key
from cryptoviz.venues.events import Quote, Refused
from cryptoviz.venues.spec import Instrument

__all__ = ["QuoteSampler"]

WAITING_SAMPLES = 10
"""Samples that wait for Kafka. Above them none is taken: a quote that is not recorded is no loss that memory should be kept for."""
OLDER_S = 60.0
"""While two connections overlap, the old one may be late: for this time a quote does not give way to an older one. Then it does: a venue may have
restarted its numbers, or set its clock."""


@dataclass(slots=True)
class _Held:
    instrument: Instrument
    key: bytes
    newest: Quote | None = None
    arrived_s: float = 0.0
    recorded: tuple[str, ...] = ()
    acked: bool = False
    refusal: str = ""


class QuoteSampler:
    """One event loop. It has no part in the liveness of connections, nor in gaps."""

    def __init__(self, venue: str, instruments: Sequence[Instrument], topic: str, clock: Clock) -> None:
        """`instruments`: none while quotes are off. `topic`: of the records."""
        self._venue, self._topic, self._clock = venue, topic, clock
        self._held = {one.symbol: _Held(one, topic_key(venue, one.symbol)) for one in instruments}
        self._run = uuid.uuid4().hex[:8]
        self._made = self._waiting = 0
        self._frames = self._bad = self._recorded = self._skipped = 0
        self._log_pause = LogPause(clock)

    @property
    def on(self) -> bool:
        """Whether quotes are recorded."""
        return bool(self._held)

    def take(self, quote: Quote) -> None:
        """A quote that arrived. It replaces the one before it, unless it is older by the venue's number or time."""
        held = self._held.get(quote.symbol)
        if held is None:
            return
        self._frames += 1
        now_s = self._clock.monotonic_s()
        if held.newest is None or not _older(quote, held.newest) or now_s - held.arrived_s >= OLDER_S:
            held.newest, held.arrived_s = quote, now_s

    def acked(self, symbol: str) -> None:
        """The venue accepted the subscription to the symbol's quotes."""
        if (held := self._held.get(symbol)) is not None:
            held.acked, held.refusal = True, ""

    def refused(self, event: Refused) -> None:
        """The venue refuses a symbol's quotes."""
        if (held := self._held.get(event.symbol)) is not None:
            held.acked, held.refusal = False, event.reason[:200] or "refused"

    def bad(self) -> bool:
        """A quote was refused because it cannot be. Whether to log it: a venue can send bad ones as fast as good ones."""
        self._bad += 1
        return self._log_pause.over()

    def sample(self) -> list[QuoteRecord]:
        """The newest quote of each instrument whose amounts differ from those recorded last; none while Kafka does not keep up."""
        changed = [(held, quote) for held in self._held.values() if (quote := held.newest) is not None and _amounts(quote) != held.recorded]
        if self._waiting >= WAITING_SAMPLES * len(self._held):
            self._skipped += len(changed)
            return []
        self._waiting += len(changed)
        return [self._record(held, quote) for held, quote in changed]

    def messages(self, records: Iterable[QuoteRecord]) -> list[Message]:
        """The Kafka records of a sample."""
        return [Message(self._held[one.venue_symbol].key, one.to_json(), self._topic) for one in records]

    def acknowledged(self, transaction: KafkaTransaction) -> None:
        """Kafka has the transaction."""
        count = sum(self._is_quote(one) for one in transaction.audit_records) if self._waiting else 0
        self._waiting -= count
        self._recorded += count

    def lost(self, message: Message) -> None:
        """Kafka refuses a record permanently."""
        self._waiting -= self._is_quote(message)

    def problems(self) -> list[str]:
        """What people must mend."""
        return [f"quotes of {symbol} are refused: {held.refusal}" for symbol, held in self._held.items() if held.refusal]

    def metrics(self) -> dict[str, float]:
        """None while quotes are off."""
        if not self.on:
            return {}
        oldest_s = self._clock.monotonic_s() - QUOTE_KEEP_S
        spreads = {
            f"spread_bps{PER_INSTRUMENT}{symbol}": round(spread_bps(held.newest.bid, held.newest.ask), 4)
            for symbol, held in self._held.items()
            if held.newest is not None and held.arrived_s >= oldest_s
        }
        return spreads | {
            "quotes_acked": float(sum(held.acked for held in self._held.values())),
            "quote_frames_total": float(self._frames),
            "bad_quotes_total": float(self._bad),
            "quotes_recorded_total": float(self._recorded),
            "quotes_skipped_total": float(self._skipped),
        }

    def _record(self, held: _Held, quote: Quote) -> QuoteRecord:
        held.recorded, one = _amounts(quote), held.instrument
        self._made += 1
        return QuoteRecord(
            quote_id=f"{self._run}-{self._made:x}", venue=self._venue, venue_symbol=one.symbol, asset_id=one.asset_id,
            quote_currency=one.quote_currency, bid=quote.bid, bid_size=quote.bid_size, ask=quote.ask, ask_size=quote.ask_size,
            venue_ts=quote.venue_ts, ingest_ts=quote.ingest_ts,
        )  # fmt: skip

    def _is_quote(self, message: Message) -> bool:
        return message.topic == self._topic


def _older(quote: Quote, than: Quote) -> bool:
    if quote.sequence is not None and than.sequence is not None:
        return quote.sequence < than.sequence
    return quote.venue_ts is not None and than.venue_ts is not None and quote.venue_ts < than.venue_ts


def _amounts(quote: Quote) -> tuple[str, ...]:
    return quote.bid, quote.bid_size, quote.ask, quote.ask_size
