"""From Kafka's append to the page at N sessions of one server process, and what that process takes (`make bench-dashboard`).

One session is a page in Chromium, which notes in each animation frame when the record's `ingest_ts` is in the document: Kafka append -> pixel.
The others are visitors over the page's own WebSocket protocol (`tests.support.page_client`), which parse and acknowledge each message as the
browser does, but draw nothing: Kafka append -> message received. A machine cannot run a hundred browsers beside what is measured.

Each tick is one transaction of all coins; `ingest_ts` is taken before its first record, so that producer and commit are included.
Both clocks are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

from bench.latency import WATCH
from tests.support.browser import launch_chromium
from tests.support.measure import load, machine, pss_mb, spread
from tests.support.page_client import PageClient
from tests.support.page_stack import BASE_PRICES, TICK_MS, Stack, walk

_COIN = "bitcoin"
_SETTLE_S = 4.0
_OPENED_TOGETHER = 4


@dataclass
class Visitors:
    """Visitors without a browser, on a loop of their own in a thread."""

    url: str
    clients: list[PageClient] = field(default_factory=list)
    received_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening: list[asyncio.Task[None]] = []

    def grow(self, count: int) -> None:
        """Open visits until there are `count`."""
        asyncio.run_coroutine_threadsafe(self._grow(count), self._loop).result(600)

    def leave(self) -> None:
        """Close all visits."""
        for client in self.clients:
            self._loop.call_soon_threadsafe(client.close)

    async def _grow(self, count: int) -> None:
        while len(self.clients) < count:
            new = [PageClient(self.url, self._note) for _ in range(min(_OPENED_TOGETHER, count - len(self.clients)))]
            await asyncio.gather(*(client.open() for client in new))
            self._listening += [asyncio.create_task(client.listen()) for client in new]
            self.clients += new

    def _note(self, message: Mapping[str, Any]) -> None:
        quote = message["parts"].get("quote")
        if isinstance(quote, str) and (at := quote.find('data-ingest-ts="')) >= 0:
            stamp = quote[at + 16 : quote.index('"', at + 16)]
            self.received_ms.append(time.time() * 1000 - int(stamp))


def measure(stack: Stack, page: Page, visitors: Visitors, ticks: int) -> dict[str, float]:
    """Figures over a number of ticks, at the present number of sessions."""
    process = psutil.Process(int(stack.dashboard.process.pid or 0))
    time.sleep(_SETTLE_S)
    page.evaluate("window.seen = []")
    visitors.received_ms.clear()
    started, before, sent = time.monotonic(), process.cpu_times(), sum(client.messages for client in visitors.clients)
    for number in range(ticks):
        tick = time.time_ns() // 1_000_000 // TICK_MS * TICK_MS
        stack.publisher.tick([walk(asset, tick, 1)[0] for asset in BASE_PRICES])
        time.sleep(max(0.0, started + (number + 1) * TICK_MS / 1000 - time.monotonic()))
    time.sleep(_SETTLE_S)
    after, took = process.cpu_times(), time.monotonic() - started
    pixels, received = spread(page.evaluate("window.seen")), spread(visitors.received_ms)
    return {
        "sessions": len(visitors.clients) + 1,
        "pixel_ticks": pixels.count, "pixel_p50_ms": round(pixels.p50), "pixel_p95_ms": round(pixels.p95), "pixel_max_ms": round(pixels.most),
        "received": received.count, "received_p50_ms": round(received.p50), "received_p95_ms": round(received.p95),
        "received_max_ms": round(received.most),
        "messages_a_second": round((sum(client.messages for client in visitors.clients) - sent) / took, 1),
        "process_cores": round((after.user + after.system - before.user - before.system) / took, 3), "process_pss_mb": round(pss_mb(process), 1),
    }  # fmt: skip


def main() -> int:
    """Print the figures of each number of sessions, as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--ticks", type=int, default=40)
    arguments = parser.parse_args()
    print(f"{machine()}; load before {load()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cryptoviz-bench-") as home, sync_playwright() as playwright:
        stack = Stack(Path(home))
        stack.start()
        try:
            process = psutil.Process(int(stack.dashboard.process.pid or 0))
            time.sleep(_SETTLE_S)
            print(json.dumps({"sessions": 0, "process_pss_mb": round(pss_mb(process), 1)}), flush=True)
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{stack.url}/?coin={_COIN}&tf=1m")
            stack.publisher.tick([walk(asset, time.time_ns() // 1_000_000 // TICK_MS * TICK_MS, 1)[0] for asset in BASE_PRICES])
            page.locator(".cv-latest-ingest").first.wait_for(state="attached", timeout=60_000)
            page.evaluate(WATCH)
            visitors = Visitors(f"{stack.url}/?coin={_COIN}&tf=1m")
            for count in sorted(arguments.sessions):
                visitors.grow(count - 1)
                print(json.dumps(measure(stack, page, visitors, arguments.ticks)), flush=True)
            visitors.leave()
            browser.close()
        finally:
            stack.stop()
    print(f"load after {load()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
