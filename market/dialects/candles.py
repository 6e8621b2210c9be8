"""Candle selection of history requests, common to the exchanges: their parameters differ, their grids do not."""

from __future__ import annotations

__all__ = ["UNIT_MS", "candle_starts"]

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


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
