"""The pipeline view: states over gRPC, actions after a confirmation, and messages for lost connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptoviz.client import ControlClient
from cryptoviz.components import ComponentState, DesiredState
from tests.browser.conftest import Opener, until_shown
from tests.support.page_stack import TICK_MS, DashboardProcess, Stack, browser_settings, record
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


def state_of(name: str) -> str:
    return f'.cv-component-state[data-component="{name}"]'


def test_stop_and_start_of_a_component_go_over_grpc(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?view=pipeline", wait_for=state_of("lake"))
    page = seen.page
    until_shown(page, state_of("lake"), "RUNNING")

    page.get_by_role("button", name="Stop lake", exact=True).click()
    page.get_by_text("Stop lake?").wait_for()
    page.locator(".cv-cancel button").click()
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        assert control.get("lake").desired is DesiredState.RUNNING, "cancelled, yet stopped"

        page.get_by_role("button", name="Stop lake", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, state_of("lake"), "STOPPED")
        assert control.get("lake").state is ComponentState.STOPPED
        eventually(lambda: page.get_by_role("button", name="Stop lake", exact=True).is_disabled())

        page.get_by_role("button", name="Start lake", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, state_of("lake"), "RUNNING")
        assert control.get("lake").desired is DesiredState.RUNNING
    assert seen.errors == []


def test_metrics_of_a_probe_are_shown_with_their_units(market: Stack, open_page: Opener) -> None:
    market.set_metrics("lake", rows_total=303_450, batch_ms=281, lag_records=17)
    page = open_page(f"{market.url}/?view=pipeline", wait_for=state_of("lake")).page
    row = '.cv-pipeline-table tr:has-text("lake") .cv-metrics'
    eventually(lambda: "303,450" in " ".join(page.locator(row).all_text_contents()))
    words = " ".join(page.locator(row).all_text_contents())
    assert "281 ms" in words
    assert "lag 17" in words


def test_the_views_change_places_without_reload(market: Stack, open_page: Opener, now_tick: int) -> None:
    seen = open_page(market.url)
    page = seen.page
    before = seen.navigations
    for turn in range(1, 4):
        page.get_by_role("tab", name="Pipeline").click()
        page.locator(state_of("lake")).wait_for(state="visible")
        assert not page.locator(".cv-coin-table").is_visible()
        eventually(lambda: page.evaluate("location.search").endswith("&view=pipeline"))
        market.publisher.tick([record("bitcoin", now_tick + turn * TICK_MS, 90_000.0 + turn)])
        page.get_by_role("tab", name="Market").click()
        page.locator(".cv-price").first.wait_for(state="visible")
        until_shown(page, '.cv-price[data-asset="bitcoin"]', f"90,00{turn}.00")
        assert not page.locator(state_of("lake")).is_visible()
    assert seen.navigations == before
    assert seen.errors == []


def test_the_theme_can_be_turned_by_hand(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?coin=solana")
    page = seen.page
    page.get_by_label("Toggle theme").click()
    page.locator("html[data-theme=dark]").first.wait_for()
    page.get_by_role("tab", name="Pipeline").click()
    page.locator(state_of("lake")).wait_for(state="visible")
    page.get_by_label("Toggle theme").click()
    page.locator("html[data-theme=light]").first.wait_for()
    page.get_by_role("tab", name="Market").click()
    page.locator(".cv-price").first.wait_for(state="visible")
    assert seen.errors == []


def test_consoles_are_linked(market: Stack, open_page: Opener) -> None:
    page = open_page(f"{market.url}/?view=pipeline", wait_for=state_of("lake")).page
    settings = market.settings

    def links() -> list[str]:
        return [str(link.get_attribute("href")) for link in page.locator(".cv-consoles a").all()]

    eventually(
        lambda: links() == [f"http://127.0.0.1:{port}" for port in (settings.ray.dashboard_port, settings.lake.ui_port, settings.s3.console_port)]
    )


def test_a_page_without_anything_behind_it_says_what_is_lost(tmp_path: Path, open_page: Opener) -> None:
    settings = browser_settings(tmp_path)
    alone = DashboardProcess(settings)
    alone.start()
    try:
        page = open_page(alone.url, wait_for=".cv-banner").page
        until_shown(page, ".cv-control-lost", "Control service lost")
        until_shown(page, ".cv-feed-lost", "Live data lost")
        until_shown(page, ".cv-global-age", "no data")
        until_shown(page, ".cv-coins .cv-state", "Waiting for the first prices")
        until_shown(page, ".cv-history .cv-state-error", "Cannot read the lake")
        assert settings.s3.secret_key.get_secret_value() not in alone.log()
    finally:
        alone.stop()
