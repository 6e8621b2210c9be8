"""Open, high, low, close and volume of any range of market time, consistent with the ticks.

Whole 5-minute candles are taken from the recording, partial candles from the path's seconds. Both agree, because the path of a candle starts at its
open, ends at its close, touches high and low and stays between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptoviz.times import DAY_MS
from market.path import CANDLE_S, PricePath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["UNIT_MS", "Span", "candle_starts", "span"]

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 604_800_000}
_USD_PER_TRADE = 400.0
"""Assumed size of a trade, since the recording has no number of trades."""


@dataclass(frozen=True, slots=True)
class Span:
    """A candle of any length. Prices in USD; `coins` and `usd` are the traded amounts; the number of trades is simulated."""

    open: float
    high: float
    low: float
    close: float
    coins: float
    usd: float

    @property
    def trades(self) -> int:
        """Simulated number of trades: the volume divided by a typical size, at least 1."""
        return 1 + int(self.usd / _USD_PER_TRADE)

    @property
    def average(self) -> float:
        """Volume-weighted average price; the close if nothing was traded."""
        return self.usd / self.coins if self.coins else self.close


def span(path: PricePath, factors: Floats, first_s: int, end_s: int) -> Span:
    """The span from `first_s` to `end_s` (exclusive), in market seconds from the start of the recording; the month repeats in both directions.

    `factors` has, for each candle of the month, the ratio of the provider's price to the recorded price.
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
    """(candle, first second, end) of the candles partially inside."""
    first, last = first_s // CANDLE_S, end_s // CANDLE_S
    if first == last:
        yield first, first_s % CANDLE_S, end_s % CANDLE_S
        return
    if first_s % CANDLE_S:
        yield first, first_s % CANDLE_S, CANDLE_S
    if end_s % CANDLE_S:
        yield last, 0, end_s % CANDLE_S


def _whole(first_s: int, end_s: int, count: int) -> Iterator[slice]:
    """The candles completely inside, as slices of the month."""
    at, end = -(-first_s // CANDLE_S), end_s // CANDLE_S
    while at < end:
        begin = at % count
        stop = min(count, begin + end - at)
        yield slice(begin, stop)
        at += stop - begin


def candle_starts(step_ms: int, start_ms: int | None, end_ms: int | None, now_ms: int, limit: int, offset_ms: int = 0) -> list[int]:
    """Opening times (UTC epoch ms) of at most `limit` candles that open from `start_ms` to `end_ms`, both inclusive, and not after now.

    The first candles from `start_ms`, or the last candles if it is None. Candles open at multiples of `step_ms` since the epoch, plus `offset_ms`.
    """
    end = now_ms if end_ms is None else min(end_ms, now_ms)
    last = end - (end - offset_ms) % step_ms
    if start_ms is None:
        first = last - (limit - 1) * step_ms
    else:
        first = start_ms + (offset_ms - start_ms) % step_ms
        last = min(last, first + (limit - 1) * step_ms)
    return list(range(max(first, offset_ms % step_ms), last + 1, step_ms))
