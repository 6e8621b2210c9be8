"""What several test modules share."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """Distinct free ports outside 10002-19999, which Ray gives to its workers."""
    found: set[int] = set()
    while len(found) < count:
        port = free_port()
        if not 10_002 <= port <= 19_999:
            found.add(port)
    return sorted(found)


def eventually(check: Callable[[], T], timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """The first truthy result of `check`; an assertion error of its own, or a plain one, when time is up."""
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
