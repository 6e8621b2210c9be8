"""Open, high, low, close and volume of any stretch of market time, exactly those of the path that the ticks go through.

Whole 5-minute candles are taken from the recording; parts of one from its seconds. Both agree, because a candle's path starts at its open, ends at
its close, touches high and low and stays between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from market.path import CANDLE_S, PricePath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Span", "span"]

_USD_PER_TRADE = 400.0
"""Made up: the recording holds no number of trades, so a typical trade's size stands in."""


@dataclass(frozen=True, slots=True)
class Span:
    """A candle of any length. Prices in USD, `coins` and `usd` traded within it; the number of trades is made up."""

    open: float
    high: float
    low: float
    close: float
    coins: float
    usd: float

    @property
    def trades(self) -> int:
        """As many as would trade the volume at a typical size; at least one, since the price is somebody's."""
        return 1 + int(self.usd / _USD_PER_TRADE)

    @property
    def average(self) -> float:
        """Volume-weighted; the close where nothing was traded."""
        return self.usd / self.coins if self.coins else self.close


def span(path: PricePath, factors: Floats, first_s: int, end_s: int) -> Span:
    """The seconds `first_s` to `end_s` (excluded) of market time, counted from the start of the recording; the month repeats in both directions.

    `factors` has one number for each candle of the month: what the provider's prices are times the recorded ones.
    """
    data, count = path.candles, len(path.candles)

    def price_at(second: int, edge: int, column: Floats) -> float:
        candle, within = divmod(second, CANDLE_S)
        number = candle % count
        return float((column[number] if within == edge else path.seconds(number)[within]) * factors[number])

    highs, lows, coins, usd = [], [], 0.0, 0.0
    for candle, begin, end in _parts(first_s, end_s):
        number = candle % count
        seconds, share = path.seconds(number)[begin:end], (end - begin) / CANDLE_S
        highs.append(seconds.max() * factors[number])
        lows.append(seconds.min() * factors[number])
        coins += float(data.volume[number]) * share
        usd += float(path.quote_volume[number] * factors[number]) * share
    for whole in _whole(first_s, end_s, count):
        highs.append((data.high[whole] * factors[whole]).max())
        lows.append((data.low[whole] * factors[whole]).min())
        coins += float(data.volume[whole].sum())
        usd += float(path.quote_volume[whole] @ factors[whole])
    opened, close = price_at(first_s, 0, data.open), price_at(end_s - 1, CANDLE_S - 1, data.close)
    return Span(opened, float(max(highs)), float(min(lows)), close, coins, usd)


def _parts(first_s: int, end_s: int) -> Iterator[tuple[int, int, int]]:
    """(candle, first second, end) of the candles that are only partly inside."""
    first, last = first_s // CANDLE_S, end_s // CANDLE_S
    if first == last:
        yield first, first_s % CANDLE_S, end_s % CANDLE_S
        return
    if first_s % CANDLE_S:
        yield first, first_s % CANDLE_S, CANDLE_S
    if end_s % CANDLE_S:
        yield last, 0, end_s % CANDLE_S


def _whole(first_s: int, end_s: int, count: int) -> Iterator[slice]:
    """The candles that are wholly inside, as slices of the month."""
    at, end = -(-first_s // CANDLE_S), end_s // CANDLE_S
    while at < end:
        begin = at % count
        stop = min(count, begin + end - at)
        yield slice(begin, stop)
        at += stop - begin
