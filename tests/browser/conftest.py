"""Chromium, and pages that record console, requests and, on failure, a screenshot."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from cryptoviz.clock import SystemClock
from dashboard.app_context import AppContext
from tests.support.browser import launch_chromium
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, Stack, walk
from tests.support.waiting import TIMEOUT_S, eventually

LOOPBACK = frozenset({"127.0.0.1", "localhost"})
DEADLINE_MS = 120_000  # a busy machine takes half a minute for the first page
TICKS_A_TEST = 5
CALL_FAILED = pytest.StashKey[bool]()


@dataclass
class Evidence:
    """Console messages, errors and requests of a page."""

    page: Page
    errors: list[str] = field(default_factory=list)
    left_machine: list[str] = field(default_factory=list)
    navigations: int = 0
    """Documents loaded. A deep link written into the address is none."""

    def watch(self) -> None:
        """Begin to record."""
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("load", lambda _page: self._loaded())
        self.page.on("request", lambda request: self._note(request.url))

    def _loaded(self) -> None:
        self.navigations += 1

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOOPBACK:
            self.left_machine.append(url)


Opener = Callable[..., Evidence]


@pytest.fixture
def app_context(tmp_path: Path) -> Iterator[AppContext]:
    """An AppContext whose feeds are not started; the test acts as the feed."""
    with new_app_context(tmp_path) as made:
        yield made


@pytest.fixture
def served(app_context: AppContext) -> Iterator[str]:
    """The address of the application in this process."""
    with serving(app_context) as url:
        yield url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Not session-scoped: Playwright's loop runs in this thread until it ends, and asynchronous tests need their own loop."""
    with sync_playwright() as playwright:
        running = launch_chromium(playwright)
        yield running
        running.close()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Engines, control service and page, shared by all browser tests."""
    running = Stack(tmp_path_factory.mktemp("browser"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="package")
def ticks() -> Iterator[int]:
    """Times for ticks, from now on, with room for a test to publish further ticks: the page ignores ticks older than its newest."""

    def each() -> Iterator[int]:
        now = SystemClock().now_ms()
        yield from itertools.count(now - now % TICK_MS, TICK_MS * TICKS_A_TEST)

    return each()


@pytest.fixture
def now_tick(ticks: Iterator[int]) -> int:
    """A tick newer than those of all earlier tests, UTC epoch ms."""
    return next(ticks)


@pytest.fixture
def market(stack: Stack, now_tick: int) -> Stack:
    """The stack with current ticks of all coins at their base prices, from the primary provider."""
    stack.publisher.tick([walk(asset, now_tick, 1)[0] for asset in BASE_PRICES])
    return stack


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens pages in separate contexts; on failure each saves a screenshot and its console in `tmp_path`."""
    opened: list[Evidence] = []

    def open_one(
        url: str,
        width: int = 1440,
        height: int = 900,
        scheme: Literal["dark", "light"] = "light",
        wait_for: str = ".cv-price",
        timezone: str | None = None,
    ) -> Evidence:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, timezone_id=timezone)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        evidence = Evidence(page)
        evidence.watch()
        opened.append(evidence)
        page.goto(url)
        try:
            page.locator(wait_for).first.wait_for(state="visible")
        except PlaywrightTimeoutError as error:
            raise AssertionError(f"{wait_for} did not show on {url}; the console said {evidence.errors}") from error
        return evidence

    yield open_one
    failed = request.node.stash.get(CALL_FAILED, False)
    for number, evidence in enumerate(opened):
        if failed and not evidence.page.is_closed():
            evidence.page.screenshot(path=tmp_path / f"page-{number}.png")
            (tmp_path / f"console-{number}.txt").write_text("\n".join(evidence.errors), encoding="utf-8")
        evidence.page.context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make the test's outcome available to fixtures."""
    report = yield
    if report.when == "call":
        item.stash[CALL_FAILED] = report.failed
    return report


def shown_text(page: Page, selector: str) -> str:
    """Text of the first matching element, shadow roots included; empty if there is none."""
    return str(page.locator(selector).evaluate_all("found => found.length ? found[0].textContent : ''"))  # in one step: it may go away


def until_shown(page: Page, selector: str, words: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until the first element of the selector contains `words`."""

    def said() -> bool:
        text = shown_text(page, selector)
        assert words in text, f"{selector} says {text!r}, not {words!r}"
        return True

    eventually(said, timeout_s)
