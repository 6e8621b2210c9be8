"""From a provider's past prices to the prices of ticks. Pure.

A tick gets the newest price that was known at it: of a candle the close, once the candle was over; of a point its value. Never one from after the
tick, because a study of the past would then know the future. One older than `collect.stale_after_s` is none.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from cryptoviz.providers.history import Point, Window

__all__ = ["price_at", "prices", "windows"]


def windows(ticks: Sequence[int], span_ms: int, lookback_ms: int) -> Iterator[Window]:
    """Cut sorted ticks into windows no longer than `span_ms`, lookback included, which a call can answer."""
    first = 0
    while first < len(ticks):
        begin = ticks[first] - lookback_ms
        end = bisect.bisect_right(ticks, begin + span_ms, first)
        end = max(end, first + 1)
        yield Window(tuple(ticks[first:end]), begin, ticks[end - 1])
        first = end


class HasPoints(Protocol):
    """An answer with prices in order of time."""

    @property
    def points(self) -> Sequence[Point]:
        """The prices."""
        ...


A = TypeVar("A", bound=HasPoints)


async def prices(
    ask: Callable[[Window], Awaitable[A]], window: Window, span_ms: int, length_ms: int, max_age_ms: int
) -> AsyncIterator[tuple[A, dict[int, Point]]]:
    """The prices of a window's ticks, each with the answer that brought it.

    Before a tick in an outage the window's own span may hold no trade. Then spans before it are asked for, up to the limit of staleness: which other
    ticks are filled together with a tick has no part in its price.
    """
    left: Window | None = window
    while left is not None:
        answer = await ask(left)
        yield answer, {tick: point for tick in left.ticks if (point := price_at(answer.points, tick, max_age_ms)) is not None}
        left = _earlier(left, answer.points, span_ms, max_age_ms + length_ms)


def _earlier(window: Window, points: Sequence[Point], span_ms: int, reach_ms: int) -> Window | None:
    """The span to ask for next, for those ticks of a window before which `points` has nothing; None when there is none within `reach_ms`."""
    unknown = tuple(tick for tick in window.ticks if not points or points[0].at_ms > tick)
    if not unknown:
        return None
    lowest = unknown[0] - reach_ms
    if window.from_ms <= lowest:
        return None
    return Window(unknown, max(lowest, window.from_ms - span_ms), window.from_ms - 1)


def price_at(points: Sequence[Point], tick_ts: int, max_age_ms: int) -> Point | None:
    """The newest of the points, which are in order of time, that was known at the tick and is not older than `max_age_ms`."""
    place = bisect.bisect_right(points, tick_ts, key=lambda point: point.at_ms)
    if place == 0:
        return None
    point = points[place - 1]
    return point if tick_ts - point.at_ms <= max_age_ms else None
