"""Work of a page in the background: bounded, whatever its browser sends, and apart from the workers that serve clicks; and its channel."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from bokeh.document import Document
from tornado.ioloop import IOLoop

from cryptoviz.errors import QueueFull
from dashboard.app_context import AppContext
from dashboard.page_session import Session
from dashboard.pages.history_part import HistoryPart
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_client import PageClient
from tests.support.waiting import eventually

CLICKS = 100
WAITING = 16
"""What a page may wait for at once."""


@pytest.fixture
def app_context(tmp_path: Path) -> Iterator[AppContext]:
    with new_app_context(tmp_path) as made:
        yield made


def a_session(app_context: AppContext, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A page whose callbacks run where its work has ended."""
    made = Session(app_context, Document(), "en", Mock(IOLoop))
    monkeypatch.setattr(made, "_on_loop", lambda call: call())
    made._begin()
    return made


def test_a_flood_of_actions_of_one_page_leaves_the_workers_to_others(app_context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    flooding, other = a_session(app_context, monkeypatch), a_session(app_context, monkeypatch)
    go, done, refused = threading.Event(), list[int](), list[Exception]()
    for number in range(CLICKS):
        flooding.in_background(lambda number=number: go.wait(60) and number, done.append, refused.append)  # type: ignore[misc]
    assert len(refused) == CLICKS - WAITING
    assert {type(error) for error in refused} == {QueueFull}
    other.in_background(lambda: -1, done.append, refused.append)
    go.set()
    eventually(lambda: sorted(done) == [-1, *range(WAITING)])
    flooding.in_background(lambda: 7, done.append, refused.append)
    eventually(lambda: 7 in done)


def test_a_download_takes_no_worker_that_serves_clicks(app_context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    session, ran = a_session(app_context, monkeypatch), list[str]()

    def download(*_: object) -> bytes:
        ran.append(threading.current_thread().name)
        return b"x"

    monkeypatch.setattr(app_context.history, "download", download)
    HistoryPart(session, "bitcoin").download("csv")
    eventually(lambda: len(ran) == 1)
    assert not ran[0].startswith("actions")


def test_a_page_that_ends_while_it_is_woken_ends_no_feed(app_context: AppContext) -> None:
    document, woken = Document(), list[int]()
    leaving = Session(app_context, document, "en", Mock(IOLoop))
    leaving._begin()
    app_context.wakeups.subscribe(leaving.wake)
    app_context.wakeups.subscribe(lambda: woken.append(1))
    document.callbacks.destroy()  # what Bokeh does first, before the session hears that it has ended
    app_context.wakeups.wake()
    assert woken == [1]


def test_a_page_that_ends_before_its_calls_have_run_is_freed_though_its_document_is_kept(app_context: AppContext) -> None:
    """Bokeh keeps the document that it served last."""
    document = Document()
    page = Session(app_context, document, "en", Mock(IOLoop))
    page._begin()
    page.later(lambda: None)
    page.close()
    freed = weakref.ref(page)
    del page
    gc.collect()
    assert freed() is None
    assert document.callbacks is not None


async def test_a_browser_that_asks_whether_anybody_is_there_is_answered(app_context: AppContext) -> None:
    """Nothing else is sent while nothing changes; a browser takes silence for a lost connection."""
    parts: list[object] = []
    with serving(app_context) as url:
        one = PageClient(url, received=lambda message: parts.append(message["parts"]))
        await one.open()
        listening = asyncio.create_task(one.listen())
        for _ in range(2400):
            one._say({"page": "root", "act": "still", "values": {}})
            await asyncio.sleep(0.05)
            if parts.count({}) >= 2:
                break
        one.close()
        await asyncio.wait_for(listening, 120)
    assert parts.count({}) >= 2
