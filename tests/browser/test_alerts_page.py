"""The Alerts page in Chromium: a rule is added, fires, gives a notice on the page that is shown, and is muted and removed."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener, until_shown
from tests.support.page_stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


def test_a_rule_of_the_page_fires_and_can_be_muted_and_removed(market: Stack, open_page: Opener) -> None:
    """The state of a component that runs holds at once; firings by ticks: tests/unit/dashboard/feeds/test_alert_feed.py."""
    seen = open_page(f"{market.url}/?view=alerts", wait_for=".cv-alert-form")
    page = seen.page
    form = page.locator(".cv-alert-form form")
    form.locator("input[name=threshold]").fill("much")
    form.locator(".cv-alert-save").click()
    until_shown(page, "body", "above is 'much': valid is a price above 0")
    form.locator("select[name=kind]").select_option("component")
    form.locator("select[name=state]").wait_for(state="visible")
    form.locator("select[name=subject]").select_option("lake")
    form.locator("select[name=state]").select_option("RUNNING")
    form.locator("input[name=note]").fill("<b>from the page</b>")
    form.locator(".cv-alert-save").click()
    page.locator("#cv-tab-market").click()
    until_shown(page, "body", "Alert: lake RUNNING · lake · component RUNNING (<b>from the page</b>)")
    page.locator("#cv-tab-alerts").click()
    until_shown(page, ".cv-alerts-table", "<b>from the page</b>")
    until_shown(page, ".cv-alert-state", "active")
    eventually(lambda: page.locator("tr.cv-firing").count() == 1)
    page.get_by_role("button", name="Mute: lake").click()
    until_shown(page, ".cv-alerts-table", "muted")
    page.get_by_role("button", name="Remove: lake").click()
    page.locator(".cv-confirm button").click()
    until_shown(page, "[data-part='alerts.rules']", "No alerts yet")
    assert seen.errors == []
