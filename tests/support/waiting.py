"""Helpers shared by test modules."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


TIMEOUT_S = 60.0
"""Costs nothing when a test passes, and suffices on a machine that other tests keep busy."""


def eventually(check: Callable[[], T | None], timeout_s: float = TIMEOUT_S, every_s: float = 0.05) -> T:
    """The first truthy result of `check`.

    Raises the assertion error, or a plain AssertionError, of the first check that began after the timeout: this process may have been stopped since
    the last one.
    """
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while True:
        with _raising_after(deadline):
            value = check()
            assert value, f"not true within {timeout_s} s"
            return value
        pause.wait(every_s)


async def eventually_async(check: Callable[[], Awaitable[T]], timeout_s: float = TIMEOUT_S, every_s: float = 0.05) -> T:
    """As `eventually`, for coroutines."""
    deadline, never = time.monotonic() + timeout_s, asyncio.Event()
    while True:
        with _raising_after(deadline):
            value = await check()
            assert value, f"not true within {timeout_s} s"
            return value
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), every_s)


@contextmanager
def _raising_after(deadline: float) -> Iterator[None]:
    """Suppresses assertion errors of what begins before the deadline (monotonic seconds)."""
    last = time.monotonic() > deadline
    try:
        yield
    except AssertionError:
        if last:
            raise
