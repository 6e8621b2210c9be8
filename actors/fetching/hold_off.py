"""Minimum interval between calls to one provider, and waits that it imposed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from actors.kept_state import KeptState
from cryptoviz.clock import Clock, SystemClock, steady_ms, steady_offset_ms, steady_reference
from cryptoviz.records import FallbackReason

__all__ = ["HoldOff", "Limiter", "MinIntervalLimiter"]


class Limiter(Protocol):
    """Admits calls within the provider's limits."""

    async def acquire(self) -> None:
        """Return when the next call may start. Raises ProviderUnavailable if the wait is too long."""

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Evaluate a response's status and headers (names in any case)."""


class MinIntervalLimiter:
    """At least `min_interval_s` from the start of one call to the next, in this process."""

    def __init__(self, min_interval_s: float, clock: Clock) -> None:
        self._interval_s = min_interval_s
        self._clock = clock
        self._next_s = float("-inf")
        self._lock = asyncio.Lock()

    async def acquire(self) -> None:
        """Return when the next call may start; callers are served in order."""
        async with self._lock:
            wait_s = self._next_s - self._clock.monotonic_s()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            self._next_s = self._clock.monotonic_s() + self._interval_s

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Nothing: it only counts time."""


class HoldOff:
    """The hold that a provider imposed, with its reason. Kept, so that a restarted scraper does not forget a ban.

    Times are ms of the monotonic clock: a step of the wall clock ends no wait and lengthens none.

    Args:
        path: file that keeps it; None for no file.
        clock: for the age of a state of another boot.
        share: called with each state, see `KeptState`.
    """

    def __init__(self, path: Path | None = None, clock: Clock | None = None, share: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._kept = KeptState(path, share)
        self._clock = clock or SystemClock()
        self._until_ms: int | None = None
        self._reason = FallbackReason.RATE_LIMITED

    def load(self, copy: Mapping[str, Any] | None = None) -> None:
        """Load the hold of an earlier process, here or, by `copy`, on another node. An unreadable state means no hold."""
        data = self._kept.load(copy)
        try:
            self._reason = FallbackReason(data["reason"])
            self._until_ms = int(data["until_ms"]) + steady_offset_ms(self._clock, data)
        except (ValueError, OverflowError, KeyError, TypeError):
            self._until_ms = None

    def impose(self, reason: FallbackReason, wait_s: float, now_ms: int) -> None:
        """Hold calls for `wait_s` from now, a finite number >= 0 (`bounded_wait_s`)."""
        self._until_ms, self._reason = now_ms + round(wait_s * 1000), reason
        self._kept.save({"until_ms": self._until_ms, "reason": reason.value} | steady_reference(self._clock, now_ms))

    def lift(self) -> None:
        """End the hold, on the operator's command."""
        self._until_ms = None
        self._kept.clear(steady_reference(self._clock, steady_ms(self._clock)))

    def active(self, now_ms: int) -> tuple[FallbackReason, float] | None:
        """Reason and remaining seconds; None without a hold."""
        left_ms = 0 if self._until_ms is None else self._until_ms - now_ms
        return (self._reason, left_ms / 1000) if left_ms > 0 else None
