"""Candles from trades for the chart: the lake's older ones joined with the feed's newer ones, and which of them a gap or a halt touches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cryptoviz.trades.candle import TradeCandle
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.gaps import TradeGapState
from dashboard.views.candles import Candle

__all__ = ["HALTED", "MISSING", "TradeBar", "bar_of", "join_bars", "marked_candles"]

MISSING, HALTED = 4, 8
"""Marks of a candle, beside those of `dashboard.views.candles`: trades are missing in it; the venue was silent, and nothing is missing."""


@dataclass(frozen=True, slots=True)
class TradeBar:
    """What the trades of an interval add up to. `start_ms` is UTC epoch ms, `volume` in coins; `first` and `last` are trade numbers."""

    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    first: int
    last: int


def bar_of(candle: TradeCandle) -> TradeBar | None:
    """The bar of an exact candle; None if it has no trades."""
    if candle.first_trade is None or candle.last_trade is None:
        return None
    first, last = candle.first_trade, candle.last_trade
    four = (float(candle.open), float(candle.high), float(candle.low), float(candle.close))
    return TradeBar(candle.open_us // 1000, *four, float(candle.volume), candle.trades, first, last)


def join_bars(stored: Iterable[TradeBar], live: Iterable[TradeBar]) -> list[TradeBar]:
    """Bars of disjoint trades, one per interval, oldest first. The interval in which the feed began is in both: it is added up."""
    joined = {bar.start_ms: bar for bar in stored}
    for bar in live:
        older = joined.get(bar.start_ms)
        joined[bar.start_ms] = bar if older is None else _sum(older, bar)
    return [joined[start] for start in sorted(joined)]


def _sum(one: TradeBar, other: TradeBar) -> TradeBar:
    early, late = (one, other) if one.first < other.first else (other, one)
    return replace(
        early,
        high=max(one.high, other.high),
        low=min(one.low, other.low),
        close=late.close if late.last > early.last else early.close,
        volume=one.volume + other.volume,
        trades=one.trades + other.trades,
        last=max(one.last, other.last),
    )


def marked_candles(bars: Sequence[TradeBar], gaps: Iterable[GapChange], step_ms: int) -> list[Candle]:
    """Candles for the chart, with `MISSING` and `HALTED`. `gaps`: each with its newest state."""
    windows = [(*_window(gap), HALTED if gap.state == TradeGapState.HALT else MISSING) for gap in gaps if gap.state != TradeGapState.REFILLED]
    found = []
    for bar in bars:
        start_us, end_us = bar.start_ms * 1000, (bar.start_ms + step_ms) * 1000
        marks = 0
        for from_us, to_us, mark in windows:
            if from_us < end_us and to_us >= start_us:
                marks |= mark
        found.append(Candle(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, marks))
    return found


def _window(gap: GapChange) -> tuple[int, int]:
    """Venue times around the missing trades; where they are unknown, our clock's."""
    from_us = gap.opened_ts if gap.from_ts is None else gap.from_ts
    to_us = (gap.closed_ts or gap.changed_ts) if gap.to_ts is None else gap.to_ts
    return min(from_us, to_us), max(from_us, to_us)
