"""Which of the venue's own candles are read, to compare ours with them: one instrument at a time, from where its last sample ended."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from actors.publishing.transaction import Message
from cryptoviz.clock import Clock
from cryptoviz.trades.record import topic_key
from cryptoviz.trades.venue_candle import VenueCandleRecord
from cryptoviz.venues.base import KlineCall, StreamVenue
from cryptoviz.venues.events import VenueKline
from cryptoviz.venues.spec import Instrument

__all__ = ["CandleSampler"]

MINUTE_US = 60_000_000
MOST_MINUTES = 100
"""In one request: each venue answers as many."""
SETTLED_US = 10_000_000
"""A venue's candle is read so long after its end: its history can lag behind its stream."""


class CandleSampler:
    """One event loop. The first candle of an instrument is that of the first whole minute after the start."""

    def __init__(
        self, venue: StreamVenue, instruments: Sequence[Instrument], topic: str, every_s: float, clock: Clock, now_us: Callable[[], int]
    ) -> None:
        """`every_s`: between two samples; 0: none. `topic`: of the records."""
        self._venue, self._topic, self._every_s, self._clock, self._now_us = venue, topic, every_s, clock, now_us
        self._turns = deque(instruments)
        first_us = -(-now_us() // MINUTE_US) * MINUTE_US
        self._from_us = {one.symbol: first_us for one in instruments}
        self._next_s = clock.monotonic_s() + every_s

    def due(self) -> KlineCall | None:
        """The next request; None: not yet, or the next instrument has no new candle."""
        now_s = self._clock.monotonic_s()
        if not self._every_s or not self._turns or now_s < self._next_s:
            return None
        self._next_s = now_s + self._every_s
        instrument = self._turns[0]
        self._turns.rotate(-1)
        until_us = (self._now_us() - SETTLED_US) // MINUTE_US * MINUTE_US
        first_us = max(self._from_us[instrument.symbol], until_us - MOST_MINUTES * MINUTE_US)
        return self._venue.klines(instrument, first_us, until_us) if first_us < until_us else None

    def records(self, call: KlineCall, found: Iterable[VenueKline]) -> list[Message]:
        """Records of the candles that a request brought."""
        one = call.instrument
        self._from_us[one.symbol] = call.until_us
        now_us, sample, key = self._now_us(), uuid.uuid4().hex[:12], topic_key(self._venue.spec.name, one.symbol)
        return [
            Message(
                key,
                VenueCandleRecord(
                    candle_id=f"{sample}-{each.open_us // MINUTE_US:x}", venue=self._venue.spec.name, venue_symbol=one.symbol, asset_id=one.asset_id,
                    quote_currency=one.quote_currency, interval=each.interval, ts=each.open_us, open=each.open, high=each.high, low=each.low,
                    close=each.close, volume=each.volume, quote_volume=each.quote_volume, taker_buy_volume=each.taker_buy_volume,
                    taker_buy_quote_volume=each.taker_buy_quote_volume, trades=each.trades, vwap=each.vwap, ingest_ts=now_us,
                ).to_json(),
                self._topic,
            )
            for each in found
        ]  # fmt: skip
