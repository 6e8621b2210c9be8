"""Candles from live ticks, and their merge with the lake's candles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "DISAGREED",
    "FALLBACK",
    "Candle",
    "CandleBuilder",
    "Change",
    "LiveCandles",
    "change_of",
    "choose_currency",
    "join_candles",
    "join_currencies",
]


# 30 days of 1 m candles are 43 200 of them, which a dataclass makes fifteen times as slowly; without references, the collector need not visit them.
class Candle(Struct, frozen=True, gc=False):
    """A candle of an asset.

    `start_ms` is UTC epoch ms, a multiple of the interval; prices in quote currency. `volume`: from polled prices the last reported rolling 24 h
    volume in the interval, since polling sees no trades; from trades what was traded in it, in coins. `ticks`: observations, or trades. `marks`: the
    sum of `FALLBACK` if one of them is a fallback's price, and `DISAGREED` if providers disagreed in one; of candles from trades see `trade_bars`.
    """

    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    ticks: int
    marks: int = 0


FALLBACK, DISAGREED = 1, 2


class CandleBuilder:
    """The latest `limit` candles of one asset, quote currency and interval. Not thread-safe; the owner locks.

    Ticks arrive in order of their slot; a tick that is not newer than the last is ignored as a repeat.
    """

    def __init__(self, interval_ms: int, limit: int = 1500) -> None:
        self._interval_ms = interval_ms
        self._limit = limit
        self._candles: list[Candle] = []
        self._last_tick_ms = -1
        self._first_tick_ms: int | None = None

    @property
    def complete_from_ms(self) -> int | None:
        """Start of the first interval that was observed from its beginning; None before the first tick."""
        if self._first_tick_ms is None:
            return None
        return -(-self._first_tick_ms // self._interval_ms) * self._interval_ms

    @property
    def candles(self) -> tuple[Candle, ...]:
        """Oldest first."""
        return tuple(self._candles)

    def add(self, tick_ms: int, price: float, volume: float | None, marks: int = 0) -> None:
        if tick_ms <= self._last_tick_ms:
            return
        if self._first_tick_ms is None:
            self._first_tick_ms = tick_ms
        self._last_tick_ms = tick_ms
        start = tick_ms - tick_ms % self._interval_ms
        last = self._candles[-1] if self._candles else None
        if last is None or last.start_ms < start:
            self._candles.append(Candle(start, price, price, price, price, volume, 1, marks))
            del self._candles[: -self._limit]
            return
        self._candles[-1] = replace(
            last,
            high=max(last.high, price),
            low=min(last.low, price),
            close=price,
            volume=last.volume if volume is None else volume,
            ticks=last.ticks + 1,
            marks=last.marks | marks,
        )


@dataclass(frozen=True, slots=True)
class LiveCandles:
    """Candles from live ticks, oldest first; `complete_from_ms` as in `CandleBuilder`."""

    candles: tuple[Candle, ...]
    complete_from_ms: int | None


def choose_currency(ticks: Mapping[str, int]) -> str:
    """The quote currency of a series: the currency of most ticks, dollars first on a tie. Currencies are never mixed."""
    return min(ticks, key=lambda currency: (-ticks[currency], currency != "USD", currency), default="USD")


def join_currencies(stored: Mapping[str, Sequence[Candle]], live: Mapping[str, LiveCandles]) -> dict[str, list[Candle]]:
    """`join_candles` per quote currency; currencies without candles are omitted."""
    none = LiveCandles((), None)
    joined = {one: join_candles(stored.get(one, ()), live.get(one, none).candles, live.get(one, none).complete_from_ms) for one in {*stored, *live}}
    return {currency: candles for currency, candles in joined.items() if candles}


def join_candles(stored: Sequence[Candle], live: Sequence[Candle], live_complete_from_ms: int | None) -> list[Candle]:
    """Stored candles followed by live ones, each oldest first; one per interval, oldest first.

    Where both have an interval, the live candle is used if it was observed from its beginning. The first live interval is partial: it is merged, with
    the stored open, the range of both, and the live close.
    """
    first = bisect_left(stored, live[0].start_ms, key=_start) if live else len(stored)
    joined = {candle.start_ms: candle for candle in stored[first:]}
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
            marks=older.marks | candle.marks,
        )
    return [*stored[:first], *(joined[start] for start in sorted(joined))]


@dataclass(frozen=True, slots=True)
class Change:
    """From a series that a chart shows to another: its first `older` candles come before, those from `tail` on update the last ones or follow."""

    older: int
    tail: int


def change_of(shown: Sequence[Candle], wanted: Sequence[Candle], longest: int = 3) -> Change | None:
    """The change to `wanted`; None if candles before the last `longest` differ, or the series shrank at its end: draw it whole.

    Candles of `shown` that are older than all of `wanted` do not count: a chart may keep them.
    """
    if not shown or not wanted:
        return None
    kept = shown[bisect_left(shown, wanted[0].start_ms, key=_start) :]
    older = bisect_left(wanted, shown[0].start_ms, key=_start)
    rest = wanted[older:]
    first = max(0, len(kept) - longest)
    if not kept or len(rest) < len(kept) or tuple(kept[:first]) != tuple(rest[:first]):
        return None
    for index in range(first, len(kept)):
        if kept[index].start_ms != rest[index].start_ms:
            return None
        if kept[index] != rest[index]:
            return Change(older, older + index)
    return Change(older, older + len(kept))


def _start(candle: Candle) -> int:
    return candle.start_ms
