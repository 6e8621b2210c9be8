"""Bounds on concurrent page builds and on waiting browsers, because a build blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptoviz.errors import QueueFull

__all__ = ["PageBuilds"]

_AT_ONCE = 1  # a single loop builds: two concurrent builds would both be late
_WAITING = 32


class PageBuilds:
    """Queue of page builds. For the server's loop only."""

    def __init__(self, at_once: int = _AT_ONCE, waiting: int = _WAITING) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most = waiting
        self.waiting = 0
        self.running = 0
        self.most_running = 0
        self.refused = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a build slot and hold it.

        Raises:
            QueueFull: the limit of waiting builds is reached.
        """
        if self.waiting >= self._most:
            self.refused += 1
            raise QueueFull(f"{self.waiting} pages are already waiting to be built", queue="page builds", limit=self._most)
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            # Before the build, so that requests that arrived during the last build are answered first.
            await asyncio.sleep(0)
            yield
        finally:
            self.running -= 1
            self._turns.release()
