"""Circuit breaker of one provider. The time is an argument.

closed -> open after enough consecutive failed polls; open -> half-open after the wait, for one probe; half-open -> closed if the probe succeeded,
otherwise open for twice as long. The wait has jitter, so that scrapers of many machines do not retry together. An operator can open the breaker,
which then stays open until reset, and close it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.kept_state import KeptState
from cryptoviz.clock import Clock, SystemClock, steady_offset_ms, steady_reference
from cryptoviz.log import get_logger
from cryptoviz.provider_status import BreakerState, BreakerStatus
from cryptoviz.providers.failures import REFUSALS
from cryptoviz.records import FallbackReason
from cryptoviz.settings import BreakerSettings

__all__ = ["Breaker"]

_WEIGHTS = {FallbackReason.TIMEOUT: 2}
"""A timeout costs the whole time of a tick, an error a few ms."""
_JITTER = 0.2
_MOST_DOUBLINGS = 16


class Breaker:
    """For one provider and one event loop. Times, also those of `status`, are ms of the monotonic clock.

    Args:
        path: file that keeps an open breaker across restarts; None for no file.
        uniform: jitter in [0, 1).
        clock: for the age of a file from an earlier boot.
        share: called with each state, see `KeptState`.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        path: Path | None = None,
        uniform: Callable[[], float] = random.random,
        clock: Clock | None = None,
        share: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._settings = settings
        self._kept = KeptState(path, share)
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._state = BreakerState.CLOSED
        self._reason = ""
        self._by_operator = False
        self._since_ms = 0
        self._probe_ms: int | None = None
        self._score = 0
        self._failing_since_ms: int | None = None
        self._opened_in_a_row = 0
        self._opens_total = 0
        self._log = get_logger("breaker")

    def status(self) -> BreakerStatus:
        return BreakerStatus(self._state, self._reason, self._since_ms, self._probe_ms, self._score, self._opens_total, self._by_operator)

    def load(self, copy: Mapping[str, Any] | None = None) -> None:
        """Restore the state of an earlier process, here or, by `copy`, on another node. An unreadable state means closed."""
        data = self._kept.load(copy)
        try:
            shift_ms = steady_offset_ms(self._clock, data)
            self._since_ms, self._opened_in_a_row = int(data["since_ms"]) + shift_ms, int(data["opened_in_a_row"])
            self._probe_ms = None if data["probe_ms"] is None else int(data["probe_ms"]) + shift_ms
            self._by_operator, self._reason = bool(data["by_operator"]), str(data["reason"])
            self._state = BreakerState.OPEN
        except (ValueError, KeyError, TypeError):
            self._state = BreakerState.CLOSED

    def allows(self, now_ms: int) -> bool:
        """Whether a poll is allowed. After the wait of an open breaker, the first call returns True for the probe."""
        over = self._probe_ms is not None and now_ms >= self._probe_ms
        if self._state is BreakerState.OPEN and over:
            self._become(BreakerState.HALF_OPEN, self._reason, now_ms)
            return True
        return self._state is BreakerState.CLOSED

    def good(self, now_ms: int) -> None:
        self._score, self._failing_since_ms = 0, None
        if self._state is BreakerState.HALF_OPEN:
            self._close("the probe was good", now_ms)

    def failed(self, reason: FallbackReason, now_ms: int) -> None:
        if reason in REFUSALS:
            # `HoldOff` enforces the wait.
            if self._state is BreakerState.HALF_OPEN:
                self._close(f"the provider answers ({reason.value})", now_ms)
            return
        self._score += _WEIGHTS.get(reason, 1)
        since_ms = self._failing_since_ms = now_ms if self._failing_since_ms is None else self._failing_since_ms
        if self._state is BreakerState.HALF_OPEN:
            self._open(f"the probe failed: {reason.value}", now_ms)
        elif self._state is BreakerState.CLOSED and self._score >= self._settings.failures and now_ms - since_ms >= self._settings.failing_s * 1000:
            self._open(f"failing for {(now_ms - since_ms) / 1000:.0f} s: {reason.value}", now_ms)

    def abandoned(self, now_ms: int) -> None:
        """An allowed poll was cancelled without a result: the next poll may be the probe."""
        if self._state is BreakerState.HALF_OPEN:
            self._probe_ms = now_ms
            self._become(BreakerState.OPEN, self._reason, now_ms)

    def trip(self, reason: str, now_ms: int) -> None:
        """Open the breaker until `reset`."""
        self._by_operator, self._probe_ms = True, None
        self._become(BreakerState.OPEN, reason, now_ms)
        self._keep(now_ms)

    def reset(self, now_ms: int) -> None:
        """Close the breaker and clear its failure count."""
        self._score, self._failing_since_ms = 0, None
        self._close("reset by the operator", now_ms)

    def _open(self, reason: str, now_ms: int) -> None:
        doublings = min(self._opened_in_a_row, _MOST_DOUBLINGS)
        wait_s = min(self._settings.open_s * 2**doublings, self._settings.max_open_s) * (1 - _JITTER * self._uniform())
        self._opened_in_a_row += 1
        self._opens_total += 1
        self._probe_ms = now_ms + round(wait_s * 1000)
        self._become(BreakerState.OPEN, reason, now_ms)
        self._keep(now_ms)

    def _close(self, reason: str, now_ms: int) -> None:
        self._opened_in_a_row, self._by_operator, self._probe_ms = 0, False, None
        self._become(BreakerState.CLOSED, reason, now_ms)
        self._kept.clear(steady_reference(self._clock, now_ms))

    def _become(self, state: BreakerState, reason: str, now_ms: int) -> None:
        if state is not self._state:
            self._since_ms = now_ms
            self._log.info("breaker", before=self._state.value, after=state.value, reason=reason)
        self._state, self._reason = state, reason

    def _keep(self, now_ms: int) -> None:
        data = {
            "since_ms": self._since_ms, "probe_ms": self._probe_ms, "reason": self._reason, "by_operator": self._by_operator,
            "opened_in_a_row": self._opened_in_a_row, **steady_reference(self._clock, now_ms),
        }  # fmt: skip
        self._kept.save(data)
