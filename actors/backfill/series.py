"""From a provider's past prices to the prices of ticks. Pure.

A tick gets the newest price that was known at it: of a candle the close, once the candle was over; of a point its value. Never one from after the
tick, because a study of the past would then know the future. One older than `collect.stale_after_s` is none.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Point", "Window", "price_at", "windows"]


@dataclass(frozen=True, slots=True)
class Point:
    """A price as of `at_ms` (UTC epoch ms): the last millisecond of a candle, or the stamp of a point. Amounts in quote currency, unknown is None."""

    at_ms: int
    price: float
    market_cap: float | None = None
    volume_24h: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Ticks that one call can answer, in order of time, and the time from which on candles are needed for them (UTC epoch ms)."""

    ticks: tuple[int, ...]
    from_ms: int

    @property
    def to_ms(self) -> int:
        """The last tick: nothing after it is of use."""
        return self.ticks[-1]


def windows(ticks: Sequence[int], span_ms: int, lookback_ms: int) -> Iterator[Window]:
    """Cut sorted ticks into windows no longer than `span_ms`, lookback included, which a call can answer."""
    first = 0
    while first < len(ticks):
        begin = ticks[first] - lookback_ms
        end = bisect.bisect_right(ticks, begin + span_ms, first)
        end = max(end, first + 1)
        yield Window(tuple(ticks[first:end]), begin)
        first = end


def price_at(points: Sequence[Point], tick_ts: int, max_age_ms: int) -> Point | None:
    """The newest of the points, which are in order of time, that was known at the tick and is not older than `max_age_ms`."""
    place = bisect.bisect_right(points, tick_ts, key=lambda point: point.at_ms)
    if place == 0:
        return None
    point = points[place - 1]
    return point if tick_ts - point.at_ms <= max_age_ms else None
