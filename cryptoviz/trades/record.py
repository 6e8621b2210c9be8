"""The trade record: one trade of a venue, as the value in the topic `crypto-trades` and a row of the lake table `trades`.

Times are UTC epoch microseconds here and in JSON. Unknown is None, never 0. Prices and sizes are decimal text, exactly as the venue wrote them.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated

import msgspec

from cryptoviz.errors import RecordError

__all__ = [
    "MAX_FRACTION_DIGITS", "MAX_INTEGER_DIGITS", "VALID_AMOUNT", "Side", "Source", "Trade", "TradeMaker", "TradeNumber", "is_amount", "topic_key",
    "trade_key",
]  # fmt: skip

MAX_INTEGER_DIGITS = 20
MAX_FRACTION_DIGITS = 18
"""Together the 38 digits of Parquet's `decimal128(38, 18)`. Venues write at most 12 digits in front of the point and 10 behind it."""
_AMOUNT = re.compile(rf"(?=[0.]*[1-9])[0-9]{{1,{MAX_INTEGER_DIGITS}}}(?:\.[0-9]{{1,{MAX_FRACTION_DIGITS}}})?")
VALID_AMOUNT = f"a decimal above 0 without sign or exponent, with at most {MAX_INTEGER_DIGITS} digits and {MAX_FRACTION_DIGITS} decimals"
TradeNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Fits Parquet's int64."""


class Side(StrEnum):
    """What the taker did, whose order met one that was already in the book."""

    BUY = "buy"
    SELL = "sell"


class Source(StrEnum):
    """How a trade reached us."""

    STREAM = "stream"
    REFILL = "refill"
    IMPORT = "import"


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One trade. Its identity is (`venue`, `venue_symbol`, `trade_id`), whatever `source` it came from. Fields are encoded in this order.

    Attributes:
        trade_key: hash of the identity (see `trade_key`).
        venue: name of the venue, such as `binance`.
        venue_symbol: the venue's own name of the instrument: `BTCUSDT`, `BTC/USD`, `BTC-USD`.
        asset_id: internal id of the coin.
        quote_currency: currency of `price`.
        trade_id: the venue's id of the trade.
        trade_number: the same as a number, where it is one: the venue counts trades of a symbol in steps of 1.
        price: in `quote_currency`, above 0.
        size: in coins, above 0.
        side: of the taker (`Side`).
        venue_ts: when the venue executed the trade, UTC epoch us; None if the venue gave an impossible time.
        ingest_ts: when we had the frame or the response, UTC epoch us.
        source: `Source`.
        connection: id of the connection that brought it; of a refill, the id of the raw exchange.
        sequence: the venue's own counter of its messages, if it has one. It does not count trades.
    """

    trade_key: str
    venue: str
    venue_symbol: str
    asset_id: str
    quote_currency: str
    trade_id: str
    trade_number: TradeNumber | None
    price: str
    size: str
    side: str
    venue_ts: int | None
    ingest_ts: int
    source: str
    connection: str
    sequence: int | None = None

    @classmethod
    def numbered(
        cls,
        *,
        venue: str,
        venue_symbol: str,
        asset_id: str,
        quote_currency: str,
        trade_number: int,
        price: str,
        size: str,
        side: str,
        venue_ts: int | None,
        ingest_ts: int,
        source: str,
        connection: str,
        sequence: int | None = None,
    ) -> Trade:
        """A trade whose id is a number, with the key that follows from its identity."""
        trade_id = str(trade_number)
        return cls(
            trade_key=trade_key(venue, venue_symbol, trade_id), venue=venue, venue_symbol=venue_symbol, asset_id=asset_id,
            quote_currency=quote_currency, trade_id=trade_id, trade_number=trade_number, price=price, size=size, side=side, venue_ts=venue_ts,
            ingest_ts=ingest_ts, source=source, connection=connection, sequence=sequence,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline, so that concatenated values are NDJSON."""
        return _ENCODER.encode(self) + b"\n"

    @classmethod
    def from_json(cls, value: bytes) -> Trade:
        """Parse and validate the output of `to_json`. Unknown fields are ignored.

        Raises:
            RecordError: not JSON, or a field is missing or not valid; `field` names it where one is concerned.
        """
        try:
            trade = _DECODER.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(f"a trade cannot be decoded: {error}", reason="invalid_json") from None
        _check(trade)
        return trade


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Trade)


class TradeMaker:
    """Makes the stream's trades of one instrument: as `Trade.numbered`, at a third less cost, as the constant part of the key is hashed once."""

    def __init__(self, venue: str, venue_symbol: str, asset_id: str, quote_currency: str, connection: str) -> None:
        self._hash = hashlib.blake2b(f"{venue}\x00{venue_symbol}\x00".encode(), digest_size=16)
        self._venue = venue
        self._symbol = venue_symbol
        self._asset_id = asset_id
        self._quote_currency = quote_currency
        self._connection = connection

    def make(self, number: int, price: str, size: str, side: str, venue_us: int | None, ingest_us: int, sequence: int | None = None) -> Trade:
        """The trade `number`. Price and size are valid (`is_amount`)."""
        trade_id = str(number)
        key = self._hash.copy()
        key.update(trade_id.encode())
        return Trade(
            trade_key=key.hexdigest(), venue=self._venue, venue_symbol=self._symbol, asset_id=self._asset_id, quote_currency=self._quote_currency,
            trade_id=trade_id, trade_number=number, price=price, size=size, side=side, venue_ts=venue_us, ingest_ts=ingest_us,
            source=Source.STREAM, connection=self._connection, sequence=sequence,
        )  # fmt: skip


def trade_key(venue: str, venue_symbol: str, trade_id: str) -> str:
    """Hash of a trade's identity, 32 hex digits, equal for each connection and each refill that brings the trade."""
    return hashlib.blake2b(f"{venue}\x00{venue_symbol}\x00{trade_id}".encode(), digest_size=16).hexdigest()


def topic_key(venue: str, venue_symbol: str) -> bytes:
    """Kafka key of the trades of an instrument, which keeps them in one partition and in order."""
    return f"{venue}:{venue_symbol}".encode()


def is_amount(text: str) -> bool:
    """Whether text is a price or size of a trade: plain decimal, above 0, and within `decimal128(38, 18)`."""
    return _AMOUNT.fullmatch(text) is not None


def _check(trade: Trade) -> None:
    for field in ("price", "size"):
        if not is_amount(text := getattr(trade, field)):
            raise RecordError(f"{field} of a trade is {text[:60]!r}: valid is {VALID_AMOUNT}", reason="invalid_value", field=field)
    for field, kind in (("side", Side), ("source", Source)):
        if (text := getattr(trade, field)) not in frozenset(kind):
            valid = ", ".join(kind)
            raise RecordError(f"{field} of a trade is {text[:60]!r}: valid are {valid}", reason="invalid_value", field=field)
    if trade.trade_number is not None and trade.trade_id != str(trade.trade_number):
        text = f"trade_number of a trade is {trade.trade_number}, its trade_id {trade.trade_id[:60]!r}: valid is the same number"
        raise RecordError(text, reason="invalid_value", field="trade_number")
    if trade.trade_key != (key := trade_key(trade.venue, trade.venue_symbol, trade.trade_id)):
        text = f"trade_key of a trade is {trade.trade_key[:60]!r}: valid is {key!r}, the hash of its venue, symbol and id"
        raise RecordError(text, reason="invalid_value", field="trade_key")
