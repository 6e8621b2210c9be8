"""Clocks as arguments: all code that waits or takes time stamps receives a `Clock`, so that tests control the time."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from cryptoviz.local.process_identity import monotonic_origin

__all__ = ["Clock", "StoppedClock", "SystemClock", "steady_at", "steady_ms", "steady_offset_ms", "steady_reference", "tick_of", "utc_ms"]


class Clock(Protocol):
    """UTC wall time, monotonic time, and a sleep consistent with both."""

    def now_ms(self) -> int:
        """UTC epoch milliseconds."""

    def monotonic_s(self) -> float:
        """Monotonic seconds; only differences are meaningful."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock."""


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class StoppedClock:
    """A clock that stays at `ms`, UTC epoch ms, until it is set, as for recorded responses; `sleep` takes no time."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Yield to other tasks."""
        del seconds
        await asyncio.sleep(0)


def steady_ms(clock: Clock) -> int:
    """Monotonic time in ms since boot: for durations, deadlines and ages, which must not change when the wall clock is set."""
    return round(clock.monotonic_s() * 1000)


def steady_at(clock: Clock, moment_utc_ms: int) -> int:
    """Monotonic ms of a UTC time, by the present wall clock."""
    return steady_ms(clock) + moment_utc_ms - clock.now_ms()


def utc_ms(clock: Clock, moment_steady_ms: int) -> int:
    """UTC epoch ms of a monotonic time, by the present wall clock, for display."""
    return clock.now_ms() + moment_steady_ms - steady_ms(clock)


def steady_reference(clock: Clock, at_ms: int) -> dict[str, Any]:
    """Fields to store in a file with monotonic times, written at the monotonic time `at_ms`, so that `steady_offset_ms` can convert them later."""
    return {"at_ms": at_ms, "at_utc_ms": clock.now_ms(), "origin": monotonic_origin()}


def steady_offset_ms(clock: Clock, stored: dict[str, Any]) -> int:
    """Offset from a file's monotonic times to those of this process. 0 on the same boot, however the wall clock was set since.

    After a reboot or on another machine the age of the file is taken from the wall clock, and is 0 if that was set back.
    """
    if "origin" not in stored:  # an earlier version wrote times of the wall clock
        return steady_ms(clock) - clock.now_ms()
    if stored["origin"] and stored["origin"] == monotonic_origin():
        return 0
    age_ms = max(0, clock.now_ms() - int(stored["at_utc_ms"]))
    return steady_ms(clock) - age_ms - int(stored["at_ms"])


def tick_of(now_ms: int, interval_ms: int) -> int:
    """The tick (scheduled poll slot, UTC epoch ms) that contains `now_ms`: a multiple of the interval."""
    return now_ms - now_ms % interval_ms
