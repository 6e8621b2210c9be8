"""Calls on a page's loop: in order, whatever one of them raises, and dropped when the session ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from dashboard.loop_calls import LoopCalls


class Document:
    """With a lock that is free."""

    def __init__(self) -> None:
        self.session_context: Document | None = self
        self.locked = 0

    async def with_locked_document(self, call: Callable[[Any], Any]) -> None:
        self.locked += 1
        await call(self)


async def after(calls: LoopCalls) -> None:
    """When all calls so far have run."""
    done = asyncio.Event()
    calls.add(done.set)
    await asyncio.wait_for(done.wait(), 30)


async def test_calls_of_any_thread_run_in_order_on_the_loop_with_the_lock() -> None:
    document, ran = Document(), list[tuple[int, str]]()
    calls = LoopCalls(document, IOLoop.current())

    def ask() -> None:
        for number in range(5):
            calls.add(lambda number=number: ran.append((number, threading.current_thread().name)))  # type: ignore[misc]

    await asyncio.to_thread(ask)
    await after(calls)
    assert ran == [(number, threading.current_thread().name) for number in range(5)]
    assert document.locked == 6


async def test_a_call_that_raises_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    calls, ran = LoopCalls(Document(), IOLoop.current()), list[int]()
    calls.add(lambda: ran.append(1))
    calls.add(lambda: ran.append(1 // 0))
    calls.add(lambda: ran.append(3))
    await after(calls)
    assert ran == [1, 3]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "only-taken-away"])
async def test_calls_of_a_session_that_has_ended_are_dropped(closed: bool) -> None:
    document, ran = Document(), list[int]()
    calls = LoopCalls(document, IOLoop.current())
    calls.add(lambda: ran.append(1))
    if closed:
        calls.close()
    else:
        document.session_context = None
    calls.add(lambda: ran.append(2))
    other = LoopCalls(Document(), IOLoop.current())
    await after(other)
    document.session_context = document
    calls.add(lambda: ran.append(3))
    await after(other)
    assert ran == []
