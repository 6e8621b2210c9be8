"""Candles from ticks, kept up to date in place, and joined with the lake's older ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

__all__ = ["INTERVALS_MS", "Candle", "CandleBuilder", "LiveCandles", "changed_tail", "choose_currency", "join_candles", "join_currencies"]

INTERVALS_MS: dict[str, int] = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Candle:
    """One interval of one asset.

    `start_ms` is UTC epoch ms, a multiple of the interval; prices in quote currency. `volume_24h` is the last reported rolling 24 h volume within the
    interval: polling sees no trades, so the volume of the interval itself is unknown. `ticks` counts the observations behind it.
    """

    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume_24h: float | None
    ticks: int


class CandleBuilder:
    """The latest `limit` candles of one asset, quote currency and interval. Not thread-safe: its owner locks.

    Ticks come in order of their slot; one that is not newer than the last is a repeat and changes nothing.
    """

    def __init__(self, interval_ms: int, limit: int = 1500) -> None:
        self._interval_ms = interval_ms
        self._limit = limit
        self._candles: list[Candle] = []
        self._last_tick_ms = -1
        self._first_tick_ms: int | None = None

    @property
    def complete_from_ms(self) -> int | None:
        """Start of the first interval that was seen from its beginning; None before the first tick."""
        if self._first_tick_ms is None:
            return None
        return -(-self._first_tick_ms // self._interval_ms) * self._interval_ms

    @property
    def candles(self) -> tuple[Candle, ...]:
        """Oldest first."""
        return tuple(self._candles)

    def add(self, tick_ms: int, price: float, volume_24h: float | None) -> None:
        """Take one tick into the last candle, or begin the next."""
        if tick_ms <= self._last_tick_ms:
            return
        if self._first_tick_ms is None:
            self._first_tick_ms = tick_ms
        self._last_tick_ms = tick_ms
        start = tick_ms - tick_ms % self._interval_ms
        last = self._candles[-1] if self._candles else None
        if last is None or last.start_ms < start:
            self._candles.append(Candle(start, price, price, price, price, volume_24h, 1))
            del self._candles[: -self._limit]
            return
        self._candles[-1] = replace(
            last,
            high=max(last.high, price),
            low=min(last.low, price),
            close=price,
            volume_24h=last.volume_24h if volume_24h is None else volume_24h,
            ticks=last.ticks + 1,
        )


@dataclass(frozen=True, slots=True)
class LiveCandles:
    """Candles from live ticks, oldest first; `complete_from_ms` as `CandleBuilder` says."""

    candles: tuple[Candle, ...]
    complete_from_ms: int | None


def choose_currency(ticks: Mapping[str, int]) -> str:
    """The quote currency that a series is shown in: that of most ticks, dollars first where two have as many. Prices in two are never mixed."""
    return min(ticks, key=lambda currency: (-ticks[currency], currency != "USD", currency), default="USD")


def join_currencies(stored: Mapping[str, Sequence[Candle]], live: Mapping[str, LiveCandles]) -> dict[str, list[Candle]]:
    """`join_candles` for each quote currency by itself; a currency without candles is left out."""
    none = LiveCandles((), None)
    joined = {one: join_candles(stored.get(one, ()), live.get(one, none).candles, live.get(one, none).complete_from_ms) for one in {*stored, *live}}
    return {currency: candles for currency, candles in joined.items() if candles}


def join_candles(stored: Iterable[Candle], live: Sequence[Candle], live_complete_from_ms: int | None) -> list[Candle]:
    """Stored candles followed by live ones, one per interval, oldest first.

    Where both have an interval, the live one wins if it was seen from its beginning. The first live interval was joined half-way: it takes
    the stored opening, widens the stored range, and closes at the live price.
    """
    joined = {candle.start_ms: candle for candle in stored}
    for candle in live:
        older = joined.get(candle.start_ms)
        whole = live_complete_from_ms is not None and candle.start_ms >= live_complete_from_ms
        if older is None or whole:
            joined[candle.start_ms] = candle
            continue
        joined[candle.start_ms] = replace(
            candle,
            open=older.open,
            high=max(older.high, candle.high),
            low=min(older.low, candle.low),
            ticks=max(older.ticks, candle.ticks),
        )
    return [joined[start] for start in sorted(joined)]


def changed_tail(shown: Sequence[Candle], wanted: Sequence[Candle], longest: int = 3) -> int | None:
    """Index from which `wanted` differs from `shown`, when the chart can get there by patching the end and appending.

    None: the two differ further back than `longest` candles, or the series shrank: draw anew. `len(wanted)` means nothing changed.
    """
    if len(wanted) < len(shown):
        return None
    first = max(0, len(shown) - longest)
    if tuple(shown[:first]) != tuple(wanted[:first]):
        return None
    for index in range(first, len(shown)):
        if shown[index].start_ms != wanted[index].start_ms:
            return None
        if shown[index] != wanted[index]:
            return index
    return len(shown)
