"""Waiting for an engine that does not answer, in the midst of a batch: all of a batch's work may be repeated, so the query need not end for it."""

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

__all__ = ["Patience", "Trouble"]

# An engine that is away for longer than this ends the query, so that a new run looks at everything afresh.
_LONGEST_S = 900.0
_WAIT = wait_exponential_jitter(multiplier=0.2, max=3.0, jitter=0.2)
T = TypeVar("T")

log = get_logger("lake")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is waited for, since `since_s` (monotonic)."""

    since_s: float
    message: str


class Patience:
    """Tries work again until it is done, `stopping` is set, or time is up. `trouble` may be read from other threads; it stays until `over`."""

    def __init__(self, stopping: threading.Event, longest_s: float = _LONGEST_S) -> None:
        self.trouble: Trouble | None = None
        self._retrying = Retrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=_WAIT,
            stop=stop_after_delay(longest_s) | stop_when_event_set(stopping),
            sleep=sleep_using_event(stopping),
            before_sleep=self._note,
            reraise=True,
        )

    def run(self, work: Callable[[], T]) -> T:
        """The result of `work`. Raises the last EngineUnavailable when time is up, and any other error at once."""
        return self._retrying.copy()(work)

    def over(self) -> None:
        """The batch has ended, one way or the other."""
        if self.trouble is not None:
            log.info("the batch waits no longer", waited_s=round(time.monotonic() - self.trouble.since_s, 1))
        self.trouble = None

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if self.trouble is None:
            log.warning("the batch waits", error=str(error))
        self.trouble = Trouble(self.trouble.since_s if self.trouble else time.monotonic(), str(error))
