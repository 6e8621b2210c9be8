"""Displayed ages are correct after delays and sleep; a page that lags gets the newest state and no backlog."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page

from cryptoviz.clock import SystemClock
from dashboard.app_context import AppContext
from dashboard.delivery import Delivery
from tests.browser.conftest import DEADLINE_MS, Opener, until_shown
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, record, walk
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

PILL = ".cv-global-age"
AGES = """selector => [...document.querySelectorAll("*")].length && (root => {
  const found = []
  const walk = node => {
    for (const each of node.querySelectorAll("*")) {
      if (each.matches(selector) && each.dataset.tick) found.push([Number(each.dataset.tick), each.textContent, Date.now()])
      if (each.shadowRoot) walk(each.shadowRoot)
    }
  }
  walk(root)
  return found
})(document)"""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def tick(app_context: AppContext, tick_ts: int, count: int = 1) -> None:
    """This number of ticks of all coins, the last at `tick_ts`; each wakes the pages."""
    for at in range(tick_ts - (count - 1) * TICK_MS, tick_ts + 1, TICK_MS):
        app_context.live.apply([walk(asset, at, 1)[0] for asset in BASE_PRICES])


def seconds(text: str) -> int:
    return sum(int(part[:-1]) * UNITS[part[-1]] for part in text.replace("·", " ").split() if part[:-1].isdecimal())


def assert_true_ages(page: Page, selector: str = "cv-age", *, ahead_ms: int = 0) -> bool:
    ages = page.evaluate(AGES, selector)
    assert ages
    for tick_ts, text, now_ms in ages:
        # Updated every half second and rounded down: off by at most a second and a half.
        assert abs((now_ms + ahead_ms - tick_ts) / 1000 - 0.75 - seconds(text)) <= 1.5, (tick_ts, text, now_ms)
    return True


def renderers(known: set[int]) -> list[psutil.Process]:
    """Chromium's renderer processes (children of this process), without those in `known`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline() and process.pid not in known:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("asleep_s", [pytest.param(0, id="as-long-as-200-ticks"), pytest.param(60, id="a-minute", marks=pytest.mark.long)])
def test_a_page_that_slept_says_the_true_age_and_has_no_backlog(
    app_context: AppContext, browser: Browser, open_page: Opener, monkeypatch: pytest.MonkeyPatch, asleep_s: int
) -> None:
    marks: list[int] = []
    write = Delivery.mark

    def counted(self: Delivery) -> str:
        marks.append(1)
        return write(self)

    monkeypatch.setattr(Delivery, "mark", counted)
    now = SystemClock().now_ms()
    tick(app_context, now - 600_000)
    known = {process.pid for process in renderers(set())}
    with serving(app_context) as url:
        page = open_page(url).page
        until_shown(page, PILL, "stale")
        eventually(lambda: assert_true_ages(page))  # a busy machine's page may be late with its half seconds
        asleep = renderers(known)
        assert asleep
        for process in asleep:
            process.send_signal(signal.SIGSTOP)
        try:
            before = len(marks)
            tick(app_context, now - 100_000, count=200)
            # The page gets at most one unacknowledged message, for any number of ticks. Health shows that the server keeps running.
            eventually(lambda: app_context.live.version >= 200)
            time.sleep(asleep_s)
            other = browser.new_context()
            assert other.request.get(f"{url}healthz").ok
            other.close()
            assert len(marks) - before <= 1
        finally:
            for process in asleep:
                process.send_signal(signal.SIGCONT)
        eventually(lambda: assert_true_ages(page, PILL))
        eventually(lambda: page.evaluate(AGES, PILL)[0][0] == now - 100_000)
        eventually(lambda: assert_true_ages(page))
        assert len(marks) - before <= 5


def test_a_browser_whose_clock_is_off_shows_the_servers_ages(app_context: AppContext, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("const real = Date.now; Date.now = () => real() + 3600000")
    with serving(app_context) as url:
        tick(app_context, SystemClock().now_ms() - 30_000)
        page.goto(url)
        page.locator(".cv-price").first.wait_for(state="visible", timeout=DEADLINE_MS)

        def corrected() -> bool:
            tick(app_context, SystemClock().now_ms() - 20_000)
            return assert_true_ages(page, ahead_ms=-3_600_000)

        eventually(corrected, every_s=1.0)
        context.close()


def test_late_and_stale_are_said_by_row_and_for_all(tmp_path: Path, open_page: Opener) -> None:
    """With a tick of a minute: late from two minutes, stale from five."""
    with new_app_context(tmp_path, collect={"tick_s": 60}) as app_context, serving(app_context) as url:
        now = SystemClock().now_ms()
        app_context.live.apply([record("bitcoin", now - 200_000, 97_000.0), record("ethereum", now - 310_000, 3_000.0)])
        page = open_page(f"{url}?coin=bitcoin").page
        age = '.cv-row[data-id="{}"] .cv-age'
        for place, kind, words in ((PILL, "late", "late"), (age.format("bitcoin"), "late", "3m"), (age.format("ethereum"), "stale", "m")):
            until_shown(page, f"{place}.cv-age-{kind}", words)
        app_context.live.apply([record("bitcoin", now, 97_001.0)])
        for place in (PILL, age.format("bitcoin")):
            until_shown(page, f"{place}.cv-age-live", "s")
        assert page.locator(f"{age.format('ethereum')}.cv-age-stale").is_visible()


@pytest.mark.parametrize(
    ("age_ms", "kind", "said"),
    [
        (0, "live", "0s"), (3_000, "live", "3s"), (4_100, "late", "4s"), (9_000, "late", "9s"), (10_100, "stale", "10s"),
        (200_100, "stale", "3m 20s"),
        (18_720_100, "stale", "5h 12m"), (183_600_100, "stale", "2d 3h"), (-5_000, "live", "0s"), (None, "no-data", "no data"),
    ],
)  # fmt: skip
def test_two_ticks_are_live_and_five_are_late(aged: Any, age_ms: int | None, kind: str, said: str) -> None:
    assert aged(age_ms) == [kind, said]


@pytest.fixture(scope="module")
def aged(browser: Browser) -> Iterator[Any]:
    """Class and text of an age, computed by the page's script with a fixed clock."""
    script = (Path(__file__).parents[2] / "dashboard" / "web" / "age.js").read_text(encoding="utf-8")
    page = browser.new_page()
    page.evaluate("() => { const now = Date.now(); Date.now = () => now }")
    page.add_script_tag(content=script)
    yield lambda age_ms: page.evaluate(
        """age => {
          const shown = document.createElement("cv-age")
          if (age !== null) shown.dataset.tick = Date.now() - age
          Object.assign(shown.dataset, {live: 4000, late: 10000})
          document.body.append(shown)
          return [[...shown.classList].map(one => one.replace("cv-age-", "")).join(), shown.textContent]
        }""",
        age_ms,
    )
    page.close()
