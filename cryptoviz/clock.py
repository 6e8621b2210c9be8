"""Time as an argument: everything that waits or stamps takes a `Clock`, so that tests own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "second_text", "tick_of"]


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


def tick_of(now_ms: int, interval_ms: int) -> int:
    """The tick (scheduled poll slot, UTC epoch ms) that `now_ms` falls into: ticks are multiples of the interval."""
    return now_ms - now_ms % interval_ms


def second_text(moment_ms: int) -> str:
    """A time (UTC epoch ms) for a person, to the second: `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
