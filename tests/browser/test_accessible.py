"""axe-core finds nothing serious on any page, in either theme; and the page is usable by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe

from cryptoviz.clock import SystemClock
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.times import utc
from cryptoviz.trades.gap_change import GapChange
from cryptoviz.trades.record import Trade
from dashboard.app_context import AppContext
from dashboard.pages.registry import PAGES
from dashboard.views.lake_rows import LakeDay
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


@pytest.mark.parametrize(("language", "words"), [
    ("en", ["none", "below 2%", "2% to 10%", "10% to 50%", "50% or more", "before the first row, or still to come"]),
    ("fr", ["aucun", "moins de 2 %", "de 2 à 10 %", "de 10 à 50 %", "50 % ou plus", "avant la première ligne, ou à venir"]),
])  # fmt: skip
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_the_colours_of_gaps_are_those_that_the_legend_explains(
    app_context: AppContext, open_page: Opener, scheme: str, width: int, language: str, words: list[str]
) -> None:
    hour_ms = 3_600_000
    first = SystemClock().now_ms() // 86_400_000 * 86_400_000 - 86_400_000
    expected = len(app_context.settings.assets) * hour_ms // app_context.tick_ms
    shares = [0, 0.01, 0.05, 0.3, 0.9]
    gaps = []
    for hour, share in enumerate(shares[1:], 1):
        count, start = int(expected * share), first + hour * hour_ms
        gaps.append(Gap(GapScope.ASSET, "x", start, start + count - 1, 1, count, "not_running", start))
    days = [LakeDay("prices", utc(first).date(), 1, 0, 1024, 17, first)]
    app_context.inspection.__dict__.update(days=SimpleNamespace(look=lambda: (days, None)), gaps=SimpleNamespace(look=lambda: (gaps, None)))
    with serving(app_context) as url:
        page = open_page(f"{url}?view=lake&lang={language}", width, 900, scheme, wait_for=".cv-strip-key").page
        assert page.locator(".cv-strip-key li").all_text_contents() == words
        paints = (
            "found => found.map(one => { const {backgroundColor, borderTopStyle} = getComputedStyle(one); return [backgroundColor, borderTopStyle] })"
        )
        explained = page.locator(".cv-strip-key .cv-gap").evaluate_all(paints)
        assert len({str(one) for one in explained}) == len(words), "two of them look alike"
        drawn = page.locator(".cv-strip-row").last.locator("[role=cell]").evaluate_all(paints)
        assert drawn[: len(shares)] == explained[: len(shares)]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert not [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]


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
