"""`VenueCandleRecord`: a closed candle as a venue gave it; the value in the topic `crypto-venue-candles`, a row of the table `venue_candles`."""

from __future__ import annotations

import msgspec

__all__ = ["VenueCandleRecord"]


class VenueCandleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts are the venue's decimal text; None: it does not give the value.

    Attributes:
        candle_id: unique; the same candle read twice is two records.
        interval: `1m`.
        ts, ingest_ts: start of the candle, and when it was read; UTC epoch us.
        vwap: rounded by the venue.
    """

    candle_id: str
    venue: str
    venue_symbol: str
    asset_id: str
    quote_currency: str
    interval: str
    ts: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str | None
    taker_buy_volume: str | None
    taker_buy_quote_volume: str | None
    trades: int | None
    vwap: str | None
    ingest_ts: int

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline."""
        return _ENCODER.encode(self) + b"\n"


_ENCODER = msgspec.json.Encoder()
