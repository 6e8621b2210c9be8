"""`TradeCandle`: one candle made from trades, and the sums that it is made from."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact

import msgspec

from cryptoviz.trades.record import Side, Trade

__all__ = ["INTERVALS_US", "TOO_LARGE", "CandleSums", "TradeCandle", "candle_of"]

_SECOND_US = 1_000_000
INTERVALS_US = {
    "1s": _SECOND_US, "1m": 60 * _SECOND_US, "5m": 300 * _SECOND_US, "15m": 900 * _SECOND_US, "1h": 3_600 * _SECOND_US, "4h": 14_400 * _SECOND_US,
    "1d": 86_400 * _SECOND_US,
}  # fmt: skip
"""All divide a UTC day, so that each interval starts at a multiple of its length since 1970."""
TOO_LARGE = 10**15
"""A trade of so many coins, or worth so much, is in no candle: sums in the lake have 20 digits in front of the point, the room of 100 000 smaller
trades of an interval."""
_EXACT = Context(prec=120, traps=[Inexact])
"""A product of two amounts has 76 digits at most; the rest are for sums of 10^44 of them."""
_ROUNDED = Context(prec=120)
_VWAP_UNIT = Decimal("1E-18")


class TradeCandle(msgspec.Struct, frozen=True, kw_only=True):
    """One candle. Amounts are exact; `vwap` is rounded to 18 decimals.

    Attributes:
        source: `trades:<venue>`.
        interval: a key of `INTERVALS_US`.
        open_us: start of the interval, UTC epoch us; its end is not part of it.
        volume, quote_volume: traded, in coins and in the quote currency.
        taker_buy_volume, taker_buy_quote_volume: the part of them that takers bought.
        vwap: quote_volume / volume; None without trades.
        first_trade, last_trade: lowest and highest number of its trades; None without trades.
        complete: no trade is missing in it.
    """

    source: str
    venue: str
    venue_symbol: str
    asset_id: str
    quote_currency: str
    interval: str
    open_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal
    vwap: Decimal | None
    first_trade: int | None
    last_trade: int | None
    complete: bool


@dataclass(slots=True)
class CandleSums:
    """What the trades of an interval add up to. Sums of disjoint sets of trades can be merged in any order."""

    first: int | None
    last: int | None
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote: Decimal
    trades: int
    buy_volume: Decimal
    buy_quote: Decimal

    @classmethod
    def of(cls, trade: Trade, number: int) -> CandleSums:
        """Of one trade."""
        price, size = Decimal(trade.price), Decimal(trade.size)
        quote = _EXACT.multiply(price, size)
        bought = trade.side == Side.BUY
        return cls(number, number, price, price, price, price, size, quote, 1, size if bought else _ZERO, quote if bought else _ZERO)

    @classmethod
    def quiet(cls, price: Decimal) -> CandleSums:
        """Without trades, at the last price."""
        return cls(None, None, price, price, price, price, _ZERO, _ZERO, 0, _ZERO, _ZERO)

    @property
    def too_large(self) -> bool:
        """See `TOO_LARGE`."""
        return self.volume >= TOO_LARGE or self.quote >= TOO_LARGE

    def copy(self) -> CandleSums:
        return copy(self)

    def merge(self, other: CandleSums) -> None:
        """Add trades of which this has none yet."""
        if other.first is not None and (self.first is None or other.first < self.first):
            self.first, self.open = other.first, other.open
        if other.last is not None and (self.last is None or other.last > self.last):
            self.last, self.close = other.last, other.close
        self.high, self.low = max(self.high, other.high), min(self.low, other.low)
        self.volume, self.quote = _EXACT.add(self.volume, other.volume), _EXACT.add(self.quote, other.quote)
        self.buy_volume, self.buy_quote = _EXACT.add(self.buy_volume, other.buy_volume), _EXACT.add(self.buy_quote, other.buy_quote)
        self.trades += other.trades


_ZERO = Decimal(0)


def candle_of(sums: CandleSums, instrument: Trade, interval: str, open_us: int, *, complete: bool) -> TradeCandle:
    """The candle of an interval. `instrument`: any trade of the same instrument."""
    vwap = None if not sums.volume else _ROUNDED.quantize(_ROUNDED.divide(sums.quote, sums.volume), _VWAP_UNIT)
    return TradeCandle(
        source=f"trades:{instrument.venue}", venue=instrument.venue, venue_symbol=instrument.venue_symbol, asset_id=instrument.asset_id,
        quote_currency=instrument.quote_currency, interval=interval, open_us=open_us, open=sums.open, high=sums.high, low=sums.low, close=sums.close,
        volume=sums.volume, quote_volume=sums.quote, trades=sums.trades, taker_buy_volume=sums.buy_volume, taker_buy_quote_volume=sums.buy_quote,
        vwap=vwap, first_trade=sums.first, last_trade=sums.last, complete=complete,
    )  # fmt: skip
