"""Values of the candle chart, for `web/chart.js`."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.views.candles import Candle

__all__ = ["candle_columns", "candle_rows"]

_NAMES = ("start_ms", "open", "high", "low", "close", "volume", "ticks", "marks")


def candle_columns(candles: Sequence[Candle]) -> list[list[float | None]]:
    """Start, open, high, low, close, 24 h volume, ticks, marks: a list each, shorter in JSON than an object per candle."""
    return [[getattr(candle, name) for candle in candles] for name in _NAMES]


def candle_rows(candles: Sequence[Candle]) -> list[list[float | None]]:
    """As `candle_columns`, a list per candle: for the last ones, which change."""
    return [[getattr(candle, name) for name in _NAMES] for candle in candles]
