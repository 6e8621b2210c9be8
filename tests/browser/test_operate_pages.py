"""Pages about the pipeline in Chromium: providers, topics, lake, operations, logs. Values come from the services behind them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState, Probe, scraper_name
from cryptoviz.operations import OperationState
from cryptoviz.provider_status import BreakerState, BreakerStatus, ScraperStatus
from cryptoviz.security.tokens import Role, TokenFile
from cryptoviz.times import utc
from dashboard.app_context import AppContext
from dashboard.feeds.lake_history import LakeHistory
from tests.browser.conftest import Opener, until_shown
from tests.support.dashboard_server import serving
from tests.support.page_stack import TICK_MS, Stack, walk
from tests.support.ports import free_port
from tests.support.topics import ends_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

ROWS = 90


@pytest.fixture(scope="module")
def filled(stack: Stack) -> int:
    """Rows in the lake; the first tick, UTC epoch ms."""
    first = 1_700_000_000_000 - 1_700_000_000_000 % 2000
    stack.fill_lake(walk("bitcoin", first, ROWS))
    return first


def test_topics_show_the_brokers_offsets_and_a_record(market: Stack, open_page: Opener, now_tick: int) -> None:
    topic = market.settings.kafka.stream_topic
    seen = open_page(f"{market.url}/?view=topics", wait_for=f".cv-topic-{topic}")
    page = seen.page
    market.publisher.tick([walk("solana", now_tick + 2000, 1)[0]])
    records = sum(ends_of(market.settings, topic).values())
    eventually(lambda: page.locator(f".cv-topic-{topic} [data-value]").get_attribute("data-value") == str(records), 120)
    page.get_by_label("Key", exact=True).fill("solana")
    page.get_by_label("Records", exact=True).fill("1")
    page.get_by_role("button", name="Browse").click()
    until_shown(page, ".cv-found", "1 record shown")
    page.locator(".cv-record summary").first.click()
    shown = page.locator(".cv-record .cv-json").first
    shown.wait_for(state="visible")
    words = str(shown.text_content())
    assert '"asset_id": "solana"' in words
    assert f'"tick_ts": {now_tick + 2000}' in words
    page.locator("#cv-page-topics select[name=start]").select_option("offset")
    page.get_by_label("Offset or time").fill("-5")
    page.get_by_role("button", name="Browse").click()
    until_shown(page, ".cv-records-place", "whole number")
    assert seen.errors == []


def test_records_are_found_by_their_time(market: Stack, open_page: Opener, now_tick: int) -> None:
    ticks = [now_tick + 2000 * number for number in range(1, 4)]
    for tick in ticks:
        market.publisher.tick([walk("cosmos", tick, 1)[0]])
    page = open_page(f"{market.url}/?view=topics", wait_for=".cv-topics-table").page
    page.locator("#cv-page-topics select[name=start]").select_option("time")
    page.get_by_label("Offset or time").fill(utc(ticks[1]).strftime("%Y-%m-%dT%H:%M:%SZ"))
    page.get_by_label("Key", exact=True).fill("cosmos")
    page.get_by_role("button", name="Browse").click()
    until_shown(page, ".cv-found", "2 records shown", 60)
    found = [json.loads(str(one)) for one in page.locator(".cv-record .cv-json").all_text_contents()]
    assert [(one["asset_id"], one["tick_ts"]) for one in found] == [("cosmos", ticks[1]), ("cosmos", ticks[2])]


def test_dead_letters_and_empty_states_are_said(market: Stack, filled: int, open_page: Opener) -> None:
    page = open_page(f"{market.url}/?view=topics", wait_for=".cv-topics-table").page
    until_shown(page, "[data-part='topics.dead']", "No dead letters")


def test_sql_runs_and_its_downloads_hold_the_rows(market: Stack, filled: int, open_page: Opener, tmp_path: Path) -> None:
    seen = open_page(f"{market.url}/?view=lake", wait_for=".cv-sql-text")
    page = seen.page
    page.locator(".cv-sql-text").fill("SELECT tick_ts, price FROM prices WHERE asset_id = 'bitcoin' AND tick_ts < '2024-01-01' ORDER BY tick_ts")
    page.locator(".cv-run-sql").click()
    until_shown(page, ".cv-sql-note", f"{ROWS} rows")
    expected = [one.price for one in walk("bitcoin", filled, ROWS)]
    assert [float(str(cell)) for cell in page.locator(".cv-result tbody td:nth-child(2)").all_text_contents()] == expected
    files = {}
    for name in ("CSV", "Parquet"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        files[name] = tmp_path / name
        download.value.save_as(files[name])
    assert [float(row["price"]) for row in csv.DictReader(io.StringIO(files["CSV"].read_text()))] == expected
    assert pq.read_table(files["Parquet"])["price"].to_pylist() == expected
    page.locator(".cv-sql-text").fill("SELECT * FROM read_csv('/etc/passwd')")
    page.locator(".cv-run-sql").click()
    until_shown(page, "[data-part='lake.result'] .cv-state-error", "The query failed")
    assert "root:" not in str(page.locator("[data-part='lake.result']").text_content())
    assert seen.errors == []


def test_the_lake_shows_its_files_and_traces_a_price(market: Stack, filled: int, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?view=lake", wait_for=".cv-days")
    page = seen.page
    until_shown(page, ".cv-days", "2023-11-14")
    page.get_by_label("Coin", exact=True).last.fill("bitcoin")
    page.get_by_label("Tick", exact=True).fill(str(filled + 6000))
    page.get_by_role("button", name="Trace").click()
    until_shown(page, ".cv-provenance", "crypto-streaming:0:3")
    words = str(page.locator(".cv-provenance").text_content())
    assert str(walk("bitcoin", filled, 4)[3].price) in words
    assert "does not have the exchange" in words
    page.get_by_label("Tick", exact=True).fill(str(filled + 1))
    page.get_by_role("button", name="Trace").click()
    until_shown(page, "[data-part='lake.provenance']", "no such row")
    assert seen.errors == []


@pytest.fixture
def now_served(stack: Stack) -> Iterator[tuple[AppContext, str]]:
    """A page of its own on the stack's lake, whose ticks are of now; the test acts as the feed."""
    settings = stack.settings.model_copy(update={"dashboard": stack.settings.dashboard.model_copy(update={"port": free_port()})})
    app_context = AppContext.create(settings, lambda: ControlClient.from_settings(settings), LakeHistory(settings))
    with serving(app_context) as url:
        yield app_context, url
    app_context.stop()


def test_a_click_on_a_price_shows_where_it_comes_from_as_soon_as_the_lake_knows(
    stack: Stack, now_served: tuple[AppContext, str], open_page: Opener
) -> None:
    app_context, url = now_served
    one = walk("cosmos", SystemClock().now_ms() // TICK_MS * TICK_MS, 1)[0]
    app_context.live.apply([one])
    seen = open_page(url)
    page = seen.page
    page.locator(f'.cv-price[data-asset="cosmos"][data-tick="{one.tick_ts}"]').click()
    until_shown(page, ".cv-trace-panel", "Not in the lake yet")
    stack.fill_lake([one])
    until_shown(page, ".cv-trace-panel .cv-provenance", "crypto-streaming:0:0")
    assert str(one.price) in str(page.locator(".cv-trace-panel").text_content())
    page.keyboard.press("Escape")
    page.locator('.cv-row[data-id="cosmos"] .cv-name').click()
    until_shown(page, ".cv-quote-name", "Cosmos")
    page.locator(".cv-quote-price").click()
    until_shown(page, ".cv-trace-panel", str(one.price))
    page.get_by_role("button", name="Show the record").click()
    eventually(lambda: page.evaluate("document.body.dataset.view") == "topics")
    assert page.locator("dialog[open]").count() == 0
    assert seen.errors == []


def test_an_operation_is_started_watched_and_cancelled(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?view=pipeline", wait_for=".cv-start-operation")
    page = seen.page
    page.get_by_role("button", name="Start operation").click()
    page.locator(".cv-confirm button").click()
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        eventually(lambda: len(control.operations.list()) == 1, 120)
        one = control.operations.list()[0]
        state = f'.cv-operation-state[data-operation="{one.id}"]'
        page.locator(state).wait_for()
        if not one.over:
            page.get_by_role("button", name="Cancel verify").click()
            page.locator(".cv-confirm button").click()
        eventually(lambda: control.operations.get(one.id).over, 120)
        ended = control.operations.get(one.id)
        assert ended.state in (OperationState.CANCELLED, OperationState.SUCCEEDED, OperationState.FAILED)
        until_shown(page, state, str(ended.state))


def test_a_log_is_shown_as_text(market: Stack, open_page: Opener) -> None:
    (market.settings.log_dir / "lake.log").write_text("level=info event=one\nlevel=error event=two <b>bold</b>\n")
    page = open_page(f"{market.url}/?view=pipeline", wait_for=".cv-act-log").page
    page.get_by_role("button", name="Log of lake", exact=True).click()
    until_shown(page, ".cv-log-error", "event=two <b>bold</b>")


def test_providers_show_what_control_says(market: Stack, open_page: Opener) -> None:
    name = market.settings.collect.providers[0]
    market.control.runtime.probes[scraper_name(name)] = Probe(running=True, healthy=True)
    page = open_page(f"{market.url}/?view=providers", wait_for=".cv-providers-table").page
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        expected = {one.name: str(one.state) for one in control.providers()}
    shown = {str(cell.get_attribute("data-provider")): str(cell.text_content()) for cell in page.locator(".cv-provider-state").all()}
    assert shown.keys() == expected.keys()
    assert shown[name] in {expected[name], str(ComponentState.RUNNING)}


def test_a_breaker_is_tripped_and_reset(market: Stack, open_page: Opener) -> None:
    name = market.settings.collect.providers[0]
    scraper, runtime = scraper_name(name), market.control.runtime
    now: list[ScraperStatus] = [ScraperStatus()]

    def set_breaker(state: BreakerState, reason: str = "") -> ScraperStatus:
        now[0] = ScraperStatus(breaker=BreakerStatus(state, reason, by_operator=state is BreakerState.OPEN))
        return now[0]

    runtime.answers |= {
        (scraper, "provider_status"): lambda: now[0],
        (scraper, "trip_breaker"): lambda reason: set_breaker(BreakerState.OPEN, reason),
        (scraper, "reset_breaker"): lambda: set_breaker(BreakerState.CLOSED),
    }
    seen = open_page(f"{market.url}/?view=providers", wait_for=".cv-providers-table")
    page, breaker = seen.page, f'.cv-breaker[data-provider="{name}"]'
    try:
        until_shown(page, breaker, "closed", 20)
        page.get_by_role("button", name=f"Trip {name}", exact=True).click()
        page.get_by_text(f"Stop polling {name} until its breaker is reset?").wait_for()
        page.locator(".cv-cancel button").click()
        assert runtime.count("trip_breaker", scraper) == 0
        page.get_by_role("button", name=f"Trip {name}", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, breaker, "open", 20)
        until_shown(page, f'tr[data-key="{name}"]', "on the page, by owner")
        page.get_by_role("button", name=f"Reset {name}", exact=True).click()
        page.locator(".cv-confirm button").click()
        until_shown(page, breaker, "closed", 20)
        assert (runtime.count("trip_breaker", scraper), runtime.count("reset_breaker", scraper)) == (1, 1)
    finally:
        for method in ("provider_status", "trip_breaker", "reset_breaker"):
            del runtime.answers[scraper, method]
    assert seen.errors == []


def test_a_reader_signs_in_looks_and_changes_nothing(market: Stack, open_page: Opener) -> None:
    token = TokenFile(market.settings.home).add("looker", Role.READ, 0)
    seen = open_page(f"{market.url}/sign-in?view=pipeline", wait_for="input[name=token]")
    page = seen.page
    page.locator("input[name=token]").fill(token)
    page.get_by_role("button", name="Sign in").click()
    lake = page.get_by_role("button", name="Stop lake", exact=True)
    lake.wait_for()
    assert lake.is_disabled()
    # A visitor can send what the buttons would: the server refuses it.
    page.evaluate("cv.send('pipeline', 'stop', {name: 'lake'})")
    until_shown(page, ".cv-toast-error", "needs operate")
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        assert control.get("lake").desired == "RUNNING"
    page.get_by_role("button", name="Sign out").click()
    # On loopback the browser is a process of the owner, who needs no token.
    eventually(lambda: page.get_by_role("button", name="Stop lake", exact=True).is_enabled(), 120)
    assert page.get_by_role("button", name="Sign out").count() == 0


@pytest.mark.parametrize("view", ["pipeline", "providers", "topics", "lake"])
def test_no_page_is_wider_than_a_phone(market: Stack, open_page: Opener, view: str) -> None:
    page = open_page(f"{market.url}/?view={view}", width=390, height=844, wait_for=f"#cv-page-{view} .cv-table").page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{market.url}/?view={view}&lang=fr")  # whose words are longer
    page.locator(f"#cv-page-{view} .cv-table").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
