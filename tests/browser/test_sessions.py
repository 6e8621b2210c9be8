"""Sessions come and go: nothing of a page stays behind when its browser has left."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cryptoviz.client import ControlClient
from dashboard.app import make_server
from dashboard.hub import Hub
from dashboard.session import Session
from dashboard.view_logic.candles import Candle
from dashboard.view_logic.statistics import PriceRow
from tests.browser.conftest import Opener
from tests.browser.stack import BASE_PRICES, browser_settings, walk
from tests.helpers import eventually

pytestmark = pytest.mark.browser

PAGES = 6


class NoHistory:
    """A lake without rows."""

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Sequence[Candle]:
        return []

    def rows(self, asset_id: str, since_ms: int, limit: int) -> Sequence[PriceRow]:
        return []

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        return b""

    parquet = csv


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub whose feeds stand still: the test is the feed."""
    settings = browser_settings(tmp_path)
    made = Hub.create(settings, lambda: ControlClient.from_settings(settings), NoHistory())
    made.live.apply([walk(asset, 1_700_000_000_000, 1)[0] for asset in BASE_PRICES])
    yield made
    made.workers.shutdown()
    made.history.close()


@pytest.fixture
def served(hub: Hub) -> Iterator[str]:
    """The application in this process, on a loop of its own, with sessions that expire after seconds."""
    ready = threading.Event()
    running: dict[str, Any] = {}

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        loop = IOLoop.current()
        server = make_server(hub, unused_session_ms=2500)
        server.start()
        running.update(server=server, loop=loop)
        loop.add_callback(ready.set)
        loop.start()
        server.stop()
        loop.close()

    thread = threading.Thread(target=run, name="served", daemon=True)
    thread.start()
    assert ready.wait(30)
    yield f"http://127.0.0.1:{hub.settings.dashboard.port}/"
    running["loop"].add_callback(running["loop"].stop)
    thread.join(10)


# Raised inside panel-material-ui's own FileDownload, which sets both.
@pytest.mark.filterwarnings("ignore:Both 'variant' and 'button_style' were provided:PendingDeprecationWarning")
def test_pages_that_were_closed_leave_nothing_behind(hub: Hub, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[weakref.ref[Session]] = []
    first = Session.__init__

    def noted(self: Session, *arguments: Any) -> None:
        sessions.append(weakref.ref(self))
        first(self, *arguments)

    monkeypatch.setattr(Session, "__init__", noted)
    for _ in range(PAGES):
        page = open_page(served).page
        eventually(lambda: len(hub.wakeups) >= 1, timeout_s=20)
        page.close()
        eventually(lambda: len(hub.wakeups) == 0, timeout_s=20)
    assert len(sessions) >= PAGES

    def gone() -> bool:
        gc.collect()
        return all(one() is None for one in sessions)

    eventually(gone, timeout_s=60)
