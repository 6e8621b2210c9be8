"""The page's server ends and comes back: the page says so, keeps its values, and follows the new server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import Opener, until_shown
from tests.support.page_stack import TICK_MS, DashboardProcess, Stack, record
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


@pytest.fixture
def process(stack: Stack) -> Iterator[DashboardProcess]:
    """A server of its own on the stack's engines, which the test ends: a process, so that its sockets are closed by the system."""
    port = free_port()
    made = DashboardProcess(stack.settings.model_copy(update={"dashboard": stack.settings.dashboard.model_copy(update={"port": port})}))
    made.start()
    yield made
    made.stop()


def test_a_lost_server_is_said_and_the_page_comes_back_with_it(market: Stack, process: DashboardProcess, open_page: Opener, now_tick: int) -> None:
    seen = open_page(f"{process.url}/?coin=ethereum&tf=5m&view=coin", wait_for=".cv-chart-place canvas")
    page = seen.page
    lost, price = page.locator(".cv-server-lost"), page.locator(".cv-quote-price")
    assert lost.is_hidden()
    shown = price.text_content()
    process.stop()
    lost.wait_for(state="visible")
    assert price.text_content() == shown, "the last values stay"
    assert seen.navigations == 1
    process.start()
    eventually(lambda: lost.is_hidden() and seen.navigations >= 2, 120)
    until_shown(page, ".cv-quote-name", "Ethereum")
    assert page.evaluate("[document.body.dataset.view, new URLSearchParams(location.search).get('tf')]") == ["coin", "5m"]
    market.publisher.tick([record("ethereum", now_tick + TICK_MS, 4_321.5)])
    until_shown(page, ".cv-quote-price", "4,321.50")
