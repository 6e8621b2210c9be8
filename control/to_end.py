"""Changes that are made whole although their caller leaves: gRPC cancels the call of a client that ends or whose deadline passes.

A file is written in a thread, which no cancellation stops. A call that ended there would leave the file changed and the memory not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["Once", "to_end"]

T = TypeVar("T")

_running: set[asyncio.Future[Any]] = set()
"""Strong references to running tasks."""


async def to_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which goes on if the caller is cancelled."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return await asyncio.shield(task)


class Once(Generic[T]):
    """Runs `work` once, to its end, for all callers. After an error the next call runs it again."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        if self._task is None or (self._task.done() and (self._task.cancelled() or self._task.exception() is not None)):
            self._task = asyncio.ensure_future(self._work())
        return await asyncio.shield(self._task)
