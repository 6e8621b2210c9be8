"""The market view in a real browser: live prices from Kafka, history from the lake, hostile texts, phone and desktop."""

from __future__ import annotations

import csv
import http.client
import io
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cryptoviz.clock import SystemClock
from cryptoviz.records import UnifiedRecord
from cryptoviz.times import utc
from dashboard.app_context import AppContext
from tests.browser.conftest import Opener, shown_text, until_shown
from tests.support.dashboard_server import NoHistory
from tests.support.page_stack import BASE_PRICES, TICK_MS, Stack, record, walk
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser


def price_of(asset: str) -> str:
    return f'.cv-price[data-asset="{asset}"]'


def test_a_new_price_appears_without_reload_and_flashes(market: Stack, open_page: Opener, now_tick: int) -> None:
    seen = open_page(f"{market.url}/?coin=bitcoin&tf=1m")
    page = seen.page
    until_shown(page, price_of("bitcoin"), "97,123.45")
    before = seen.navigations
    rows = page.locator(".cv-coin-table .cv-row").count()

    market.publisher.tick([record("bitcoin", now_tick + TICK_MS, 98_765.43), record("ethereum", now_tick + TICK_MS, 3_333.33)])

    until_shown(page, price_of("bitcoin"), "$98,765.43")
    until_shown(page, price_of("ethereum"), "$3,333.33")
    until_shown(page, ".cv-quote-price", "$98,765.43")
    stamps = page.locator(".cv-latest-ingest")
    eventually(lambda: stamps.get_attribute("data-tick-ts") == str(now_tick + TICK_MS))
    assert stamps.get_attribute("data-price") == "98765.43"
    assert rows == len(BASE_PRICES)
    assert seen.navigations == before
    assert seen.errors == []
    assert seen.left_machine == []


def test_an_aborted_transaction_is_never_shown(market: Stack, open_page: Opener, now_tick: int) -> None:
    page = open_page(market.url).page
    market.publisher.tick([record("bitcoin", now_tick + TICK_MS, 11.11)], commit=False)
    market.publisher.tick([record("bitcoin", now_tick + 2 * TICK_MS, 97_000.01)])
    until_shown(page, price_of("bitcoin"), "97,000.01")
    eventually(lambda: page.locator(".cv-latest-ingest").get_attribute("data-tick-ts") == str(now_tick + 2 * TICK_MS))


def test_fallback_shows_provider_and_reason_and_goes_away(market: Stack, open_page: Opener, now_tick: int) -> None:
    page = open_page(market.url).page
    market.publisher.tick(
        [record("bitcoin", now_tick + TICK_MS, 97_200.0, provider="coinmarketcap", role="fallback", fallback_reason="rate_limited")]
    )
    row = '.cv-coin-table .cv-row:has-text("Bitcoin") .cv-source-cell'
    until_shown(page, f"{row} .cv-fallback", "fallback: rate_limited")
    until_shown(page, f"{row} .cv-source", "CoinMarketCap")
    until_shown(page, ".cv-quote .cv-fallback", "rate_limited")
    market.publisher.tick([record("bitcoin", now_tick + 2 * TICK_MS, 97_300.0)])
    until_shown(page, f"{row} .cv-source", "CoinGecko")
    eventually(lambda: page.locator(f"{row} .cv-fallback").count() == 0)


def test_markup_in_names_and_reasons_is_text(market: Stack, open_page: Opener, now_tick: int) -> None:
    seen = open_page(market.url)
    page = seen.page
    evil = "<script>window.pwned=1</script><img src=x onerror='window.pwned=2'>"
    market.publisher.tick(
        [record("bitcoin", now_tick + TICK_MS, 97_200.0, name=evil, symbol="<b>X</b>", provider=evil, role="fallback", fallback_reason=evil)]
    )
    until_shown(page, ".cv-coin-table .cv-row .cv-name >> nth=0", "<script>")
    until_shown(page, ".cv-quote-name", "<script>")
    assert page.evaluate("window.pwned") is None
    assert page.locator(".cv-coin-table img").count() == 0
    market.publisher.tick([record("bitcoin", now_tick + 2 * TICK_MS, 97_200.0)])
    assert seen.errors == []


def test_garbage_on_the_topic_stops_nothing(market: Stack, open_page: Opener, now_tick: int) -> None:
    page = open_page(market.url).page
    market.publisher.garbage([b"", b"not json", b"[]", b'{"asset_id": 1}', b"\xff\xfe", record("bitcoin", now_tick, -1.0).to_json()], now_tick)
    market.publisher.tick([record("bitcoin", now_tick + TICK_MS, 97_777.77)])
    until_shown(page, price_of("bitcoin"), "97,777.77")


def test_a_click_chooses_the_coin_and_the_address_remembers(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?coin=bitcoin&tf=5m")
    page = seen.page
    until_shown(page, ".cv-quote-name", "Bitcoin")
    page.locator('.cv-coin-table .cv-row:has-text("Solana")').first.click()
    until_shown(page, ".cv-quote-name", "Solana")
    eventually(lambda: page.evaluate("location.search") == "?coin=solana&tf=5m")
    page.locator(".cv-intervals").get_by_text("1h", exact=True).click()
    eventually(lambda: page.evaluate("location.search") == "?coin=solana&tf=1h")
    until_shown(page, ".cv-statistics .cv-note", "solana")
    assert seen.errors == []


def test_search_leaves_the_coins_that_match(market: Stack, open_page: Opener) -> None:
    page = open_page(market.url).page
    page.locator(".cv-search input").fill("chain")
    eventually(lambda: page.locator(".cv-coin-table .cv-row").count() == 2)  # Chainlink and VeChain
    page.locator(".cv-search input").fill("no such coin")
    until_shown(page, ".cv-coins .cv-state-empty", "No matching coins")


def test_sorting_by_price_puts_numbers_in_order(market: Stack, open_page: Opener, now_tick: int) -> None:
    page = open_page(market.url).page
    expected = sorted(walk(asset, now_tick, 1)[0].price for asset in BASE_PRICES)
    page.locator('.cv-coin-table [role="columnheader"][data-field="price"] button').click()

    def sorted_up() -> bool:
        prices = [float(str(one.get_attribute("data-price"))) for one in page.locator(".cv-coin-table .cv-price").all()]
        assert prices == expected
        return True

    eventually(sorted_up)


def test_history_and_statistics_come_from_the_lake(market: Stack, open_page: Opener, now_tick: int) -> None:
    rows = [record("litecoin", now_tick - i * TICK_MS, price) for i, price in enumerate((94.0, 90.0, 95.0, 92.0))]
    rows[1] = record("litecoin", rows[1].tick_ts, 90.0, provider="coinmarketcap", role="fallback", fallback_reason="timeout")
    market.fill_lake(rows)
    seen = open_page(f"{market.url}/?coin=litecoin")
    page = seen.page
    until_shown(page, ".cv-history-table tbody tr >> nth=0", "$94.0000")
    until_shown(page, ".cv-stat-count", "4")
    until_shown(page, ".cv-stat-fallback", "1")
    until_shown(page, ".cv-stat-minimum", "$90.0000")
    until_shown(page, ".cv-stat-maximum", "$95.0000")
    until_shown(page, ".cv-stat-mean", "$92.7500")
    until_shown(page, ".cv-stat-change", "+2.17%")
    until_shown(page, ".cv-stat-sources", "coingecko 75.0%, coinmarketcap 25.0%")
    assert "timeout" in shown_text(page, ".cv-history-table tbody")
    with page.expect_download() as download:
        page.locator(".cv-download-csv").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.count("\n") == 1 + len(rows)
    assert "fallback_reason" in text.splitlines()[0]
    assert seen.errors == []


def test_history_is_paged_and_its_files_hold_all_rows(market: Stack, open_page: Opener, now_tick: int, tmp_path: Path) -> None:
    rows = [record("stellar", now_tick - (20 - number) * TICK_MS, 1 + number / 16, name="=1+1") for number in range(20)]
    market.fill_lake(rows)
    page = open_page(f"{market.url}/?coin=stellar").page
    table = page.locator(".cv-history-table")

    def shows(number: str, expected: list[UnifiedRecord]) -> None:
        until_shown(page, ".cv-pager .cv-note", number, 20)
        cells = [[str(cell) for cell in row.locator("td").all_text_contents()[:2]] for row in table.locator("tbody tr").all()]
        assert cells == [[utc(one.tick_ts).strftime("%d/%m/%Y, %H:%M:%S"), f"${one.price:.4f}"] for one in expected]

    newest = rows[::-1]
    shows("1 / 3", newest[:8])
    assert [button.is_disabled() for button in table.get_by_role("button").all()] == [True, True, False, False]
    page.get_by_role("button", name="Next page").click()
    shows("2 / 3", newest[8:16])
    page.get_by_role("button", name="Last page").click()
    shows("3 / 3", newest[16:])
    assert [button.is_disabled() for button in table.get_by_role("button").all()] == [False, False, True, True]
    page.get_by_role("button", name="First page").click()
    shows("1 / 3", newest[:8])

    files = {}
    for kind in ("csv", "parquet"):
        with page.expect_download() as download:
            page.locator(f".cv-download-{kind}").click()
        assert download.value.suggested_filename == f"stellar-1h.{kind}"
        files[kind] = tmp_path / kind
        download.value.save_as(files[kind])
    read = csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8")))
    assert [(row["name"], float(row["price"])) for row in read] == [("'=1+1", one.price) for one in rows]  # no formula of a spreadsheet
    assert pq.read_table(files["parquet"], columns=["name", "price"]).to_pylist() == [{"name": "=1+1", "price": one.price} for one in rows]


def test_candles_are_drawn_and_the_demo_is_marked(market: Stack, open_page: Opener, now_tick: int) -> None:
    for one in walk("cardano", now_tick - 300_000, 150):
        market.publisher.tick([one])
    page = open_page(f"{market.url}/?coin=cardano&tf=1m").page
    eventually(lambda: page.locator(".cv-chart canvas").count() >= 2)
    until_shown(page, ".cv-chart .cv-note", "candles of 1m")
    until_shown(page, ".cv-replayed", "REPLAYED DATA")
    assert "replay market" in str(page.locator(".cv-replayed").get_attribute("title"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
def test_no_sideways_scroll_and_the_theme_of_the_system(market: Stack, open_page: Opener, width: int, height: int, scheme: str) -> None:
    seen = open_page(market.url, width, height, scheme)
    page = seen.page
    page.locator(f"html[data-theme={scheme}]").first.wait_for()
    eventually(lambda: page.locator(".cv-chart canvas").count() >= 2)
    widths = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]")
    assert max(widths) == width
    inner = page.locator("main").evaluate("element => [element.scrollWidth, element.clientWidth]")
    assert inner[0] <= inner[1]
    assert page.locator(f'.cv-coin-table .cv-row:has-text("Bitcoin") {price_of("bitcoin")}').is_visible()
    assert seen.errors == []


def test_a_foreign_page_may_not_open_the_websocket(market: Stack) -> None:
    # Refused for the origin only: the same upgrade from our own origin passes this check.
    assert upgrade(market, "http://evil.example") == 403
    assert upgrade(market, market.url) != 403


def upgrade(stack: Stack, origin: str) -> int:
    """Status of a WebSocket upgrade requested by a page of that origin."""
    headers = {
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "bokeh, none",
    }
    connection = http.client.HTTPConnection("127.0.0.1", stack.settings.dashboard.port, timeout=60)
    try:
        connection.request("GET", "/ws", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_sparkline_is_where_its_prices_are(app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tenth of a pixel of what all digits of the closes and of the newest price would draw, and a twentieth of rounding."""
    closes = [97_000.0 + 500 * math.sin(hour / 9) + hour * 1.23456789 for hour in range(168)]
    monkeypatch.setattr(NoHistory, "closes", lambda *_: {"bitcoin": {"USD": closes}, "ethereum": {"USD": [7.0] * 160}})
    newest = closes[0] + 1e-6
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    app_context.live.apply([record("bitcoin", tick, newest), record("ethereum", tick, 7.0)])
    page = open_page(served).page
    line = page.locator('.cv-row[data-id="bitcoin"] .cv-spark:not(.cv-spark-part)')
    line.wait_for()
    drawn = [tuple(map(float, pair.split(","))) for pair in str(line.locator("polyline").get_attribute("points")).split()]
    prices = [*closes, newest]
    low, high = min(prices), max(prices)
    expected = [(2 + at * 108 / 168, 24 - (price - low) / (high - low) * 22) for at, price in enumerate(prices)]
    assert len(drawn) == 169
    assert max(abs(x - wanted) for (x, _), (wanted, _) in zip(drawn, expected, strict=True)) <= 0.051
    assert max(abs(y - wanted) for (_, y), (_, wanted) in zip(drawn, expected, strict=True)) <= 0.1
    assert "cv-up" in str(line.get_attribute("class")), "a millionth more than the first close"
    flat = page.locator('.cv-row[data-id="ethereum"] .cv-spark polyline')
    assert {pair.split(",")[1] for pair in str(flat.get_attribute("points")).split()} == {"24.0"}
