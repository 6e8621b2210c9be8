"""Long names and messages break between words, at 1440 and 390 pixels, and widen no page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.operations import OperationState, OperationStatus, VerifyArguments
from cryptoviz.provider_status import BreakerState, BreakerStatus, HoldStatus, ProviderStatus, QuotaStatus, ScraperStatus
from dashboard.app_context import AppContext
from tests.browser.conftest import Opener
from tests.support.clock import now_ms
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

NAMES = ("scraper/coinmarketcap-professional-europe/12", "stream/my_company_internal_price_feed", "lake", "maintenance")
BROKER = "kafka-broker-0.kafka-headless.crypto-production.svc.cluster.local:9092"
MESSAGE = f"KafkaUnavailable: {BROKER}/bootstrap does not answer (connection refused after 30.5 s): /var/lib/cryptoviz/run/lake_job/spark-driver.log"
HASH = "0123456789abcdef" * 8
"""Has no place to break."""
BROKEN = """place => {
  const broken = []
  const walker = document.createTreeWalker(document.querySelector(place), NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const node = walker.currentNode
    for (const found of node.data.matchAll(/[\\p{L}\\p{N}]{1,20}(?![\\p{L}\\p{N}])/gu)) {
      const range = document.createRange()
      range.setStart(node, found.index)
      range.setEnd(node, found.index + found[0].length)
      const tops = new Set([...range.getClientRects()].filter(one => one.width > 0).map(one => Math.round(one.top)))
      const before = node.data[found.index - 1] ?? ""
      if (tops.size > 1 && !/[\\p{L}\\p{N}]/u.test(before)) broken.push(found[0])
    }
  }
  return broken
}"""
"""Words of at most 20 letters of which a part is on another line."""
WIDER = """place => [...document.querySelectorAll(`${place}, ${place} .cv-card`), document.documentElement]
  .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => `${one.className} ${one.scrollWidth} > ${one.clientWidth}`)"""
"""What is cut or scrolls sideways."""


def component(name: str, message: str) -> ComponentStatus:
    metrics = {"lag_records@crypto-streaming-production-prices": 17.0, "dead_letters_total": 3.0}
    needs = ("kafka", "object-store", "scraper/coinmarketcap-professional")
    return ComponentStatus(
        name, ComponentKind.SCRAPER, DesiredState.RUNNING, ComponentState.DEGRADED, Trigger.PROBE, message, now_ms() - 5_000, 3, metrics, needs,
        nodes=("worker-node-17.europe-west1.internal.example.org",),
    )  # fmt: skip


@pytest.fixture
def long_names(app_context: AppContext) -> AppContext:
    """A pipeline, providers and an operation with long names and messages."""
    components = tuple(component(name, f"{MESSAGE} {HASH if number == 1 else ''}") for number, name in enumerate(NAMES))
    app_context.control.set_status(PipelineStatus(ComponentState.DEGRADED, f"not RUNNING: {', '.join(NAMES)}", components))
    quota = QuotaStatus("month", 10_000, 2_500, 7_500, now_ms() + 86_400_000, None)
    hold = HoldStatus("too_many_requests/daily-limit-of-the-account", now_ms())
    breaker = BreakerStatus(BreakerState.OPEN, f"5 failed polls: {MESSAGE}")
    scraper = ScraperStatus(breaker, (quota,), hold, 0.25, 182.0, now_ms() - 9_000, f"{MESSAGE} {HASH}", now_ms() - 5_000)
    rows = [
        ProviderStatus("coinmarketcap-professional-europe", 1, True, ComponentState.DEGRADED, "", scraper),
        ProviderStatus("my_company_internal_price_feed", 2, True, ComponentState.FAILED, MESSAGE),
    ]
    done = OperationStatus(id="0123456789abcdef", arguments=VerifyArguments(), state=OperationState.FAILED, message=MESSAGE, created_ms=now_ms())
    app_context.inspection.__dict__["providers"] = SimpleNamespace(look=lambda: (rows, None))
    app_context.inspection.__dict__["operations"] = SimpleNamespace(look=lambda: ([done], None))
    return app_context


@pytest.mark.parametrize(("width", "language"), [(1440, "en"), (390, "en"), (390, "fr")])
@pytest.mark.parametrize(("view", "table"), [("pipeline", ".cv-pipeline-table"), ("providers", ".cv-providers-table")])
def test_words_are_not_broken_and_no_page_is_wider(
    long_names: AppContext, served: str, open_page: Opener, view: str, table: str, width: int, language: str
) -> None:
    page = open_page(f"{served}?view={view}&lang={language}", width=width, wait_for=table).page
    eventually(lambda: page.locator(f"{table} tbody tr").count() >= 2)
    if view == "pipeline":
        page.locator(".cv-operations-table tbody tr").wait_for()
    assert page.evaluate(BROKEN, f"#cv-page-{view}") == []
    assert page.evaluate(WIDER, "main") == []
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert not [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
