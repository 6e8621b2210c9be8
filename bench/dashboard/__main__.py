"""`make bench-dashboard`: the page in Chromium on loopback."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, BrowserContext, CDPSession, sync_playwright

from tests.support.browser import launch_chromium

_PRICE = ".cv-price"
_BUILDS = 30
# The moment of the first painted price, in ms since navigation: looked for in each frame, in all shadow roots.
_WATCH = """(() => {
  const seek = node => {
    const found = node.querySelector?.(".cv-price")
    if (found && found.textContent && found.getBoundingClientRect().height) return true
    for (const each of node.querySelectorAll?.("*") ?? []) if (each.shadowRoot && seek(each.shadowRoot)) return true
    return false
  }
  const look = () => { if (seek(document)) requestAnimationFrame(() => { window.firstPrice = performance.now() }); else requestAnimationFrame(look) }
  requestAnimationFrame(look)
})()"""


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """The page's address and the process that serves it."""
    child = subprocess.Popen([sys.executable, "-m", "bench.dashboard.served", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip(), psutil.Process(child.pid)
    finally:
        child.kill()
        child.wait()


def build_ms(url: str, process: psutil.Process) -> float:
    """Processor time of the server for a page, ms: the mean over requests without a browser, less that of the ticks."""

    def used() -> float:
        times = process.cpu_times()
        return (times.user + times.system) * 1000

    urllib.request.urlopen(url).read()
    started, before = time.monotonic(), used()
    time.sleep(4)
    idle = (used() - before) / (time.monotonic() - started)
    started, before = time.monotonic(), used()
    for _ in range(_BUILDS):
        urllib.request.urlopen(url).read()
    return (used() - before - idle * (time.monotonic() - started)) / _BUILDS


class Visits:
    """Visits in one browser context, whose cache is kept between them."""

    def __init__(self, context: BrowserContext) -> None:
        self.page = context.new_page()
        self.page.add_init_script(_WATCH)
        self._devtools: CDPSession = context.new_cdp_session(self.page)
        self._devtools.send("Network.enable")
        self.bytes: dict[str, float] = {}
        self._urls: dict[str, str] = {}
        self._devtools.on("Network.responseReceived", lambda event: self._urls.update({event["requestId"]: event["response"]["url"]}))
        self._devtools.on("Network.loadingFinished", self._finished)

    def _finished(self, event: dict[str, Any]) -> None:
        path = urlsplit(self._urls.get(event["requestId"], "?")).path
        self.bytes[path] = self.bytes.get(path, 0) + event["encodedDataLength"]

    def visit(self, url: str, *, empty_cache: bool = False) -> tuple[float, dict[str, float]]:
        """Ms from navigation to the first price, and bytes by path."""
        if empty_cache:
            self._devtools.send("Network.clearBrowserCache")
        self.bytes = {}
        self.page.goto(url)
        self.page.wait_for_function("window.firstPrice !== undefined", timeout=60_000)
        first = float(self.page.evaluate("window.firstPrice"))
        self.page.wait_for_timeout(1500)  # what follows the first price counts as bytes too
        return first, dict(self.bytes)


_OLDER = """() => new Promise((done, failed) => {
  const drawn = () => window.cv.drawnChart().count
  const [before, began] = [drawn(), performance.now()]
  const look = () => drawn() > before + 10 ? done([drawn(), performance.now() - began])
    : performance.now() - began > 30000 ? failed(`still ${before} candles`) : requestAnimationFrame(look)
  window.cv.send("coin", "older")
  look()
})"""


def month_of_minutes(browser: Browser) -> list[tuple[int, float]]:
    """Candles on screen and ms from the request to the frame that has them, for each step back: the last is the whole month."""
    with served("--lake") as (url, _):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}?view=coin&coin=bitcoin&tf=1m")
        page.wait_for_function("window.cv.drawnChart && window.cv.drawnChart().candles.length > 400", timeout=60_000)
        steps = [page.evaluate(_OLDER) for _ in range(3)]
        page.close()
        return [(int(count), float(ms)) for count, ms in steps]


def p95(values: list[float]) -> float:
    """The 95th percentile; of 20 values the second largest."""
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def main() -> int:
    """Print the figures, as text and as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with served() as (url, process), sync_playwright() as playwright:
        build = build_ms(url, process)
        browser = launch_chromium(playwright)
        visits = Visits(browser.new_context(viewport={"width": 1440, "height": 900}))
        visits.visit(url)
        sizes: dict[str, float] = {}
        cold = []
        for _ in range(runs):
            first, sizes = visits.visit(url, empty_cache=True)
            cold.append(first)
        warm_sizes: dict[str, float] = {}
        warm = []
        for _ in range(runs):
            first, warm_sizes = visits.visit(url)
            warm.append(first)
        steps = month_of_minutes(browser)
        browser.close()
    for path, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1000:>9.1f} kB  {path}")
    figures = {
        "first_price_empty_cache_p95_ms": round(p95(cold)), "first_price_empty_cache_median_ms": round(statistics.median(cold)),
        "first_price_warm_p95_ms": round(p95(warm)), "first_price_warm_median_ms": round(statistics.median(warm)),
        "wire_empty_cache_kb": round(sum(sizes.values()) / 1000), "wire_warm_kb": round(sum(warm_sizes.values()) / 1000),
        "session_build_ms": round(build, 1), "runs": runs,
        "candles_ms": {count: round(ms) for count, ms in steps},
    }  # fmt: skip
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
