"""`QuoteRecord`: a best bid and ask; the value in the topic `crypto-quotes`, a row of the table `quotes`, the last of an instrument in Redis."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptoviz.errors import RecordError
from cryptoviz.trades.record import VALID_AMOUNT, is_amount

__all__ = ["QUOTE_KEEP_S", "QuoteRecord", "spread_bps"]

QUOTE_KEEP_S = 600
"""A quote that arrived longer ago is not shown as the present one."""


class QuoteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Prices and sizes are the venue's decimal text, above 0; the bid is not above the ask. Times are UTC epoch us.

    Attributes:
        quote_id: unique.
        venue, venue_symbol, asset_id, quote_currency: as of a trade.
        bid, ask: in `quote_currency`.
        bid_size, ask_size: in coins.
        venue_ts: the venue's time; None if it gives none, or an impossible one.
        ingest_ts: when it arrived, which is before the sample.
    """

    quote_id: str
    venue: str
    venue_symbol: str
    asset_id: str
    quote_currency: str
    bid: str
    bid_size: str
    ask: str
    ask_size: str
    venue_ts: int | None
    ingest_ts: int

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON with a final newline."""
        return _ENCODER.encode(self) + b"\n"

    @classmethod
    def from_json(cls, value: bytes) -> QuoteRecord:
        """Parse and validate the output of `to_json`. Unknown fields are ignored.

        Raises:
            RecordError: not such a record.
        """
        try:
            quote = _DECODER.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(f"a quote cannot be decoded: {error}", reason="invalid_json") from None
        for field in ("bid", "bid_size", "ask", "ask_size"):
            if not is_amount(text := getattr(quote, field)):
                raise RecordError(f"{field} of a quote is {text[:60]!r}: valid is {VALID_AMOUNT}", reason="invalid_value", field=field)
        return quote

    @property
    def spread_bps(self) -> float:
        """See the function."""
        return spread_bps(self.bid, self.ask)


def spread_bps(bid: str, ask: str) -> float:
    """The spread in hundredths of a percent of the price in the middle."""
    low, high = Decimal(bid), Decimal(ask)
    return float((high - low) / (high + low) * 20_000)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(QuoteRecord)
