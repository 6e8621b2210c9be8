"""Sessions end without leaks: no part of a page remains after its browser has left."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
import logging
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dashboard.app_context import AppContext
from dashboard.page_session import Session
from dashboard.shared_state import RING_TICKS
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
LEFT_BLOCKS, LEFT_MB = 20_000, 2.0
"""Growth allowed for 150 visits: the blocks of ten sessions. One takes about 2 000 blocks, and 0.1 MB of malloc."""


class Mallinfo(ctypes.Structure):
    """Of mallinfo2(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


LIBC = ctypes.CDLL("libc.so.6")
LIBC.mallinfo2.restype = Mallinfo


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

    def in_use() -> tuple[int, float]:
        """Blocks of Python's allocator, and MB of malloc: not the pages that both keep for later, which depend on how many visits meet."""
        found = LIBC.mallinfo2()
        return sys.getallocatedblocks(), (found.uordblks + found.hblkhd) / 2**20

    # Ticks are kept too, up to a bound: prices of each coin, and records for alerts, which wait for Redis here. Both are full from here on.
    for _ in range(RING_TICKS):
        publish()
    # Not in this thread, whose loop is Playwright's while its browser runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, visits(WARM)).result()
        eventually(gone, timeout_s=120)
        before = in_use()
        thread.submit(asyncio.run, visits(VISITS - WARM)).result()
        eventually(gone, timeout_s=120)
    after = in_use()
    assert len(sessions) >= VISITS  # a page that waits longer than 2.5 s for its browser is built again: 206 at a load of 20
    assert after[0] - before[0] < LEFT_BLOCKS
    assert after[1] - before[1] < LEFT_MB
