"""A value that all pages of the process share, read again only while a page looks at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from cryptoviz.errors import CryptoVizError
from cryptoviz.log import get_logger

__all__ = ["Polled"]

T = TypeVar("T")

log = get_logger("dashboard")


class Polled(Generic[T]):
    """Thread-safe. `look` never blocks: it returns the last value, and begins a read if that is older than `every_s`."""

    def __init__(
        self,
        name: str,
        read: Callable[[], T],
        every_s: float,
        workers: ThreadPoolExecutor,
        changed: Callable[[], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._read, self._every_s = name, read, every_s
        self._workers, self._changed, self._monotonic_s = workers, changed, monotonic_s
        self._lock = threading.Lock()
        self._value: T | None = None
        self._problem: str | None = None
        self._next_s = float("-inf")
        self._reading = False

    def look(self) -> tuple[T | None, str | None]:
        """The last value (None before the first), and why it is not newer (None if the last read succeeded)."""
        with self._lock:
            begins = not self._reading and self._monotonic_s() >= self._next_s
            self._reading = self._reading or begins
            known = self._value, self._problem
        if begins:  # outside the lock: the callback of a read that has already ended runs in this thread
            self._workers.submit(self._read).add_done_callback(self._done)
        return known

    def expire(self) -> None:
        """The next look reads, as after a change that this process has made."""
        with self._lock:
            self._next_s = float("-inf")

    def _done(self, future: Future[T]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, CryptoVizError):
            log.warning("read_failed", what=self._name, reason=f"{type(error).__name__}: {error}")
        with self._lock:
            self._reading = False
            self._next_s = self._monotonic_s() + self._every_s
            if future.cancelled():
                return
            if error is None:
                self._value, self._problem = future.result(), None
            else:
                self._problem = str(error) or type(error).__name__
        self._changed()
