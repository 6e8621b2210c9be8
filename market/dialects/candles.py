"""Which candles a history request means. Common to the exchanges, whose parameters differ but whose grids do not."""

from __future__ import annotations

__all__ = ["UNIT_MS", "candle_starts"]

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def candle_starts(step_ms: int, start_ms: int | None, end_ms: int | None, now_ms: int, limit: int, offset_ms: int = 0) -> list[int]:
    """Opening times (UTC epoch ms) of at most `limit` candles that open within `start_ms` and `end_ms`, both included, and not after now.

    The first ones from `start_ms` on; without it the last ones. Candles open at multiples of `step_ms` from the epoch, moved by `offset_ms`.
    """
    end = now_ms if end_ms is None else min(end_ms, now_ms)
    last = end - (end - offset_ms) % step_ms
    if start_ms is None:
        first = last - (limit - 1) * step_ms
    else:
        first = start_ms + (offset_ms - start_ms) % step_ms
        last = min(last, first + (limit - 1) * step_ms)
    return list(range(max(first, offset_ms % step_ms), last + 1, step_ms))
