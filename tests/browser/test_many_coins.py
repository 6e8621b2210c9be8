"""A table of a thousand coins, scrolled by wheel while ticks arrive: every row is drawn, few are in the document, and the place stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page

from cryptoviz.clock import SystemClock
from dashboard.app_context import AppContext
from tests.browser.conftest import Opener
from tests.support.page_stack import BASE_PRICES, TICK_MS, record
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

COINS = 1000
ROW_PX = 34
WHEEL_PX = 640
"""Less than the table's height, so that each row is once in sight when the wheel rests."""
MOST_ROWS = 60
"""In the document, of a table of 750 pixels: 23 in sight, and 8 above and below."""

# Waits until the table has not moved for three frames, then says what is in sight. `blank`: places in sight without a row, or with a row without its
# price; `wrong`: rows that are not at their place.
IN_SIGHT = """async count => {
  const place = document.querySelector(".cv-coin-table")
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)))
  for (let still = 0, top = -1; still < 3; await frame()) { still = place.scrollTop === top ? still + 1 : 0; top = place.scrollTop }
  const rows = new Map([...place.querySelectorAll(".cv-row")].map(row => [Number(row.getAttribute("aria-rowindex")) - 2, row]))
  const [head, body] = [place.querySelector(".cv-grid-headgroup"), place.querySelector(".cv-grid-body")].map(each => each.getBoundingClientRect())
  const bottom = place.getBoundingClientRect().top + place.clientTop + place.clientHeight
  const found = {top: place.scrollTop, rows: rows.size, ids: [], ticks: [], blank: [], wrong: []}
  for (let index = 0; index < count; index++) {
    const [from, to] = [body.top + index * 34, body.top + (index + 1) * 34]
    if (to <= head.bottom || from >= bottom) continue
    const row = rows.get(index)
    if (!row?.querySelector(".cv-price")?.textContent) { found.blank.push(index); continue }
    if (Math.abs(row.getBoundingClientRect().top - from) > 1) found.wrong.push(index)
    found.ids.push(row.dataset.id)
    found.ticks.push(Number(row.querySelector(".cv-price").dataset.tick))
  }
  return found
}"""


TOP = "document.querySelector('.cv-coin-table').scrollTop"


def coin(number: int) -> str:
    return f"coin-{number:04d}"


class Thousand:
    """Coins 1 to 1000 by rank. The price of each is its number at first, and grows with each tick; those with an even number rise."""

    def __init__(self, app_context: AppContext) -> None:
        self._live = app_context.live
        self.tick_ts = SystemClock().now_ms() // TICK_MS * TICK_MS
        self.prices = {number: float(number) for number in range(1, COINS + 1)}
        self.rising = {number: number % 2 == 0 for number in self.prices}
        self.tick()

    def tick(self) -> int:
        """The next tick of all coins; its time, UTC epoch ms."""
        self.tick_ts += 1
        self.prices = {number: price + 1 / 1024 for number, price in self.prices.items()}
        self._live.apply(
            record(coin(number), self.tick_ts, price, rank=number, market_cap=1e9 / number, change_24h_pct=2.5 if self.rising[number] else -2.5)
            for number, price in self.prices.items()
        )
        return self.tick_ts


@pytest.fixture
def coins(app_context: AppContext) -> Thousand:
    return Thousand(app_context)


@pytest.fixture
def page(coins: Thousand, served: str, open_page: Opener) -> Iterator[Page]:
    """The market page with the thousand alone, by a search; the wheel turns over its table."""
    seen = open_page(served, wait_for=f'.cv-row[data-id="{coin(1)}"]')
    seen.page.locator(".cv-search input").fill("coin-")
    counted(seen.page, COINS)
    seen.page.locator(".cv-coin-table").hover()
    yield seen.page
    assert seen.errors == []


def counted(page: Page, rows: int) -> None:
    """Wait until the table has so many rows."""
    eventually(lambda: page.locator(".cv-coin-count").text_content() == f"{rows} of {COINS + len(BASE_PRICES)}")


@dataclass(frozen=True)
class Sight:
    """What is in sight once the table rests."""

    top: float
    numbers: list[int]
    ticks: list[int]


def in_sight(page: Page, rows: int = COINS) -> Sight:
    """Checks that each row in sight is drawn at its place, and how many rows the document has."""
    found = page.evaluate(IN_SIGHT, rows)
    assert (found["blank"], found["wrong"]) == ([], [])
    assert 0 < len(found["ids"]) <= found["rows"] <= MOST_ROWS
    return Sight(found["top"], [int(one.removeprefix("coin-")) for one in found["ids"]], found["ticks"])


def wheel(page: Page, pixels: int, rows: int = COINS) -> Sight:
    """Turn the wheel, and wait until the table rests."""
    before = page.evaluate(TOP)
    page.mouse.wheel(0, pixels)
    eventually(lambda: page.evaluate(TOP) != before)
    return in_sight(page, rows)


def after_tick(page: Page, coins: Thousand, rows: int = COINS) -> Sight:
    """What is in sight when the next tick has come."""
    tick_ts = coins.tick()
    eventually(lambda: set(page.evaluate(IN_SIGHT, rows)["ticks"]) == {tick_ts})
    return in_sight(page, rows)


def test_every_row_is_drawn_while_ticks_arrive(page: Page, coins: Thousand) -> None:
    sight = in_sight(page)
    seen = list(sight.numbers)
    for turn in itertools.count():
        if turn % 8 == 0:
            rests = after_tick(page, coins)
            assert (rests.top, rests.numbers) == (sight.top, sight.numbers)
        if seen[-1] == COINS:
            break
        if turn % 3 == 0:
            coins.tick()  # arrives while the table moves
        sight = wheel(page, WHEEL_PX)
        assert sight.numbers[0] <= seen[-1], "rows were jumped over"
        assert sight.numbers[-1] > seen[-1]
        seen += [number for number in sight.numbers if number > seen[-1]]
    assert seen == list(range(1, COINS + 1))
    assert wheel(page, -2 * COINS * ROW_PX).numbers[0] == 1


def test_sorting_and_filters_keep_their_place_while_ticks_arrive(page: Page, coins: Thousand) -> None:
    header = page.locator('.cv-coin-table [data-field="price"]')
    header.locator("button").click()
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    page.locator(".cv-coin-table").hover()
    before = wheel(page, 500 * ROW_PX)
    assert before.top == 500 * ROW_PX
    assert before.numbers[0] == COINS - 500
    assert before.numbers == sorted(before.numbers, reverse=True)

    # The dearest is the cheapest now: each row in sight is that of the next coin, at the same place.
    coins.prices[COINS] = 0.5
    after = after_tick(page, coins)
    assert (after.top, after.numbers) == (before.top, [number - 1 for number in before.numbers])
    assert header.get_attribute("aria-sort") == "descending"

    # Every other coin rises. One above what is in sight rises no more.
    page.locator(".cv-filter").select_option("rising")
    counted(page, COINS // 2)
    page.locator(".cv-coin-table").hover()
    wheel(page, -COINS * ROW_PX, COINS // 2)
    before = wheel(page, 200 * ROW_PX, COINS // 2)
    assert before.numbers == list(range(before.numbers[0], before.numbers[-1] - 1, -2))
    coins.rising[COINS - 2] = False
    rows = COINS // 2 - 1
    after = after_tick(page, coins, rows)
    counted(page, rows)
    assert (after.top, after.numbers) == (before.top, [number - 2 for number in before.numbers])
    assert page.locator(".cv-filter").input_value() == "rising"

    # From far below to a table of one row, and back.
    wheel(page, COINS * ROW_PX, rows)
    search = page.locator(".cv-search input")
    search.fill(coin(10))
    counted(page, 1)
    assert in_sight(page, 1).numbers == [10]
    assert page.locator(".cv-row").count() == 1
    search.fill("coin-")
    counted(page, rows)
    assert in_sight(page, rows).numbers[0] == COINS - 4
