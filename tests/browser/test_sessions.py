"""Sessions end without leaks: no part of a page remains after its browser has left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from dashboard.app_context import AppContext
from dashboard.page_session import Session
from tests.browser.conftest import Opener
from tests.support.dashboard_server import FIRST_TICK_MS, serving
from tests.support.page_client import PageClient
from tests.support.page_stack import BASE_PRICES, TICK_MS, walk
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

PAGES = 6
VISITS = 200
WARM = 50
"""Visits before memory is compared: caches and pools have their size then."""
LEFT_MB = 15
"""Growth allowed for 150 visits. A session takes about 0.7 MB, so that a tenth of them kept would be as much."""


@pytest.fixture
def served(app_context: AppContext) -> Iterator[str]:
    """The application in this process, with sessions that expire within seconds."""
    with serving(app_context, unused_session_ms=2500) as url:
        yield url


def test_pages_that_were_closed_leave_nothing_behind(
    app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[weakref.ref[Session]] = []
    first = Session.__init__

    def noted(self: Session, *arguments: Any) -> None:
        sessions.append(weakref.ref(self))
        first(self, *arguments)

    monkeypatch.setattr(Session, "__init__", noted)
    without_pages = len(app_context.wakeups)
    for _ in range(PAGES):
        page = open_page(served).page
        eventually(lambda: len(app_context.wakeups) > without_pages, timeout_s=120)
        page.close()
        eventually(lambda: len(app_context.wakeups) == without_pages, timeout_s=120)
    assert len(sessions) >= PAGES

    def gone() -> bool:
        gc.collect()
        return all(one() is None for one in sessions)

    eventually(gone, timeout_s=120)


@pytest.mark.long
def test_two_hundred_visits_leave_no_session_and_no_memory(
    app_context: AppContext, served: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Visits over the page's own protocol, five at a time, each until it has shown a tick of its own."""
    caplog.set_level(logging.WARNING, logger="panel")  # pytest would keep each of its lines of debugging
    sessions: list[weakref.ref[Session]] = []
    first = Session.__init__

    def noted(self: Session, *arguments: Any) -> None:
        sessions.append(weakref.ref(self))
        first(self, *arguments)

    monkeypatch.setattr(Session, "__init__", noted)
    without_pages = len(app_context.wakeups)
    ticks = itertools.count(FIRST_TICK_MS + TICK_MS, TICK_MS)

    def publish() -> None:
        tick = next(ticks)
        app_context.live.apply([walk(asset, tick, 1)[0] for asset in BASE_PRICES])

    async def visit() -> int:
        heard = asyncio.Event()
        one = PageClient(served, received=lambda _message: heard.set())
        await one.open()
        listening = asyncio.create_task(one.listen())
        # A tick for each message, and again if it was before the page listened: not as many as a busy machine has time for.
        while one.messages < 3:
            assert not listening.done(), "the server closed the page's channel"
            heard.clear()
            publish()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), 1)
        one.close()
        await asyncio.wait_for(listening, 30)
        return one.messages

    async def visits(count: int) -> None:
        for _ in range(count // 5):
            assert min(await asyncio.gather(*(visit() for _ in range(5)))) >= 3

    def gone() -> bool:
        gc.collect()
        return len(app_context.wakeups) == without_pages and all(one() is None for one in sessions)

    def used_mb() -> float:
        return psutil.Process().memory_full_info().uss / 2**20

    # Not in this thread, whose loop is Playwright's while its browser runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, visits(WARM)).result()
        eventually(gone, timeout_s=120)
        before = used_mb()
        thread.submit(asyncio.run, visits(VISITS - WARM)).result()
        eventually(gone, timeout_s=120)
    assert len(sessions) == VISITS
    assert used_mb() - before < LEFT_MB
