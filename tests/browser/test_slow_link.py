"""A browser behind a slow link: a loading state, then prices; no backlog, no old price shown as live, and in the end the feed's values."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page

from cryptoviz.clock import SystemClock
from dashboard.app_context import AppContext
from dashboard.delivery import Acknowledgements
from tests.browser.conftest import DEADLINE_MS, Evidence
from tests.support.page_stack import BASE_PRICES, TICK_MS, record
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

LATENCY_MS = 400
SLOW, CRAWLING = 50_000, 500
"""Bytes a second. A state message of all coins has about 12 000."""
BURST = 200

# What the coins' card showed in the frames that were drawn, and ages that were said to be live but were not: in two looks half a second apart, since
# the page counts ages twice a second.
LOOK = """(() => {
  Object.assign(window, {states: [], lies: []})
  const note = (list, value) => { if (value && value !== list.at(-1)) list.push(value) }
  const look = () => {
    const card = document.querySelector(".cv-coins")
    const loading = card && [...card.querySelectorAll(".cv-state-loading")].some(each => each.checkVisibility())
    if (card) note(states, card.querySelector(".cv-price") ? "prices" : loading ? "loading" : "nothing")
    requestAnimationFrame(look)
  }
  look()
  let old = new Set()
  setInterval(() => {
    const live = [...document.querySelectorAll("cv-age.cv-age-live")]
    const now = new Set(live.filter(each => cvClock.now() - Number(each.dataset.tick) > Number(each.dataset.live) + 1000))
    for (const each of now) if (old.has(each)) lies.push(`${each.className} ${each.textContent} ${cvClock.now() - Number(each.dataset.tick)}`)
    old = now
  }, 500)
})()"""
SHOWN = """() => Object.fromEntries([...document.querySelectorAll(".cv-price")].map(({dataset}) =>
  [dataset.asset, [Number(dataset.price), Number(dataset.tick)]]))"""


class Feed:
    """Ticks of all coins, each with another price."""

    def __init__(self, app_context: AppContext) -> None:
        self._live = app_context.live
        self._tick = self._count = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")

    def start(self) -> None:
        """Tick every two seconds from now on."""
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def tick(self, tick_ts: int) -> None:
        self._tick, self._count = tick_ts, self._count + 1
        self._live.apply([record(asset, tick_ts, base + self._count) for asset, base in BASE_PRICES.items()])

    def burst(self) -> None:
        """Ticks of the next milliseconds, as fast as can be."""
        for number in range(1, BURST + 1):
            self.tick(self._tick + number)

    def newest(self) -> dict[str, list[float]]:
        """Price and tick of each coin."""
        return {asset: [base + self._count, self._tick] for asset, base in BASE_PRICES.items()}

    def _run(self) -> None:
        while not self._end.is_set():
            self.tick(SystemClock().now_ms() // TICK_MS * TICK_MS)
            self._end.wait(TICK_MS / 1000)


@pytest.fixture
def feed(app_context: AppContext) -> Iterator[Feed]:
    made = Feed(app_context)
    yield made
    made.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Not opened yet: the link is slow from its first byte."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    made = context.new_page()
    made.set_default_timeout(DEADLINE_MS)
    made.add_init_script(LOOK)
    yield made
    context.close()


def slow_down(session: CDPSession, bytes_a_second: int) -> None:
    both = {"downloadThroughput": bytes_a_second, "uploadThroughput": bytes_a_second}
    session.send("Network.emulateNetworkConditions", {"offline": False, "latency": LATENCY_MS, **both})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each state message whether the one before was not acknowledged yet: what would queue."""
    found: list[bool] = []
    send = Acknowledgements.send

    def noted(self: Acknowledgements, *times: Any) -> str:
        found.append(self.outstanding)
        return send(self, *times)

    monkeypatch.setattr(Acknowledgements, "send", noted)
    return found


def test_a_slow_link_shows_what_it_has_with_its_age_and_catches_up(feed: Feed, served: str, page: Page, sent: list[bool]) -> None:
    evidence = Evidence(page)
    evidence.watch()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    slow_down(session, SLOW)
    age = page.locator(".cv-global-age")

    def is_said(kind: str) -> bool:
        return f"cv-age-{kind}" in str(age.get_attribute("class"))

    # The first prices come with the HTML. They are old before the libraries have come and the channel is open.
    feed.start()
    page.goto(served, wait_until="commit")
    page.locator(".cv-price").first.wait_for()
    assert page.evaluate("states") == ["loading", "prices"]
    eventually(lambda: is_said("late") or is_said("stale"))
    eventually(lambda: sent and is_said("live"), 120)

    # Behind by many seconds, the page says so, whatever the server has; then it has the newest values at once.
    slow_down(session, CRAWLING)
    eventually(lambda: is_said("stale"), 120)
    behind = page.evaluate(SHOWN)
    assert all(tick < feed.newest()[asset][1] for asset, (_, tick) in behind.items())
    slow_down(session, SLOW)
    eventually(lambda: is_said("live"), 120)

    # Nothing queues: of many ticks the page gets few messages, each after it has shown the one before.
    feed.stop()
    before = len(sent)
    feed.burst()
    newest = feed.newest()
    eventually(lambda: page.evaluate(SHOWN) == newest, 120)
    assert 0 < len(sent) - before < BURST / 4
    assert not any(sent)
    assert page.evaluate("states") == ["loading", "prices"]
    assert page.evaluate("lies") == []
    assert evidence.errors == []
    assert evidence.navigations == 1
