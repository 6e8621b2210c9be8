"""Quotes of all coins at a wall-clock time, from the view of each provider.

The market clock is the wall clock shifted by a fixed offset into the recorded month of 30 whole days. The time of day is kept, and a wall time maps
to the same market time on every machine and after every restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cryptoviz.assets import Asset
from cryptoviz.times import DAY_MS
from market.bridge import daily_to_five_minutes, free_walk, rng_for
from market.coins import ReplayedCoin, replayed_coins
from market.path import PricePath
from market.recorded import CANDLE_MS, DAILY_FILE, FIVE_MINUTE_FILE, HISTORY_START_MS, load_candles
from market.spans import Span, span

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MONTH_MS", "Market", "MarketClock", "PriceView", "Quote"]

MONTH_MS = 30 * DAY_MS
_CANDLES = MONTH_MS // CANDLE_MS
_ANCHOR_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z: at this wall time market time is the first second of the recording."""
HOUR_MS = 3_600_000
_DAY_S = DAY_MS // 1000
_GUIDE = "BTC"
"""The times of this coin's extremes guide the coin without 5-minute candles."""


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Maps wall time to market time. `speed` is market seconds per wall second."""

    speed: float = 1.0

    def market_ms(self, wall_ms: int) -> int:
        """Market time (UTC epoch ms inside the recorded month) of a wall time (UTC epoch ms)."""
        return HISTORY_START_MS + self.elapsed_ms(wall_ms) % MONTH_MS

    def elapsed_ms(self, wall_ms: int) -> int:
        """Market time since the anchor, without repetition of the month; negative before the anchor."""
        return math.floor((wall_ms - _ANCHOR_MS) * self.speed)

    def elapsed_us(self, wall_us: int) -> int:
        """As `elapsed_ms`, in microseconds."""
        return math.floor((wall_us - 1_000 * _ANCHOR_MS) * self.speed)

    def wall_us(self, elapsed_us: int) -> int:
        """The wall time (UTC epoch microseconds) of a market time since the anchor."""
        return 1_000 * _ANCHOR_MS + round(elapsed_us / self.speed)


@dataclass(frozen=True, slots=True)
class PriceView:
    """A provider's view of the market.

    Attributes:
        spread_bps: maximum deviation from the recorded price (basis points, seeded, per coin); 0 for the recorded price.
        lag_ms: age of its values when served.
        refresh_ms: interval at which its values change; live aggregators refresh about every 60 s, the market every second for a lively demo.
        stepped: its deviation is constant within a 5-minute candle, so that its candles exactly match its ticks.
    """

    provider: str
    spread_bps: float = 0.0
    lag_ms: int = 0
    refresh_ms: int = 1000
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """Current values of one coin. Prices in USD, changes in percent, `stamp_ms` UTC epoch ms of the values (wall clock).

    `served`, `literal`, `renamed`, `as_strings` and `bare` are set by faults: the price in the body, whether it is written verbatim even where the
    provider sends prices as strings, a suffix of the id, numbers as strings, and strings as numbers.
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

    def price(self, price_view: PriceView, coin: ReplayedCoin, wall_ms: int) -> float:
        """USD price at `wall_ms` (UTC epoch ms) in the provider's view."""
        market_ms = self.clock.market_ms(wall_ms)
        return self._paths[coin.asset.asset_id].price(market_ms) * self._factor(price_view, coin, market_ms)

    def quotes(self, price_view: PriceView, wall_ms: int) -> list[Quote]:
        """All coins at a wall time (UTC epoch ms), in the order of the asset table."""
        stamp_ms = wall_ms - wall_ms % price_view.refresh_ms - price_view.lag_ms
        return [self._quote(price_view, coin, stamp_ms) for coin in self.coins]

    def path(self, coin: ReplayedCoin) -> PricePath:
        """The recorded or simulated prices of a coin."""
        return self._paths[coin.asset.asset_id]

    def history(self, price_view: PriceView, coin: ReplayedCoin, wall_ms: int) -> tuple[float, float]:
        """Price and 24 h volume at a past wall time (UTC epoch ms), as served then."""
        return self.price(price_view, coin, wall_ms), self._paths[coin.asset.asset_id].volume_24h(self.clock.market_ms(wall_ms))

    def price_decimals(self, coin: ReplayedCoin) -> int:
        """Decimals of the recorded exchange's price step."""
        return self._paths[coin.asset.asset_id].candles.price_decimals

    def candle(self, price_view: PriceView, coin: ReplayedCoin, start_ms: int, end_ms: int) -> Span:
        """The values served between two wall times (UTC epoch ms, end exclusive)."""
        return self._span(price_view, coin, self.clock.elapsed_ms(start_ms) // 1000, self.clock.elapsed_ms(end_ms - 1) // 1000 + 1)

    def last_24h(self, price_view: PriceView, coin: ReplayedCoin, stamp_ms: int) -> Span:
        """The 24 market hours up to the second of `stamp_ms` (wall clock)."""
        end_s = self.clock.elapsed_ms(stamp_ms) // 1000 + 1
        return self._span(price_view, coin, end_s - _DAY_S, end_s)

    def today(self, price_view: PriceView, coin: ReplayedCoin, stamp_ms: int) -> Span:
        """The market's UTC day up to the second of `stamp_ms` (wall clock)."""
        end_s = self.clock.elapsed_ms(stamp_ms) // 1000 + 1
        return self._span(price_view, coin, (end_s - 1) // _DAY_S * _DAY_S, end_s)

    def change_pct(self, price_view: PriceView, coin: ReplayedCoin, stamp_ms: int, back_ms: int) -> float:
        """Change in percent since `back_ms` of market time before `stamp_ms` (wall clock)."""
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)
        before = path.price(now - back_ms) * self._factor(price_view, coin, now - back_ms)
        return (path.price(now) * self._factor(price_view, coin, now) / before - 1) * 100

    def sparkline(self, price_view: PriceView, coin: ReplayedCoin, stamp_ms: int) -> list[float]:
        """168 hourly prices of the 7 market days up to a quote's stamp, oldest first."""
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)
        times = (now - hours * HOUR_MS for hours in range(167, -1, -1))
        return [path.price(at) * self._factor(price_view, coin, at) for at in times]

    def _quote(self, price_view: PriceView, coin: ReplayedCoin, stamp_ms: int) -> Quote:
        path, now = self._paths[coin.asset.asset_id], self.clock.market_ms(stamp_ms)

        def at(back_ms: int) -> float:
            return path.price(now - back_ms) * self._factor(price_view, coin, now - back_ms)

        price, day_ago = at(0), at(DAY_MS)
        high, low = path.high_low_24h(now)
        factor = self._factor(price_view, coin, now)
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

    def _factor(self, price_view: PriceView, coin: ReplayedCoin, market_ms: int) -> float:
        """A slow wave per coin and provider, with whole periods per month, so that it is continuous at the seam."""
        if not price_view.spread_bps:
            return 1.0
        if price_view.stepped:
            return float(self.factors(price_view, coin)[(market_ms - HISTORY_START_MS) % MONTH_MS // CANDLE_MS])
        return float(self._wave_at(price_view, coin, market_ms))

    def factors(self, price_view: PriceView, coin: ReplayedCoin) -> NDArray[np.float64]:
        """For each candle of the month, the ratio of a stepped view's price to the recorded price."""
        key = (price_view.provider, coin.asset.asset_id)
        if key not in self._steps:
            starts = HISTORY_START_MS + CANDLE_MS * np.arange(_CANDLES)
            self._steps[key] = self._wave_at(price_view, coin, starts) if price_view.spread_bps else np.ones(_CANDLES)
        return self._steps[key]

    def _span(self, price_view: PriceView, coin: ReplayedCoin, first_s: int, end_s: int) -> Span:
        return span(self._paths[coin.asset.asset_id], self.factors(price_view, coin), first_s, end_s)

    def _wave_at(self, price_view: PriceView, coin: ReplayedCoin, market_ms: Any) -> Any:
        waves, phase, height = _wave(self.seed, price_view.provider, coin.asset.asset_id)
        angle = 2 * math.pi * (waves * ((market_ms - HISTORY_START_MS) / MONTH_MS) + phase)
        return 1 + price_view.spread_bps / 10_000 * height * np.sin(angle)


_WAVES: dict[tuple[int, str, str], tuple[int, float, float]] = {}


def _wave(seed: int, provider: str, asset_id: str) -> tuple[int, float, float]:
    key = (seed, provider, asset_id)
    if key not in _WAVES:
        rng = rng_for(seed, "spread", provider, asset_id)
        # 500 to 1500 periods in 30 days: 0.5 to 1.5 hours each
        _WAVES[key] = (int(rng.integers(500, 1500)), float(rng.uniform()), float(rng.uniform(0.4, 1.0)))
    return _WAVES[key]
