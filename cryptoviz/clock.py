"""Time as an argument: everything that waits or stamps takes a `Clock`, so that tests own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "second_text", "steady_at", "steady_ms", "tick_of", "utc_ms"]


class Clock(Protocol):
    """UTC wall time, a monotonic second counter, and a sleep that agrees with both."""

    def now_ms(self) -> int:
        """UTC epoch milliseconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock's time."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """UTC epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait in the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


def steady_ms(clock: Clock) -> int:
    """The monotonic clock in ms: for durations, deadlines and ages, which no step of the wall clock may change. Counts from the machine's boot."""
    return round(clock.monotonic_s() * 1000)


def steady_at(clock: Clock, moment_utc_ms: int) -> int:
    """The monotonic ms of a moment near now, as the wall clock stands now."""
    return steady_ms(clock) + moment_utc_ms - clock.now_ms()


def utc_ms(clock: Clock, moment_steady_ms: int) -> int:
    """When that moment is or was by the wall clock as it stands now (UTC epoch ms): for people."""
    return clock.now_ms() + moment_steady_ms - steady_ms(clock)


def tick_of(now_ms: int, interval_ms: int) -> int:
    """The tick (scheduled poll slot, UTC epoch ms) that `now_ms` falls into: ticks are multiples of the interval."""
    return now_ms - now_ms % interval_ms


def second_text(moment_ms: int) -> str:
    """A time (UTC epoch ms) for a person, to the second: `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
