"""Helpers shared by test modules."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T | None], timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """The first truthy result of `check`. At the timeout raises its last assertion error, or a plain AssertionError."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        error: AssertionError | None = None
        try:
            value = check()
            if value:
                return value
        except AssertionError as failed:
            error = failed
        if time.monotonic() > deadline:
            raise error or AssertionError(f"not true within {timeout_s} s")
        pause.wait(every_s)


async def eventually_async(check: Callable[[], Awaitable[T]], timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """As `eventually`, for coroutines."""
    deadline = time.monotonic() + timeout_s
    never = asyncio.Event()
    while True:
        error: AssertionError | None = None
        try:
            value = await check()
            if value:
                return value
        except AssertionError as failed:
            error = failed
        if time.monotonic() > deadline:
            raise error or AssertionError(f"not true within {timeout_s} s")
        try:
            await asyncio.wait_for(never.wait(), every_s)
        except TimeoutError:
            continue
