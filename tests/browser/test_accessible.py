"""axe-core finds nothing serious on any page, in either theme; and the page is usable by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from cryptoviz.clock import SystemClock
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.record import Trade
from dashboard.app_context import AppContext
from dashboard.pages.registry import PAGES
from tests.browser.conftest import Opener, until_shown
from tests.support.dashboard_server import new_app_context, serving
from tests.support.page_stack import BASE_PRICES, TICK_MS, walk
from tests.support.trades import change, trade_values
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with new_app_context(tmp_path, streams={"venues": ("binance",)}) as app_context, serving(app_context) as url:
        tick = SystemClock().now_ms() // TICK_MS * TICK_MS
        _fill(app_context, tick)
        assert app_context.trades is not None
        values = [Trade.from_json(value) for _, value in trade_values(range(1, 20))]
        app_context.trades.apply(values, [GapChange.from_json(change("g1", "open", 1)), GapChange.from_json(change("g2", "halt", 2))])
        yield url


def _fill(app_context: AppContext, tick: int) -> None:
    for asset in BASE_PRICES:
        app_context.live.apply(walk(asset, tick - 60 * TICK_MS, 60))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_no_page_has_a_serious_finding(served: str, open_page: Opener, scheme: str, width: int) -> None:
    page = open_page(served, width, 900, scheme).page
    for kind in PAGES:
        page.locator(f"#cv-tab-{kind.name}").click()
        page.locator(f"#cv-page-{kind.name}").wait_for(state="visible")
        found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert not [(kind.name, one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]


def test_coins_and_views_are_reached_by_keyboard(served: str, open_page: Opener) -> None:
    page = open_page(served).page
    page.keyboard.press("j")
    until_shown(page, ".cv-quote-name", "Ethereum")
    page.keyboard.press("3")
    eventually(lambda: page.evaluate("location.search") == "?coin=ethereum&tf=1h")
    page.keyboard.press("g")
    page.keyboard.press("2")
    eventually(lambda: page.evaluate("document.body.dataset.view") == "coin")
    page.locator("#cv-tab-coin").focus()
    page.keyboard.press("ArrowLeft")
    eventually(lambda: page.evaluate("document.body.dataset.view") == "market")
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    eventually(lambda: page.locator("dialog[open]").count() == 0)
