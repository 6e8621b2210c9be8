"""What the browser keeps and draws itself: lists that tabs share, kept values of another kind, focus, numbers, gaps."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from cryptoviz.clock import SystemClock
from cryptoviz.errors import QueueFull
from dashboard.app_context import AppContext
from dashboard.feeds.summary import price_history
from dashboard.views.numbers import format_compact, format_count, format_percent, format_price
from dashboard.views.statistics import PriceHistory
from dashboard.views.texts import speak
from tests.browser.conftest import Opener, shown_text, until_shown
from tests.support.dashboard_server import NoHistory
from tests.support.page_stack import BASE_PRICES, TICK_MS, price_table, record
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

MINUTE_MS = 60_000
NUMBERS = [
    0.0, 0.004, -0.004, 0.005, -0.005, 0.125, 1.005, 2.675, -1.25, 12.345, 999.99996, 999.995, 1000.0, 1125.0, 1234.5, 2345.675, 97_123.455,
    999_999.5, 4.9e-13, 9.99999e-9, 1e-8, 0.0000123456, 0.01, 0.0391234, 0.47115, 1.00005, 3.841e10, 1.125e9, 1.92e12, 2.5e15,
]  # fmt: skip


def test_two_tabs_share_one_watchlist(served: str, open_page: Opener) -> None:
    one = open_page(served).page
    other = one.context.new_page()
    other.goto(served)
    other.locator(".cv-price").first.wait_for()
    one.locator('.cv-row[data-id="solana"] .cv-star').click()
    eventually(lambda: other.locator('.cv-row[data-id="solana"] .cv-star').get_attribute("aria-pressed") == "true")
    other.locator('.cv-row[data-id="bitcoin"] .cv-star').click()
    other.reload()
    other.locator(".cv-price").first.wait_for()
    other.locator(".cv-watched").click()
    eventually(lambda: sorted(other.locator(".cv-row").evaluate_all("rows => rows.map(row => row.dataset.id)")) == ["bitcoin", "solana"])


def test_kept_values_of_another_kind_are_as_if_nothing_were_kept(served: str, open_page: Opener) -> None:
    seen = open_page(served)
    kept = {"watched": 5, "hidden_columns": {"price": 1}, "sort": "price", "queries": [1], "clock": {}, "reloads": "x"}
    seen.page.evaluate("kept => { for (const [key, value] of Object.entries(kept)) localStorage.setItem(`cv.${key}`, JSON.stringify(value)) }", kept)
    seen.page.reload()
    until_shown(seen.page, '.cv-price[data-asset="bitcoin"]', "$97,123.45")
    assert seen.page.locator(".cv-row").count() == len(BASE_PRICES)
    assert seen.errors == []


def test_a_tile_keeps_the_focus_while_prices_change(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(served).page
    page.get_by_role("button", name="Heat map", exact=True).click()
    page.locator('.cv-tile[data-coin="solana"]').focus()
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    app_context.live.apply([record("solana", tick, 300.0, change_24h_pct=7.5)])
    until_shown(page, '.cv-tile[data-coin="solana"]', "7.50%")
    app_context.live.apply([record("solana", tick + TICK_MS, 9e6, change_24h_pct=8.5)])  # the largest now: the order is another
    until_shown(page, '.cv-tile[data-coin="solana"]', "8.50%")
    assert page.evaluate("document.activeElement.dataset.coin") == "solana"
    before = page.locator('.cv-tile[data-coin="solana"]').evaluate("tile => tile.offsetWidth")
    page.set_viewport_size({"width": 900, "height": 900})
    eventually(lambda: page.locator('.cv-tile[data-coin="solana"]').evaluate("tile => tile.offsetWidth") != before)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_browser_and_the_server_write_a_number_alike(served: str, open_page: Opener, language: str) -> None:
    page = open_page(f"{served}?lang={language}").page

    def written() -> list[list[str]]:
        speak(language)
        return [[format_price(one, "USD"), format_compact(one, "EUR"), format_percent(one), format_count(abs(one))] for one in NUMBERS]

    shown = page.evaluate(
        "numbers => numbers.map(one => [cv.price(one, 'USD'), cv.compact(one, 'EUR'), cv.percent(one), cv.count(Math.abs(one))])", NUMBERS
    )
    assert shown == copy_context().run(written)


def test_the_crosshair_in_a_gap_shows_no_candle(app_context: AppContext, served: str, open_page: Opener) -> None:
    minute = SystemClock().now_ms() // MINUTE_MS * MINUTE_MS
    for before in (30, 29, 4, 0):  # minutes
        app_context.live.apply([record("bitcoin", minute - before * MINUTE_MS, 100.0 + before)])
    page = open_page(f"{served}?view=coin&coin=bitcoin&tf=1m", wait_for=".cv-chart-place canvas").page
    until_shown(page, ".cv-legend", "100.00")
    box = page.locator(".cv-chart-place").bounding_box()
    assert box is not None

    def legend_at(before: float) -> str:
        """What the legend says of the place of so many minutes ago: places of missing candles are as wide as candles."""
        first, last = page.evaluate("starts => starts.map(ms => cv.drawnChart().x[ms])", [minute - 4 * MINUTE_MS, minute])
        page.mouse.move(box["x"] + last - (last - first) * before / 4, box["y"] + box["height"] / 3)
        return shown_text(page, ".cv-legend")

    eventually(lambda: "104.00" in legend_at(4))
    eventually(lambda: "no ticks" in legend_at(2))
    assert "100.00" not in legend_at(2)


def test_times_follow_the_chosen_clock(app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = 1_769_903_998_000  # 2026-01-31 23:59:58 UTC; five and a half hours later in India
    rows = price_table([record("bitcoin", newest - before * TICK_MS, 100.0) for before in range(8, -1, -1)])
    monkeypatch.setattr(NoHistory, "prices", lambda *_: price_history(rows, 100, TICK_MS))
    app_context.live.apply([record("bitcoin", newest - before * MINUTE_MS, 100.0, quote_currency="EUR") for before in range(59, -1, -1)])
    page = open_page(f"{served}?coin=bitcoin&tf=1m&view=coin", timezone="Asia/Kolkata", wait_for=".cv-quote-price").page
    page.add_init_script("""(() => {
      const write = CanvasRenderingContext2D.prototype.fillText
      window.written = []
      CanvasRenderingContext2D.prototype.fillText = function (words, ...rest) { window.written.push(words); return write.call(this, words, ...rest) }
    })()""")
    page.reload()

    def shows(mode: str, tick: str, candle: str, axis: str) -> None:
        until_shown(page, ".cv-clock-mode", mode)
        until_shown(page, ".cv-history-table cv-time", tick)
        until_shown(page, ".cv-stat-to cv-time", tick)
        until_shown(page, ".cv-legend", candle)
        eventually(lambda: axis in page.evaluate("window.written"))

    shows("UTC", "31/01/2026, 23:59:58", "31/01/2026, 23:59", "23:30")
    page.evaluate("window.written = []")
    page.locator('[data-do="clock"]').click()
    local = ("LOC", "01/02/2026, 05:29:58", "01/02/2026, 05:29", "05:00")
    shows(*local)
    page.reload()
    shows(*local)
    page.get_by_role("button", name="Next page").click()  # rows change in place
    until_shown(page, ".cv-history-table cv-time", "01/02/2026, 05:29:42")


def test_reduced_motion_stops_the_flashes(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(served).page
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS
    price = page.locator('.cv-price[data-asset="bitcoin"]')
    for number, (motion, moves) in enumerate((("reduce", "none"), ("no-preference", "cv-flash-up"))):
        page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        app_context.live.apply([record("bitcoin", tick + number * TICK_MS, 98_000.0 + number)])
        until_shown(page, '.cv-price[data-asset="bitcoin"]', f"$98,00{number}.00")
        assert "cv-flash-up" in str(price.get_attribute("class"))
        assert price.evaluate("cell => getComputedStyle(cell).animationName") == moves


def test_a_lake_that_is_slow_and_empty_is_said_and_holds_up_no_price(
    app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(NoHistory, "prices", lambda *_: (answers.wait(60), PriceHistory((), ()))[1])
    try:
        page = open_page(f"{served}?coin=bitcoin").page
        for place in (".cv-history-table", ".cv-statistics-body"):
            until_shown(page, f"{place} .cv-state-loading", "Reading the lake")
        app_context.live.apply([record("bitcoin", SystemClock().now_ms() // TICK_MS * TICK_MS, 98_765.43)])
        until_shown(page, ".cv-quote-price", "$98,765.43")
        assert page.locator(".cv-history-table .cv-state-loading").is_visible()
    finally:
        answers.set()
    for place in (".cv-history-table", ".cv-statistics-body"):
        until_shown(page, f"{place} .cv-state-empty", "No rows in the lake yet")


def test_saved_queries_are_kept_in_the_browser(served: str, open_page: Opener) -> None:
    page = open_page(f"{served}?view=lake", wait_for=".cv-sql-text").page
    sql = "SELECT '<b>' AS tag\nFROM prices"
    page.locator(".cv-sql-text").fill(sql)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_label("Name", exact=True).fill("<i>mine</i>")
    page.locator("dialog .cv-confirm button").click()
    assert page.locator(".cv-queries .cv-saved option").all_text_contents() == ["<i>mine</i>"]
    page.reload()
    page.locator(".cv-queries").select_option(label="<i>mine</i>")
    assert page.locator(".cv-sql-text").input_value() == sql
    page.locator(".cv-queries").select_option(label="Hourly candles")
    assert "FROM candles_1h" in page.locator(".cv-sql-text").input_value()


@pytest.mark.parametrize(
    ("language", "remove", "confirm"), [("en", "Remove the query {}", "Confirm"), ("fr", "Supprimer la requête {}", "Confirmer")]
)
def test_a_saved_query_is_removed_by_keyboard(served: str, open_page: Opener, language: str, remove: str, confirm: str) -> None:
    seen = open_page(f"{served}?view=lake&lang={language}", wait_for=".cv-sql-text")
    page = seen.page
    queries = {"first": "SELECT 1", "<i>second</i>": "SELECT 2", "third": "SELECT 3"}
    page.evaluate("kept => localStorage.setItem('cv.queries', JSON.stringify(kept))", queries)
    page.reload()
    page.locator(".cv-sql-text").wait_for()

    def names() -> list[str]:
        listed = page.locator(".cv-saved-query").evaluate_all("found => found.map(one => one.firstChild.textContent)")
        assert listed == page.locator(".cv-queries .cv-saved option").all_text_contents(), "the list and the choice agree"
        return [str(one) for one in listed]

    assert names() == list(queries)
    button = page.get_by_role("button", name=remove.format("<i>second</i>"), exact=True)
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").get_by_text("<i>second</i>").wait_for()
    page.keyboard.press("Escape")
    eventually(lambda: page.locator("dialog[open]").count() == 0)
    assert names() == list(queries), "removed without a confirmation"
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=confirm, exact=True).focus()
    page.keyboard.press("Enter")
    eventually(lambda: names() == ["first", "third"])
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == remove.format("third"), "the focus goes to the next one"
    page.reload()
    page.locator(".cv-sql-text").wait_for()
    eventually(lambda: names() == ["first", "third"])
    for name in ("third", "first"):
        page.get_by_role("button", name=remove.format(name), exact=True).click()
        page.get_by_role("button", name=confirm, exact=True).click()
        eventually(lambda name=name: name not in names())  # type: ignore[misc]
    assert page.locator(".cv-saved").count() == 0
    assert page.evaluate("document.activeElement.className") == "cv-queries"
    assert seen.errors == []


def test_a_query_removed_in_another_tab_is_gone_in_this_one(served: str, open_page: Opener) -> None:
    one = open_page(f"{served}?view=lake", wait_for=".cv-sql-text").page
    one.locator(".cv-sql-text").fill("SELECT 42")
    one.get_by_role("button", name="Save", exact=True).click()
    one.locator("dialog input").fill("mine")
    one.locator(".cv-confirm button").click()
    other = one.context.new_page()
    other.goto(f"{served}?view=lake")
    other.get_by_role("button", name="Remove the query mine", exact=True).click()
    other.get_by_role("button", name="Confirm", exact=True).click()
    eventually(lambda: one.locator(".cv-saved-query").count() == 0)
    assert one.locator(".cv-saved").count() == 0


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "The query has 20,001 characters: at most 20,000 are allowed."), ("fr", "La requête a 20\u202f001 caractères : 20\u202f000 au plus.")],
)
def test_a_query_that_is_too_long_is_refused_whole(
    app_context: AppContext, served: str, open_page: Opener, monkeypatch: pytest.MonkeyPatch, language: str, said: str
) -> None:
    """A comment makes it long: cut, it would be another query that runs."""
    prepared: list[str] = []

    def refuse(sql: str) -> None:
        prepared.append(sql)
        raise QueueFull("all places are taken", queue="sql", limit=0)

    monkeypatch.setattr(app_context.inspection.sql, "prepare", refuse)
    page = open_page(f"{served}?view=lake&lang={language}", wait_for=".cv-sql-text").page
    box, state = page.locator(".cv-sql-text"), "[data-part='lake.result'] .cv-state-error"
    longest = "SELECT 1 --" + "\n" * 3 + "x" * (20_000 - 14)

    def paste(text: str) -> None:
        box.fill("")
        box.focus()
        page.keyboard.insert_text(text)

    paste(longest + "y")
    page.locator(".cv-run-sql").click()
    until_shown(page, state, said)
    assert box.input_value() == longest + "y", "what was written stays, to be shortened"
    assert prepared == []
    paste(longest)
    page.locator(".cv-run-sql").click()
    until_shown(page, state, "all places are taken")
    assert prepared == [longest]


def test_a_text_that_no_page_takes_is_not_sent(app_context: AppContext, served: str, open_page: Opener) -> None:
    seen = open_page(f"{served}?view=lake", wait_for=".cv-sql-text")
    page = seen.page
    page.locator(".cv-sql-text").evaluate("box => { box.value = '€'.repeat(40_001) }")
    page.locator(".cv-run-sql").click()
    until_shown(page, ".cv-toast-error", "Not sent: 40,001 characters, at most 40,000 are allowed.")
    page.locator(".cv-sql-text").evaluate("box => { box.value = '€'.repeat(40_000) }")
    page.locator(".cv-run-sql").click()
    until_shown(page, "[data-part='lake.result'] .cv-state-error", "The query has 40,000 characters: at most 20,000 are allowed.")
    assert seen.errors == []


def test_what_cannot_be_saved_whole_is_not_saved(served: str, open_page: Opener) -> None:
    page = open_page(f"{served}?view=lake", wait_for=".cv-sql-text").page
    kept = {f"query {number}": f"SELECT {number}" for number in range(50)}
    page.evaluate("kept => localStorage.setItem('cv.queries', JSON.stringify(kept))", kept)

    def save(sql: str, name: str) -> None:
        page.locator(".cv-sql-text").evaluate("(box, sql) => { box.value = sql }", sql)
        page.get_by_role("button", name="Save", exact=True).click()
        page.locator("dialog input").fill("")
        page.locator("dialog input").focus()
        page.keyboard.insert_text(name)
        page.locator(".cv-confirm button").click()

    def saved() -> dict[str, str]:
        return dict(page.evaluate("JSON.parse(localStorage.getItem('cv.queries'))"))

    save("SELECT 'new'", "n" * 61)
    until_shown(page, ".cv-toast-error >> nth=-1", "Not saved: the name has 61 characters, at most 60 are allowed.")
    save("SELECT 'new'", "new")
    until_shown(page, ".cv-toast-error >> nth=-1", "Not saved: 50 queries are kept at most. Remove one first.")
    assert saved() == kept
    save("SELECT 'again'", "query 7")
    assert saved() == kept | {"query 7": "SELECT 'again'"}


def test_a_long_search_is_not_cut_to_one_that_matches(served: str, open_page: Opener) -> None:
    page = open_page(served).page
    page.locator(".cv-search input").focus()
    page.keyboard.insert_text(" " * 60 + "no such coin")
    eventually(lambda: page.locator(".cv-row").count() == 0)
