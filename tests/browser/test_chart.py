"""The chart draws the lake's numbers, gaps as gaps, marks and quote currencies apart; and the table holds a thousand coins."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from playwright.sync_api import Page

from cryptoviz.clock import SystemClock
from cryptoviz.records import UnifiedRecord
from dashboard.app_context import AppContext
from dashboard.views.overlay import Overlay
from tests.browser.conftest import Opener, shown_text, until_shown
from tests.support.dashboard_server import NoHistory
from tests.support.page_stack import BASE_PRICES, TICK_MS, Stack, record, walk
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

MINUTE_MS = 60_000
LOGARITHMIC, PERCENT = 1, 2
"""Modes of the price scale, as lightweight-charts numbers them."""


def coin(number: int, tick_ts: int, price: float) -> UnifiedRecord:
    """One of a thousand coins."""
    return replace(record("bitcoin", tick_ts, price), asset_id=f"coin-{number:04}", name=f"Coin {number:04}", symbol=f"C{number}", rank=100 + number)


def drawn(page: Page) -> dict[str, Any]:
    """What the chart's series hold."""
    return dict(page.evaluate("window.cv.drawnChart ? window.cv.drawnChart() : {candles: [], volume: [], marks: []}"))


def candles_of(page: Page) -> dict[int, tuple[float, ...]]:
    return {one["time"] * 1000: tuple(one[name] for name in ("open", "high", "low", "close")) for one in drawn(page)["candles"] if "open" in one}


def test_candles_of_the_lake_have_the_lakes_numbers_and_a_gap_stays_empty(market: Stack, open_page: Opener, now_tick: int) -> None:
    start = (now_tick - 40 * MINUTE_MS) // MINUTE_MS * MINUTE_MS
    prices = {0: (10.0, 12.0, 9.0, 11.0), 1: (11.0, 11.5, 10.5, 10.75), 5: (20.0, 21.0, 19.0, 20.5)}
    rows = [record("filecoin", start + minute * MINUTE_MS + i * TICK_MS, price) for minute, four in prices.items() for i, price in enumerate(four)]
    rows[1] = record("filecoin", rows[1].tick_ts, rows[1].price, provider="coinmarketcap", role="fallback", fallback_reason="timeout")
    rows[4] = record("filecoin", rows[4].tick_ts, rows[4].price, disagrees=True)
    market.fill_lake(rows)
    page = open_page(f"{market.url}/?coin=filecoin&tf=1m&view=coin", wait_for=".cv-chart-place canvas").page

    def from_the_lake() -> bool:
        found = candles_of(page)
        assert {minute: found.get(start + minute * MINUTE_MS) for minute in prices} == {
            minute: (four[0], max(four), min(four), four[-1]) for minute, four in prices.items()
        }
        assert not {start + minute * MINUTE_MS for minute in (2, 3, 4)} & found.keys()
        return True

    eventually(from_the_lake)

    def marked() -> bool:
        found = {(one["time"] * 1000 - start, one["shape"]) for one in drawn(page)["marks"]}
        assert found >= {(0, "circle"), (MINUTE_MS, "square")}, found
        return True

    eventually(marked)


def test_the_last_candle_grows_in_place_and_a_currency_is_chosen(app_context: AppContext, served: str, open_page: Opener) -> None:
    minute = SystemClock().now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
    app_context.live.apply([record("bitcoin", minute + i * TICK_MS, 100.0 + i) for i in range(3)])
    seen = open_page(f"{served}?coin=bitcoin&tf=1m&view=coin", wait_for=".cv-chart-place canvas")
    page = seen.page
    eventually(lambda: candles_of(page).get(minute) == (100.0, 102.0, 100.0, 102.0))
    page.evaluate("window.sameCanvas = document.querySelector('.cv-chart-place canvas')")
    app_context.live.apply([record("bitcoin", minute + 3 * TICK_MS, 90.0)])
    eventually(lambda: candles_of(page).get(minute) == (100.0, 102.0, 90.0, 90.0))
    assert page.evaluate("window.sameCanvas.isConnected")
    until_shown(page, ".cv-legend", "Low $90.0000")

    app_context.live.apply([record("bitcoin", minute + 4 * TICK_MS, 80.0, quote_currency="EUR")])
    eventually(lambda: page.locator(".cv-currency").is_visible())
    assert candles_of(page)[minute] == (100.0, 102.0, 90.0, 90.0), "another currency changes no candle of this one"
    page.locator(".cv-currency").select_option("EUR")
    eventually(lambda: candles_of(page).get(minute) == (80.0, 80.0, 80.0, 80.0))
    assert seen.errors == []


@pytest.mark.parametrize(
    ("timezone", "language", "interval", "said"),
    [
        ("Asia/Tokyo", "en", "1h", "Times are local (Asia/Tokyo)."),
        ("Asia/Tokyo", "en", "1d", "Times are local (Asia/Tokyo). Each candle is a day by UTC, shown at the local time at which it begins."),
        ("Australia/Eucla", "en", "5m", "Times are local (Australia/Eucla)."),  # 8:45 ahead of UTC
        ("Australia/Eucla", "en", "1h", "Times are local (Australia/Eucla). Candles begin at full hours by UTC."),
        ("Australia/Eucla", "fr", "1h", "Heures locales (Australia/Eucla). Les chandeliers commencent aux heures pleines de l'UTC."),
        ("UTC", "en", "1d", "Times are local (UTC)."),
    ],
)
def test_the_caption_names_the_clock_of_the_axis(
    app_context: AppContext, served: str, open_page: Opener, timezone: str, language: str, interval: str, said: str
) -> None:
    day = 86_400_000
    start = SystemClock().now_ms() // day * day
    app_context.live.apply([record("bitcoin", start, 100.0)])
    url = f"{served}?coin=bitcoin&tf={interval}&view=coin&lang={language}"
    page = open_page(url, wait_for=".cv-chart-place canvas", timezone=timezone).page
    utc = "Times are UTC." if language == "en" else "Heures UTC."
    eventually(lambda: shown_text(page, ".cv-caption cv-zone") == utc)
    page.locator('[data-do="clock"]').click()
    eventually(lambda: shown_text(page, ".cv-caption cv-zone") == said)
    begins = {"Asia/Tokyo": "09:00", "Australia/Eucla": "08:45", "UTC": "00:00"}[timezone]
    until_shown(page, ".cv-legend", begins)  # of the candle that begins at midnight by UTC, or of the newest
    page.reload()
    eventually(lambda: shown_text(page, ".cv-caption cv-zone") == said)
    assert "UTC" not in shown_text(page, ".cv-caption").replace(said, "")
    page.locator('[data-do="clock"]').click()
    eventually(lambda: shown_text(page, ".cv-caption cv-zone") == utc)


def test_averages_comparison_scales_and_overlay_have_the_values(
    app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = SystemClock().now_ms() // MINUTE_MS * MINUTE_MS - 70 * MINUTE_MS
    closes = [100.0 + (number * number) % 37 for number in range(60)]
    others = [2_000.0 + number for number in range(60)]
    providers = {"CoinGecko": [(minute, 100.5)], "Kraken": [(minute, 99.5)]}
    overlay = Overlay([(minute, 100.0, 200.0), (minute + MINUTE_MS, 101.0, None)], providers, ("Binance",), minute + MINUTE_MS)
    monkeypatch.setattr(NoHistory, "overlay", lambda *_: {"USD": overlay})
    app_context.live.apply([record("bitcoin", minute + number * MINUTE_MS, close) for number, close in enumerate(closes)])
    app_context.live.apply([record("ethereum", minute + number * MINUTE_MS, close) for number, close in enumerate(others)])
    seen = open_page(f"{served}?coin=bitcoin&tf=1m&view=coin", wait_for=".cv-chart-place canvas")
    page = seen.page
    eventually(lambda: len(candles_of(page)) == 61)  # and the older one of `new_app_context`
    page.locator('[data-chart="averages"]').click()

    def averaged() -> bool:
        for count, points in zip((20, 50), drawn(page)["averages"], strict=True):
            expected = {(minute + end * MINUTE_MS) // 1000: fmean(closes[end + 1 - count : end + 1]) for end in range(count - 1, len(closes))}
            assert {point["time"]: point["value"] for point in points if point["time"] in expected} == pytest.approx(expected)
        return True

    eventually(averaged)
    # The last tick of a candle and the first of the next reach the browser together.
    app_context.live.apply([record("bitcoin", minute + 59 * MINUTE_MS + TICK_MS, 150.0), record("bitcoin", minute + 60 * MINUTE_MS, 160.0)])
    closes = [*closes[:-1], 150.0, 160.0]
    eventually(averaged)

    page.locator('[data-chart="log"]').click()
    eventually(lambda: drawn(page)["mode"] == LOGARITHMIC)
    page.locator(".cv-compare").focus()
    page.locator(".cv-compare").select_option("ethereum")
    expected = [{"time": (minute + number * MINUTE_MS) // 1000, "value": close} for number, close in enumerate(others)]
    eventually(lambda: (drawn(page).get("other") or [])[1:] == expected)
    eventually(lambda: drawn(page)["mode"] == PERCENT)
    page.locator(".cv-compare").select_option("")
    eventually(lambda: drawn(page)["mode"] == LOGARITHMIC)

    page.locator('[data-chart="consensus"]').click()
    at = minute // 1000

    def overlaid() -> bool:
        lines = [[(point["time"] - at, round(point["value"], 9)) for point in line] for line in drawn(page)["overlay"]]
        assert lines == [[(0, 100.0), (60, 101.0)], [(0, 99.0), (60, 101.0)], [(0, 101.0), (60, 101.0)], [(0, 100.5)], [(0, 99.5)]]
        return True

    eventually(overlaid)
    until_shown(page, ".cv-overlay-legend", "No recorded price: Binance")
    until_shown(page, ".cv-overlay-legend", "Providers since")
    assert page.locator(".cv-provider-key").all_text_contents() == ["CoinGecko", "Kraken"]
    assert seen.errors == []


def test_the_wheel_zooms_a_drag_pans_and_now_returns(app_context: AppContext, served: str, open_page: Opener) -> None:
    """Ranges are in candles, counted from the first; the chart shows the newest 90, and leaves room for four."""
    minute = SystemClock().now_ms() // MINUTE_MS * MINUTE_MS
    starts = [minute - (299 - number) * MINUTE_MS for number in range(300)]
    # In another currency than the older tick of `new_app_context`, which would be the first candle.
    app_context.live.apply([record("bitcoin", start, 100.0 + start / MINUTE_MS % 7, quote_currency="EUR") for start in starts])
    page = open_page(f"{served}?coin=bitcoin&tf=1m&view=coin", wait_for=".cv-chart-place canvas").page
    eventually(lambda: len(candles_of(page)) == 300)

    def visible() -> list[float]:
        found = drawn(page)["range"]
        return [found["from"], found["to"]]

    def settled() -> Any:
        """Place and range of the chart, once they are the same before and after some frames: a slow page may still add text above the chart."""
        seen = []

        def same() -> bool:
            seen.append((page.locator(".cv-chart-place").bounding_box(), visible()))
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 200))))")
            return len(seen) > 1 and seen[-1] == seen[-2]

        eventually(same)
        return seen[-1][0]

    def shows(expected: list[float], off: float) -> bool:
        assert visible() == pytest.approx(expected, abs=off)
        return True

    def place(start: int) -> float:
        """Pixels from the left."""
        return float(page.evaluate("start => cv.drawnChart().x[start]", start))

    def drag(pixels: float) -> None:
        page.mouse.move(middle, height)
        page.mouse.down()
        page.mouse.move(middle + pixels, height, steps=50)
        page.mouse.up()
        settled()

    eventually(lambda: shows([209, 303], 0.01))
    box = settled()
    middle, height = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    below = min(starts, key=lambda start: abs(place(start) - box["width"] / 2))
    kept = place(below)
    page.mouse.move(box["x"] + kept, height)
    page.mouse.wheel(0, -100)
    eventually(lambda: visible()[1] - visible()[0] == pytest.approx(95 / 1.1 - 1, abs=0.1))  # 95 candles; each is a tenth wider
    assert place(below) == pytest.approx(kept, abs=1), "what is under the pointer stays there"
    page.mouse.wheel(0, 100)
    eventually(lambda: visible()[1] - visible()[0] == pytest.approx(95 / 1.1 / 0.9 - 1, abs=0.1))

    before, width = visible(), (place(starts[-1]) - place(starts[-51])) / 50
    drag(150)
    eventually(lambda: shows([edge - 150 / width for edge in before], 1))
    before = visible()
    app_context.live.apply([record("bitcoin", minute + MINUTE_MS, 105.0, quote_currency="EUR")])
    eventually(lambda: minute + MINUTE_MS in candles_of(page))
    settled()
    shows(before, 0.01)  # a new candle does not take away what is looked at

    page.locator(".cv-now").click()
    eventually(lambda: shows([210, 304], 0.01))
    drag(150)
    eventually(lambda: visible()[1] < 299)
    page.keyboard.press("n")
    eventually(lambda: shows([210, 304], 0.01))


def test_a_thousand_coins_are_few_elements_and_all_within_reach(app_context: AppContext, served: str, open_page: Opener) -> None:
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    app_context.live.apply([coin(i, tick, 1.0 + i) for i in range(1000)])
    seen = open_page(served)
    page = seen.page
    until_shown(page, ".cv-coin-count", str(1000 + len(BASE_PRICES)))
    assert page.locator(".cv-row").count() < 80
    page.locator(".cv-coin-table").evaluate("element => { element.scrollTop = element.scrollHeight }")
    eventually(lambda: page.locator('.cv-price[data-asset="coin-0999"]').is_visible())
    assert page.locator(".cv-row").count() < 80
    app_context.live.apply([coin(999, tick + TICK_MS, 5_000.5)])
    until_shown(page, '.cv-price[data-asset="coin-0999"]', "$5,000.50")
    page.keyboard.press("/")
    page.keyboard.type("coin 0123")
    eventually(lambda: page.locator(".cv-row").count() == 1)
    until_shown(page, ".cv-coin-count", "1 of")
    page.keyboard.press("Enter")
    eventually(lambda: "coin=coin-0123" in page.evaluate("location.search"))
    assert seen.errors == []


def test_watched_coins_and_columns_are_kept_in_the_browser(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(served).page
    page.locator('.cv-row[data-id="solana"] .cv-star').click()
    page.locator(".cv-columns summary").click()
    page.locator(".cv-column-list").get_by_text("Market cap").click()
    page.reload()
    page.locator(".cv-price").first.wait_for()
    eventually(lambda: page.locator('[data-field="market_cap"]').count() == 0)
    page.locator(".cv-watched").click()
    eventually(lambda: page.locator(".cv-row").count() == 1)
    assert page.locator(".cv-row .cv-name").text_content() == "Solana"


def test_filters_movers_and_heat_map_follow_the_changes(app_context: AppContext, served: str, open_page: Opener) -> None:
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    changes = {"bitcoin": 4.0, "ethereum": -6.0, "solana": 9.0}
    app_context.live.apply([record(asset, tick, BASE_PRICES[asset], change_24h_pct=change) for asset, change in changes.items()])
    page = open_page(served).page
    page.locator(".cv-filter").select_option("rising")
    eventually(lambda: sorted(page.locator(".cv-row").evaluate_all("rows => rows.map(row => row.dataset.id)")) == ["bitcoin", "solana"])
    eventually(lambda: page.locator(".cv-mover").first.get_attribute("data-coin") == "solana")
    page.locator(".cv-filter").select_option("all")
    page.get_by_role("button", name="Heat map", exact=True).click()
    eventually(lambda: page.locator(".cv-tile").count() == len(BASE_PRICES))
    sizes = page.locator(".cv-tile").evaluate_all("tiles => Object.fromEntries(tiles.map(t => [t.dataset.coin, t.offsetWidth * t.offsetHeight]))")
    assert sizes["bitcoin"] == max(sizes.values())
    page.locator('.cv-tile[data-coin="solana"]').click()
    until_shown(page, ".cv-quote-name", "Solana")


def test_the_first_prices_need_no_library(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(served).page
    for wanted in ("**/libraries.*.js", "**/healthz"):
        page.route(wanted, lambda route: route.abort())
    page.reload()
    until_shown(page, '.cv-price[data-asset="bitcoin"]', "$97,123.45")
    assert page.evaluate("window.Bokeh") is None
    page.locator(".cv-server-lost").wait_for(state="visible")


def test_texts_and_numbers_are_french_when_asked(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(f"{served}?lang=fr").page
    assert page.locator("html").get_attribute("lang") == "fr"
    assert page.get_by_role("tab", name="Marché").is_visible()
    until_shown(page, '.cv-price[data-asset="bitcoin"]', "$97\u202f123,45")
    until_shown(page, ".cv-replayed", "DONNÉES REJOUÉES")
    page.get_by_label("Touches").click()
    page.get_by_text("Chercher une monnaie").wait_for()


def test_two_browsers_are_in_step(app_context: AppContext, served: str, open_page: Opener) -> None:
    pages = [open_page(served).page for _ in range(2)]
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    for step in range(3):
        app_context.live.apply([walk("bitcoin", tick + step * TICK_MS, 1)[0]])
    for page in pages:
        eventually(lambda page=page: page.locator(".cv-latest-ingest").get_attribute("data-tick-ts") == str(tick + 2 * TICK_MS))  # type: ignore[misc]
    eventually(lambda: len({shown_text(page, '.cv-price[data-asset="bitcoin"]') for page in pages}) == 1)


@pytest.mark.parametrize("width", [390, 1440])
def test_changes_fit_into_their_columns(app_context: AppContext, served: str, open_page: Opener, width: int) -> None:
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    wide = {"change_1h_pct": -2.34, "change_24h_pct": -57.66, "change_7d_pct": -87.65}
    app_context.live.apply([record("bitcoin", tick, 97_123.45, **wide)])
    page = open_page(served, width=width).page
    until_shown(page, '.cv-row[data-id="bitcoin"]', "57.66%")
    script = """cells => cells.filter(cell => cell.querySelector('.cv-change')).map(cell =>
      cell.querySelector('.cv-change').getBoundingClientRect().left - cell.getBoundingClientRect().left)"""
    room = page.locator('.cv-row[data-id="bitcoin"] .cv-cell').evaluate_all(script)
    assert room
    assert min(room) >= 4, "the column before it is not touched"
    if width == 1440:
        assert page.locator(".cv-head", has_text="Vol. 24h").count() == 1
