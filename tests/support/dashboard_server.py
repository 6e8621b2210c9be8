"""The dashboard's server in this process: the real application on its own loop, with an AppContext whose feeds are not started."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from cryptoviz.client import ControlClient
from dashboard.app import make_server
from dashboard.app_context import AppContext
from dashboard.feeds.history_cache import Closes, Marks
from dashboard.views.candles import Candle
from dashboard.views.overlay import Overlay
from dashboard.views.statistics import PriceHistory
from tests.support.page_stack import BASE_PRICES, browser_settings, walk

FIRST_TICK_MS = 1_700_000_000_000


class NoHistory:
    """A lake without rows."""

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Sequence[Candle]]:
        return {}

    def marks(self, asset_id: str, interval: str, since_ms: int) -> Marks:
        return {}

    def overlay(self, asset_id: str, interval: str, since_ms: int) -> Mapping[str, Overlay]:
        return {}

    def closes(self, since_ms: int) -> Closes:
        return {}

    def prices(self, asset_id: str, since_ms: int, limit: int) -> PriceHistory:
        return PriceHistory((), ())

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        return b""

    parquet = csv


@contextlib.contextmanager
def new_app_context(home: Path, **sections: Any) -> Iterator[AppContext]:
    """An AppContext with one tick of all coins; the test acts as the feed."""
    settings = browser_settings(home, **sections)
    made = AppContext.create(settings, lambda: ControlClient.from_settings(settings), NoHistory())
    made.live.apply([walk(asset, FIRST_TICK_MS, 1)[0] for asset in BASE_PRICES])
    try:
        yield made
    finally:
        made.workers.shutdown()
        made.history.close()
        made.inspection.close()


@contextlib.contextmanager
def serving(app_context: AppContext, **options: Any) -> Iterator[str]:
    """The page's address, served within the context."""
    ready = threading.Event()
    running: dict[str, Any] = {}

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        loop = IOLoop.current()
        try:
            server = make_server(app_context, **options)
            server.start()
            running.update(server=server, loop=loop)
            loop.add_callback(ready.set)
            loop.start()
            server.stop()
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="served", daemon=True)
    thread.start()
    assert ready.wait(120)
    yield f"http://127.0.0.1:{app_context.settings.dashboard.port}/"
    running["loop"].add_callback(running["loop"].stop)
    thread.join(60)


def exchange(port: int, request: str | bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one raw HTTP request to loopback; status 0 when the connection ends without an answer."""
    raw = request.encode() if isinstance(request, str) else request
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(raw)
        answer = connection.makefile("rb")
        line = answer.readline().decode()
        if not line:
            return 0, {}, b""
        headers: dict[str, str] = {}
        while (field := answer.readline().decode().strip()) != "":
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        status = int(line.split()[1])
        body = b"" if status == 101 else answer.read(int(headers.get("content-length", "0")))
        return status, headers, body
