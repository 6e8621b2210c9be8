"""Assigns prices from a provider's history to ticks. Pure.

A tick gets the newest price known at its time: the close of a candle that has ended, or the value of a point. A price from after the tick is never
used, because it would introduce look-ahead bias. A price older than `collect.stale_after_s` is not used.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from cryptoviz.providers.history import Point, Window

__all__ = ["price_at", "prices", "windows"]


def windows(ticks: Sequence[int], span_ms: int, lookback_ms: int) -> Iterator[Window]:
    """Split sorted ticks into windows of at most `span_ms` including the lookback."""
    first = 0
    while first < len(ticks):
        begin = ticks[first] - lookback_ms
        end = bisect.bisect_right(ticks, begin + span_ms, first)
        end = max(end, first + 1)
        yield Window(tuple(ticks[first:end]), begin, ticks[end - 1])
        first = end


class HasPoints(Protocol):
    """A response with prices in order of time."""

    @property
    def points(self) -> Sequence[Point]:
        """The prices."""


A = TypeVar("A", bound=HasPoints)


async def prices(
    fetch: Callable[[Window], Awaitable[A]], window: Window, span_ms: int, length_ms: int, max_age_ms: int
) -> AsyncIterator[tuple[A, dict[int, Point]]]:
    """The prices of a window's ticks, each with the response that contains it.

    During an outage of the provider, the window's span may contain no trade before a tick. Then earlier spans are requested, up to the limit of
    staleness, so that the price of a tick does not depend on which other ticks are filled with it.
    """
    left: Window | None = window
    while left is not None:
        response = await fetch(left)
        yield response, {tick: point for tick in left.ticks if (point := price_at(response.points, tick, max_age_ms)) is not None}
        left = _earlier(left, response.points, span_ms, max_age_ms + length_ms)


def _earlier(window: Window, points: Sequence[Point], span_ms: int, reach_ms: int) -> Window | None:
    """The next span to request, for ticks of a window without an earlier point; None past `reach_ms`."""
    unknown = tuple(tick for tick in window.ticks if not points or points[0].at_ms > tick)
    if not unknown:
        return None
    lowest = unknown[0] - reach_ms
    if window.from_ms <= lowest:
        return None
    return Window(unknown, max(lowest, window.from_ms - span_ms), window.from_ms - 1)


def price_at(points: Sequence[Point], tick_ts: int, max_age_ms: int) -> Point | None:
    """The newest of the sorted points that was known at the tick and is not older than `max_age_ms`."""
    place = bisect.bisect_right(points, tick_ts, key=lambda point: point.at_ms)
    if place == 0:
        return None
    point = points[place - 1]
    return point if tick_ts - point.at_ms <= max_age_ms else None
