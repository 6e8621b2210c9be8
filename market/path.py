"""Prices per second: a seeded path through each 5-minute candle's open, high, low and close, and derived 24 h values.

Market time is UTC epoch ms inside the recorded month; outside it the month repeats in both directions. At the seam, where 2022-11-30 24:00 is
followed by 2022-11-01 00:00, the price jumps, and look-backs across it compare with the prices served then.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cryptoviz.times import DAY_MS
from market.bridge import bridge, rng_for
from market.recorded import CANDLE_MS, HISTORY_START_MS, Candles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CANDLE_S", "PricePath"]

CANDLE_S = CANDLE_MS // 1000
_NOISE = 0.2
"""Noise inside a candle, as a fraction of its range."""
_EXTRA_DECIMALS = 4
"""Digits below the exchange's price step: an aggregator's average moves even if a single exchange's price does not."""
_CACHED_CANDLES = 256
"""Candle paths cached per coin, 2.4 kB each: enough for the current time and all look-backs of many clients."""
_DAY = DAY_MS // CANDLE_MS


class PricePath:
    """Prices of one coin as pure functions of (candles, seed, market time)."""

    def __init__(self, candles: Candles, seed: int) -> None:
        self.candles = candles
        self._seed = seed
        self._count = len(candles)
        self._twice_high = np.concatenate((candles.high, candles.high))
        self._twice_low = np.concatenate((candles.low, candles.low))
        typical = (candles.high + candles.low + candles.close) / 3
        self.quote_volume = candles.volume * typical
        """USDT traded within each candle: its coins at the typical price (high + low + close) / 3."""
        self._volume_before = np.concatenate(([0.0], np.cumsum(np.concatenate((self.quote_volume, self.quote_volume)))))
        self.seconds = lru_cache(maxsize=_CACHED_CANDLES)(self._make_seconds)
        """The 300 prices of a candle, by its index in the month."""

    def price(self, market_ms: int) -> float:
        """Price in USDT at a market time. Changes once per second; open at a candle's first second, close at its last."""
        candle, second = self._locate(market_ms)
        return float(self.seconds(candle)[second])

    def change_pct(self, market_ms: int, back_ms: int) -> float:
        """Change in percent since `back_ms` earlier."""
        return (self.price(market_ms) / self.price(market_ms - back_ms) - 1) * 100

    def high_low_24h(self, market_ms: int) -> tuple[float, float]:
        """Highest and lowest price of the last 24 hours, to the second."""
        candle, second = self._locate(market_ms)
        now = self.seconds(candle)[: second + 1]
        first = self.seconds((candle - _DAY) % self._count)[second:]
        between = slice((candle - _DAY + 1) % self._count, (candle - _DAY + 1) % self._count + _DAY - 1)
        high = max(now.max(), first.max(), self._twice_high[between].max())
        low = min(now.min(), first.min(), self._twice_low[between].min())
        return float(high), float(low)

    def volume_24h(self, market_ms: int) -> float:
        """USDT traded in the last 24 hours: each candle's coins at its typical price (high + low + close) / 3; partial candles by time."""
        candle, second = self._locate(market_ms)
        start = (candle - _DAY) % self._count
        whole = self._volume_before[start + _DAY] - self._volume_before[start]
        part = (second + 1) / CANDLE_S
        return float(whole + part * (self.quote_volume[candle] - self.quote_volume[start]))

    def _locate(self, market_ms: int) -> tuple[int, int]:
        offset = (market_ms - HISTORY_START_MS) % (self._count * CANDLE_MS)
        return offset // CANDLE_MS, offset % CANDLE_MS // 1000

    def _make_seconds(self, candle: int) -> NDArray[np.float64]:
        """300 prices: open first, close last, high and low in between in seeded order, none outside the range."""
        data = self.candles
        opened, high, low, close = (float(column[candle]) for column in (data.open, data.high, data.low, data.close))
        rng = rng_for(self._seed, "path", data.symbol, candle)
        # at least half a minute from each other and from both ends, so that no second jumps through the whole range
        at_high, at_low = rng.permutation([rng.integers(30, 130), rng.integers(170, 270)])
        knots = {0: opened, CANDLE_S - 1: close, int(at_high): high, int(at_low): low}
        path = np.round(bridge(rng, CANDLE_S, knots, _NOISE * (high - low), (low, high)), data.price_decimals + _EXTRA_DECIMALS)
        path[list(knots)] = list(knots.values())
        return path
