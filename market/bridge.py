"""Simulated 5-minute candles without a recording: a bridge through daily candles, and a random walk for coins without any history.

Both are pure functions of their arguments and the seed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from cryptoviz.times import DAY_MS
from market.recorded import CANDLE_MS, Candles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bridge", "daily_to_five_minutes", "free_walk", "rng_for"]

CANDLES_PER_DAY = DAY_MS // CANDLE_MS
_NEAR = 6
"""In candles: simulated extremes are within half an hour of the guide's."""
_DAY_NOISE = 0.25
"""Noise of the bridge as a fraction of the day's range; seldom reaches the bounds."""
_WICK_NOISE = 0.004
"""Mean wick of a simulated candle as a fraction of the day's range (recorded coins: 0.003 to 0.006)."""
_WALK_STEP = 0.0022
"""Relative step of a random walk per 5 minutes; the median of the recorded coins."""


def rng_for(seed: int, *what: str | int) -> np.random.Generator:
    """A separate generator for each (seed, what), identical in every process."""
    return np.random.Generator(np.random.PCG64([seed, *(zlib.crc32(str(part).encode()) for part in what)]))


def bridge(rng: np.random.Generator, length: int, knots: dict[int, float], noise: float, bounds: tuple[float, float]) -> NDArray[np.float64]:
    """A random path of `length` points through `knots` (index -> value, including 0 and length - 1), with `noise`, reflected at `bounds`."""
    at = np.array(sorted(knots))
    through = np.array([knots[index] for index in at])
    points = np.arange(length)
    walk = np.cumsum(rng.standard_normal(length)) / np.sqrt(length)
    wander = walk - np.interp(points, at, walk[at])
    low, high = bounds
    # reflected, not clipped: a clipped path would be constant at the bounds
    above = np.mod(np.interp(points, at, through) + noise * wander - low, 2 * (high - low)) if high > low else np.zeros(length)
    path: NDArray[np.float64] = low + np.minimum(above, 2 * (high - low) - above)
    path[at] = through
    return path


def daily_to_five_minutes(daily: Candles, guide: Candles, seed: int) -> Candles:
    """288 candles for each daily candle: the first opens at the day's open, the last closes at its close; high, low and volume match the day's.

    The high and low are near the times of the `guide`'s (recorded 5-minute candles of the same days), because coins are correlated.
    """
    days = [_one_day(daily, day, guide, rng_for(seed, "bridge", daily.symbol, day)) for day in range(len(daily))]
    opened, high, low, close, volume = (np.concatenate(column) for column in zip(*days, strict=True))
    return Candles(daily.symbol, daily.price_decimals, opened, high, low, close, volume)


def _one_day(daily: Candles, day: int, guide: Candles, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    top, bottom = float(daily.high[day]), float(daily.low[day])
    of_day = slice(day * CANDLES_PER_DAY, (day + 1) * CANDLES_PER_DAY)
    near = np.array([guide.high[of_day].argmax(), guide.low[of_day].argmin()]) + rng.integers(-_NEAR, _NEAR, size=2, endpoint=True)
    at_high, at_low = (int(at) for at in np.clip(near, 1, CANDLES_PER_DAY - 1))
    if at_low == at_high:
        at_low = at_high + 1 if at_high < CANDLES_PER_DAY - 1 else at_high - 1
    knots = {0: float(daily.open[day]), CANDLES_PER_DAY: float(daily.close[day]), at_high: top, at_low: bottom}
    path = bridge(rng, CANDLES_PER_DAY + 1, knots, _DAY_NOISE * (top - bottom), (bottom, top))
    path = np.round(path, daily.price_decimals)
    opened, close = path[:-1], path[1:]
    wicks = rng.exponential(_WICK_NOISE * (top - bottom), size=(2, CANDLES_PER_DAY))
    high = np.minimum(np.round(np.maximum(opened, close) + wicks[0], daily.price_decimals), top)
    low = np.maximum(np.round(np.minimum(opened, close) - wicks[1], daily.price_decimals), bottom)
    weights = rng.lognormal(sigma=0.8, size=CANDLES_PER_DAY)
    volume = daily.volume[day] * weights / weights.sum()
    return opened, high, low, close, volume


def free_walk(symbol: str, candles: int, seed: int) -> Candles:
    """Candles of a coin without any history: a seeded random walk that ends at its start value, so that the month can repeat."""
    rng = rng_for(seed, "walk", symbol)
    steps = rng.standard_normal(candles)
    path = np.exp(np.concatenate(([0.0], np.cumsum(steps - steps.mean()))) * _WALK_STEP)
    path *= 10.0 ** rng.uniform(-1.5, 2.5)
    decimals = max(2, 5 - int(np.floor(np.log10(path.min()))))
    path = np.round(path, decimals)
    opened, close = path[:-1], path[1:]
    wicks = rng.exponential(_WALK_STEP / 2, size=(2, candles))
    high = np.round(np.maximum(opened, close) * (1 + wicks[0]), decimals)
    low = np.round(np.minimum(opened, close) * (1 - wicks[1]), decimals)
    volume = rng.lognormal(mean=11, sigma=0.8, size=candles) / path.min()
    return Candles(symbol, decimals, opened, high, low, close, volume)
