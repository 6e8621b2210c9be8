"""What every provider of the replay market knows: quotes of all coins at a wall-clock time, as that provider sees them.

The market clock is the wall clock moved by a fixed distance into the recorded month, which is 30 whole days long: the time of day is kept, and a
wall time has the same market time on every machine and after every restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cryptoviz.assets import Asset
from market.bridge import daily_to_five_minutes, free_walk, rng_for
from market.coins import ReplayedCoin, replayed_coins
from market.path import PricePath
from market.recorded import CANDLE_MS, DAILY_FILE, DAY_MS, FIVE_MINUTE_FILE, HISTORY_START_MS, load_candles
from market.spans import Span, span

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MONTH_MS", "Market", "MarketClock", "Quote", "Sight"]

MONTH_MS = 30 * DAY_MS
_CANDLES = MONTH_MS // CANDLE_MS
_ANCHOR_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z: at this wall time the market stands at the first second of the recording."""
HOUR_MS = 3_600_000
_DAY_S = DAY_MS // 1000
_GUIDE = "BTC"
"""Whose hours the coin without 5-minute candles follows."""


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Wall clock to market clock. `speed` is market seconds per wall second."""

    speed: float = 1.0

    def market_ms(self, wall_ms: int) -> int:
        """UTC epoch ms inside the recorded month for a wall time in UTC epoch ms."""
        return HISTORY_START_MS + self.elapsed_ms(wall_ms) % MONTH_MS

    def elapsed_ms(self, wall_ms: int) -> int:
        """Market time since the anchor, not folded into the month; negative before it."""
        return math.floor((wall_ms - _ANCHOR_MS) * self.speed)


@dataclass(frozen=True, slots=True)
class Sight:
    """How one provider sees the market.

    Attributes:
        spread_bps: its price wanders this far around the recorded one (basis points, seeded, per coin); 0 for the recorded price itself.
        lag_ms: how old its values are when served.
        refresh_ms: its values change this often; live aggregators refresh about every 60 s, the market every second so that a demo moves.
        stepped: its distance from the recorded price holds for a whole 5-minute candle, so that its candles are exactly those of its ticks.
    """

    provider: str
    spread_bps: float = 0.0
    lag_ms: int = 0
    refresh_ms: int = 1000
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """One coin now. Prices in USD, changes in percent, `stamp_ms` UTC epoch ms of the values (wall clock).

    `served`, `literal`, `renamed`, `as_strings` and `bare` are a fault's doing: what becomes of the price in the body, whether it stands there as it
    is even where the provider writes prices as strings, a suffix to the id, numbers as strings, and strings as numbers.
    """

    coin: ReplayedCoin
    stamp_ms: int
    price: float
    price_24h_ago: float
    high_24h: float
    low_24h: float
    volume_24h: float
    volume_previous_24h: float
    change_1h_pct: float
    change_24h_pct: float
    change_7d_pct: float
    change_14d_pct: float
    served: Callable[[float], object] | None = None
    literal: bool = False
    renamed: str = ""
    as_strings: bool = False
    bare: bool = False


class Market:
    """All coins. Pure after construction: the same seed, speed and wall time give the same quotes in every process."""

    def __init__(self, seed: int, speed: float = 1.0, extra: Iterable[Asset] = ()) -> None:
        self.seed = seed
        self.clock = MarketClock(speed)
        self.coins = replayed_coins(extra)
        recorded = load_candles(FIVE_MINUTE_FILE)
        daily = load_candles(DAILY_FILE)
        self._paths: dict[str, PricePath] = {}
        self._steps: dict[tuple[str, str], NDArray[np.float64]] = {}
        for coin in self.coins:
            if coin.candles is None:
                candles = free_walk(coin.asset.asset_id, _CANDLES, seed)
            elif coin.candles in recorded:
                candles = recorded[coin.candles]
            else:
                candles = daily_to_five_minutes(daily[coin.candles], recorded[_GUIDE], seed)
            self._paths[coin.asset.asset_id] = PricePath(candles, seed)

    def price(self, sight: Sight, coin: ReplayedCoin, wall_ms: int) -> float:
        """USD price that `sight` shows for the moment `wall_ms` (UTC epoch ms)."""
        market_ms = self.clock.market_ms(wall_ms)
        return self._paths[coin.asset.asset_id].price(market_ms) * self._factor(sight, coin, market_ms)

    def quotes(self, sight: Sight, wall_ms: int) -> list[Quote]:
        """All coins at a wall time (UTC epoch ms), in the order of the asset table."""
        stamp_ms = wall_ms - wall_ms % sight.refresh_ms - sight.lag_ms
        return [self._quote(sight, coin, stamp_ms) for coin in self.coins]

    def history(self, sight: Sight, coin: ReplayedCoin, wall_ms: int) -> tuple[float, float]:
        """(price, 24 h volume) at a past wall time (UTC epoch ms), as served then."""
        return self.price(sight, coin, wall_ms), self._paths[coin.asset.asset_id].volume_24h(self.clock.market_ms(wall_ms))

    def price_decimals(self, coin: ReplayedCoin) -> int:
        """Digits after the point of the recorded exchange's price step."""
        return self._paths[coin.asset.asset_id].candles.price_decimals

    def candle(self, sight: Sight, coin: ReplayedCoin, start_ms: int, end_ms: int) -> Span:
        """What `sight` served between two wall times (UTC epoch ms, the second excluded)."""
        return self._span(sight, coin, self.clock.elapsed_ms(start_ms) // 1000, self.clock.elapsed_ms(end_ms - 1) // 1000 + 1)

    def last_24h(self, sight: Sight, coin: ReplayedCoin, stamp_ms: int) -> Span:
        """The 24 market hours that end with the second of `stamp_ms` (wall clock)."""
        end_s = self.clock.elapsed_ms(stamp_ms) // 1000 + 1
        return self._span(sight, coin, end_s - _DAY_S, end_s)

    def today(self, sight: Sight, coin: ReplayedCoin, stamp_ms: int) -> Span:
        """The market's UTC day up to the second of `stamp_ms` (wall clock)."""
        end_s = self.clock.elapsed_ms(stamp_ms) // 1000 + 1
        return self._span(sight, coin, (end_s - 1) // _DAY_S * _DAY_S, end_s)

    def change_pct(self, sight: Sight, coin: ReplayedCoin, stamp_ms: int, back_ms: int) -> float:
        """Percent against the price `back_ms` of market time before `stamp_ms` (wall clock)."""
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)
        before = path.price(now - back_ms) * self._factor(sight, coin, now - back_ms)
        return (path.price(now) * self._factor(sight, coin, now) / before - 1) * 100

    def sparkline(self, sight: Sight, coin: ReplayedCoin, stamp_ms: int) -> list[float]:
        """168 hourly prices of the 7 days up to a quote's stamp, oldest first, in market hours."""
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)
        times = (now - hours * HOUR_MS for hours in range(167, -1, -1))
        return [path.price(at) * self._factor(sight, coin, at) for at in times]

    def _quote(self, sight: Sight, coin: ReplayedCoin, stamp_ms: int) -> Quote:
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)

        def at(back_ms: int) -> float:
            return path.price(now - back_ms) * self._factor(sight, coin, now - back_ms)

        price, day_ago = at(0), at(DAY_MS)
        high, low = path.high_low_24h(now)
        factor = self._factor(sight, coin, now)
        return Quote(
            coin=coin,
            stamp_ms=stamp_ms,
            price=price,
            price_24h_ago=day_ago,
            high_24h=high * factor,
            low_24h=low * factor,
            volume_24h=path.volume_24h(now),
            volume_previous_24h=path.volume_24h(now - DAY_MS),
            change_1h_pct=(price / at(HOUR_MS) - 1) * 100,
            change_24h_pct=(price / day_ago - 1) * 100,
            change_7d_pct=(price / at(7 * DAY_MS) - 1) * 100,
            change_14d_pct=(price / at(14 * DAY_MS) - 1) * 100,
        )

    def _factor(self, sight: Sight, coin: ReplayedCoin, market_ms: int) -> float:
        """A slow wave of its own for each coin and provider, whole periods a month, so that it joins at the seam."""
        if not sight.spread_bps:
            return 1.0
        if sight.stepped:
            return float(self._factors(sight, coin)[(market_ms - HISTORY_START_MS) % MONTH_MS // CANDLE_MS])
        return float(self._wave_at(sight, coin, market_ms))

    def _factors(self, sight: Sight, coin: ReplayedCoin) -> NDArray[np.float64]:
        """One for each candle of the month."""
        key = (sight.provider, coin.asset.asset_id)
        if key not in self._steps:
            starts = HISTORY_START_MS + CANDLE_MS * np.arange(_CANDLES)
            self._steps[key] = self._wave_at(sight, coin, starts) if sight.spread_bps else np.ones(_CANDLES)
        return self._steps[key]

    def _span(self, sight: Sight, coin: ReplayedCoin, first_s: int, end_s: int) -> Span:
        return span(self._paths[coin.asset.asset_id], self._factors(sight, coin), first_s, end_s)

    def _wave_at(self, sight: Sight, coin: ReplayedCoin, market_ms: Any) -> Any:
        waves, phase, height = _wave(self.seed, sight.provider, coin.asset.asset_id)
        angle = 2 * math.pi * (waves * ((market_ms - HISTORY_START_MS) / MONTH_MS) + phase)
        return 1 + sight.spread_bps / 10_000 * height * np.sin(angle)


_WAVES: dict[tuple[int, str, str], tuple[int, float, float]] = {}


def _wave(seed: int, provider: str, asset_id: str) -> tuple[int, float, float]:
    key = (seed, provider, asset_id)
    if key not in _WAVES:
        rng = rng_for(seed, "spread", provider, asset_id)
        # 500 to 1500 waves in 30 days: each between half an hour and an hour and a half long
        _WAVES[key] = (int(rng.integers(500, 1500)), float(rng.uniform()), float(rng.uniform(0.4, 1.0)))
    return _WAVES[key]
