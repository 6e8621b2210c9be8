"""The page of a whole demo in a real browser: changes of the market and actions of the operator."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener, shown_text, until_shown
from tests.support.pipeline import Demo
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.integration]

PRICE = '.cv-price[data-asset="bitcoin"]'
SOURCE = '.cv-coin-table .cv-row:has-text("Bitcoin") .cv-source-cell'


def test_prices_move_without_reload_errors_or_requests_to_others(demo: Demo, open_page: Opener) -> None:
    seen = open_page(f"{demo.page}?coin=bitcoin&tf=1m")
    page = seen.page
    navigations = seen.navigations
    stamps = page.locator(".cv-latest-ingest")
    first = (stamps.get_attribute("data-tick-ts"), page.locator(PRICE).first.text_content())
    eventually(lambda: (stamps.get_attribute("data-tick-ts"), page.locator(PRICE).first.text_content())[0] != first[0])
    eventually(lambda: page.locator(PRICE).first.text_content() != first[1])
    assert page.get_by_text("REPLAYED DATA").first.is_visible()
    assert seen.navigations == navigations
    assert seen.errors == []
    assert seen.left_machine == []


def test_failing_primary_is_shown_as_fallback_and_its_return_too(demo: Demo, open_page: Opener) -> None:
    page = open_page(demo.page).page
    with demo.fault(provider="coingecko", kind="http_status", parameters={"status": 500}):
        # A page that lags shows the first errors only after they have opened the breaker.
        reasons = {"fallback: unavailable", "fallback: breaker_open"}
        eventually(lambda: any(reason in shown_text(page, f"{SOURCE} .cv-fallback") for reason in reasons), 120)
        until_shown(page, f"{SOURCE} .cv-source", "CoinMarketCap")
    eventually(lambda: page.locator(f"{SOURCE} .cv-fallback").count() == 0, 120)
    until_shown(page, f"{SOURCE} .cv-source", "CoinGecko")


def test_scraper_and_lake_stop_and_start_from_the_page(demo: Demo, open_page: Opener) -> None:
    page = open_page(f"{demo.page}?view=pipeline", wait_for='.cv-component-state[data-component="lake"]').page
    for name in ("scraper/coingecko", "lake"):
        state = f'.cv-component-state[data-component="{name}"]'
        until_shown(page, state, "RUNNING")
        page.get_by_role("button", name=f"Stop {name}", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, state, "STOPPED")
        assert demo.states()[name] == "STOPPED"
        page.get_by_role("button", name=f"Start {name}", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, state, "RUNNING")
