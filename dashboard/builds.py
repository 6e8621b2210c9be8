"""How many pages are built at once, and how many browsers wait for theirs: both bounded, because a build keeps the event loop busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptoviz.errors import QueueFull

__all__ = ["PageBuilds"]

_AT_ONCE = 1  # one loop builds: two at once would both be late
_WAITING = 32


class PageBuilds:
    """A turn for each build. For the server's loop only."""

    def __init__(self, at_once: int = _AT_ONCE, waiting: int = _WAITING) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most = waiting
        self.waiting = 0
        self.running = 0
        self.most_running = 0
        self.refused = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises:
            QueueFull: as many wait already as may.
        """
        if self.waiting >= self._most:
            self.refused += 1
            raise QueueFull(f"{self.waiting} pages wait to be built already", queue="page builds", limit=self._most)
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            # Before the build, so that what came in during the last one is answered first.
            await asyncio.sleep(0)
            yield
        finally:
            self.running -= 1
            self._turns.release()
