"""Calls of a page that run on the server's loop, whichever thread asks for them."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from panel.io.state import set_curdoc
from tornado.ioloop import IOLoop

__all__ = ["LoopCalls"]


class LoopCalls:
    """Runs the calls of a document in order, each on the loop with the document's lock, until its session ends. Thread-safe.

    The loop holds a weak reference only, and Bokeh none: it keeps the document that it served last, and all that this document refers to.
    """

    def __init__(self, document: Any, loop: IOLoop) -> None:
        self._document = document
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False

    def add(self, call: Callable[[], None]) -> None:
        """Schedule a call. No-op after `close`."""
        if not self._closed:
            self._calls.append(call)
            self._loop.add_callback(_run_next, weakref.ref(self))

    def close(self) -> None:
        """Drop the calls that wait, and all further ones. Idempotent."""
        self._closed = True
        self._calls.clear()

    async def run_next(self) -> None:
        """Run the call that has waited longest. On the loop."""
        context = self._document.session_context
        if context is None:  # Bokeh takes it away on its loop, before it says that the session has ended
            self.close()
        else:
            await context.with_locked_document(self._run)

    async def _run(self, _document: Any) -> None:
        if self._calls:
            with set_curdoc(self._document):
                self._calls.popleft()()


async def _run_next(reference: weakref.ref[LoopCalls]) -> None:
    calls = reference()
    if calls is not None:
        await calls.run_next()
