"""Retries during a batch while an engine is unavailable. All steps of a batch may be repeated, so the query need not end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from cryptoviz.errors import EngineUnavailable
from cryptoviz.log import get_logger

__all__ = ["EngineProblem", "EngineRetry"]

# A longer outage of an engine ends the query, so that a new run reads all state again.
_LONGEST_S = 900.0
_WAIT = wait_exponential_jitter(multiplier=0.2, max=3.0, jitter=0.2)
T = TypeVar("T")

log = get_logger("lake")


@dataclass(frozen=True, slots=True)
class EngineProblem:
    """An engine that is slow or does not answer, since `since_s` (monotonic)."""

    since_s: float
    message: str


class EngineRetry:
    """Retries until success, `stopping` is set, or `longest_s` is over. `problem` may be read from other threads; it stays until `reset`."""

    def __init__(self, stopping: threading.Event, longest_s: float = _LONGEST_S) -> None:
        self.problem: EngineProblem | None = None
        self._retrying = Retrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=_WAIT,
            stop=stop_after_delay(longest_s) | stop_when_event_set(stopping),
            sleep=sleep_using_event(stopping),
            before_sleep=self._note,
            reraise=True,
        )

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`. Raises the last EngineUnavailable after the timeout, and any other error at once."""
        return self._retrying.copy()(work)

    def reset(self) -> None:
        """Reset at the end of a batch, successful or not."""
        if self.problem is not None:
            log.info("batch_continues", waited_s=round(time.monotonic() - self.problem.since_s, 1))
        self.problem = None

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if self.problem is None:
            log.warning("batch_waits", error=str(error))
        self.problem = EngineProblem(self.problem.since_s if self.problem else time.monotonic(), str(error))
