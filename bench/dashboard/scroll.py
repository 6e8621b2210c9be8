"""Frame times of a table of many coins that is scrolled by wheel while ticks arrive (`python -m bench.dashboard.scroll`).

The page in Chromium without a graphics card, from a server process of its own, with a tick of all coins every two seconds. The wheel turns at each
60th of a second, down to the last row and up again. Frame times are the intervals of `requestAnimationFrame`, beside those of the same page at rest;
long tasks are Chromium's own, of more than 50 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

from bench.dashboard.__main__ import served
from tests.support.browser import launch_chromium
from tests.support.measure import load, machine, spread

_TURN_PX, _TURN_S = 60, 1 / 60
_RECORD = """(() => {
  Object.assign(window, {frames: [], tasks: [], most: 0})
  const place = document.querySelector(".cv-coin-table")
  let last = performance.now()
  const frame = now => {
    frames.push(now - last)
    last = now
    most = Math.max(most, place.querySelectorAll(".cv-row").length)
    requestAnimationFrame(frame)
  }
  requestAnimationFrame(frame)
  new PerformanceObserver(list => tasks.push(...list.getEntries().map(each => each.duration))).observe({type: "longtask"})
})()"""


def _figures(page: Page, began: float) -> dict[str, Any]:
    frames, tasks, most = page.evaluate("[window.frames, window.tasks, window.most]")
    page.evaluate("Object.assign(window, {frames: [], tasks: [], most: 0})")
    times = spread(frames)
    return {
        "seconds": round(time.monotonic() - began, 1), "frames": times.count,
        "frame_p50_ms": round(times.p50, 1), "frame_p95_ms": round(times.p95, 1),
        "frame_p99_ms": round(times.p99, 1), "frame_max_ms": round(times.most, 1),
        "long_tasks": len(tasks), "long_tasks_ms": round(sum(tasks)), "longest_task_ms": round(max(tasks, default=0)), "rows_in_document": most,
    }  # fmt: skip


def rest(page: Page, seconds: float) -> dict[str, Any]:
    """The same page, without the wheel."""
    began = time.monotonic()
    time.sleep(seconds)
    return _figures(page, began)


def scroll(page: Page) -> dict[str, Any]:
    """To the last row and back to the first."""
    began = time.monotonic()
    height = page.evaluate("document.querySelector('.cv-coin-table').scrollHeight")
    page.locator(".cv-coin-table").hover()
    for way in (1, -1):
        for _ in range(height // _TURN_PX):
            page.mouse.wheel(0, way * _TURN_PX)
            time.sleep(_TURN_S)
    return _figures(page, began)


def main() -> int:
    """Print the figures at rest and while scrolling, as lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{machine()}; load before {load()}", flush=True)
    with served("--coins", str(arguments.coins)) as (url, _), sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_function("window.Bokeh && document.querySelectorAll('.cv-row').length > 20", timeout=60_000)
        time.sleep(3)
        page.evaluate(_RECORD)
        for _ in range(arguments.rounds):
            print(json.dumps({"rest": rest(page, 8)}), flush=True)
            print(json.dumps({"scroll": scroll(page)}), flush=True)
        browser.close()
    print(f"load after {load()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
