"""The pages by keyboard alone: where the focus is after each step, that its ring is seen, and that it is never trapped or lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page

from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState, DesiredState
from dashboard.app_context import AppContext
from dashboard.pages.registry import PAGES
from dashboard.views.explore_frames import EXAMPLES
from tests.browser.conftest import Opener, until_shown
from tests.support.dashboard_server import new_app_context
from tests.support.page_stack import BASE_PRICES, TICK_MS, Stack, record, walk
from tests.support.waiting import eventually

pytestmark = pytest.mark.browser

MOST_STOPS = 200

# Names controls, and judges the focus: its ring (against the look without it), and what cuts the ring off or covers the control.
SCRIPT = """(() => {
  const styleOf = element => {
    const {outlineStyle, outlineWidth, outlineColor, boxShadow} = getComputedStyle(element)
    return [outlineStyle, outlineWidth, outlineColor, boxShadow].join()
  }
  const name = element => {
    if (!element || element === document.body) return ""
    const row = element.closest(".cv-row, [data-key]")
    const {view, chart, shape} = element.dataset
    const label = element.closest("label")?.textContent
    const said = ["aria-label", "placeholder", "name"].map(each => element.getAttribute(each)).find(Boolean)
    const key = row && (row.dataset.id ?? row.dataset.key)
    const words = [element.localName, view, chart, shape, key, said ?? label ?? element.textContent]
    return words.filter(Boolean).join(" ").replace(/\\s+/g, " ").trim()
  }
  const hidden = element => {
    const {outlineWidth, outlineOffset} = getComputedStyle(element)
    const grow = parseFloat(outlineWidth) + parseFloat(outlineOffset)
    const {left, top, right, bottom} = element.getBoundingClientRect()
    const found = []
    const within = (box, what) => {
      const cut = [left - grow < box.left - 1, top - grow < box.top - 1, right + grow > box.right + 1, bottom + grow > box.bottom + 1]
      if (cut.some(Boolean)) found.push(`cut off by ${what}`)
    }
    if (bottom - top < innerHeight) within({left: 0, top: 0, right: innerWidth, bottom: innerHeight}, "the window")
    for (let each = element.parentElement; each && each !== document.body; each = each.parentElement) {
      if (getComputedStyle(each).overflow === "visible") continue
      const box = each.getBoundingClientRect()
      const [x, y] = [box.left + each.clientLeft, box.top + each.clientTop]
      within({left: x, top: y, right: x + each.clientWidth, bottom: y + each.clientHeight}, each.className)
    }
    const over = document.elementFromPoint((left + right) / 2, Math.min((top + bottom) / 2, innerHeight - 1))
    if (over && !element.contains(over) && !over.contains(element)) found.push(`covered by ${over.className}`)
    return found
  }
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
  const reached = each => each.tabIndex >= 0 && !each.disabled && each.checkVisibility()
  window.controls = () => [...document.querySelectorAll(CONTROLS)].filter(reached).map(name)
  let before = null
  window.focused = () => {
    const now = document.activeElement
    const faults = []
    const left = before && before.element !== now && before.element.isConnected
    if (left && styleOf(before.element) === before.style) faults.push(`no ring on ${name(before.element)}`)
    before = now && now !== document.body ? {element: now, style: styleOf(now)} : null
    if (before) faults.push(...hidden(now).map(fault => `${name(now)} ${fault}`))
    return [name(now), faults]
  }
})()"""


@dataclass
class Keyboard:
    """A user without a mouse. `faults`: of the focus, at each step."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.evaluate(SCRIPT)

    def focus(self) -> str:
        """The name of the control that has the focus; empty if none has it."""
        name, faults = self.page.evaluate("focused()")
        self.faults += [one for one in faults if one not in self.faults]
        return str(name)

    def press(self, *keys: str) -> str:
        """The focus after these keys."""
        for key in keys:
            self.page.keyboard.press(key)
        return self.focus()

    def tab_to(self, wanted: str, key: str = "Tab") -> None:
        """Move on until the focus is on the control of that name."""
        seen = []
        while (name := self.press(key)) != wanted:
            seen.append(name)
            assert len(seen) < MOST_STOPS, f"no {wanted!r} among {seen}"

    def round(self, key: str) -> list[str]:
        """All stops, once around. Between the last and the first the browser may have none, where its own controls would be."""
        found: list[str] = []
        for _ in range(MOST_STOPS):
            name = self.press(key)
            if found and name in ("", found[0]):
                return found
            found += [name] if name else []
        raise AssertionError(f"the focus goes on: {found}")

    def until_focus(self, wanted: str) -> None:
        """Wait until the focus is on the control of that name."""

        def there() -> bool:
            assert (name := self.focus()) == wanted, f"the focus is on {name!r}, not {wanted!r}"
            return True

        eventually(there)


@pytest.fixture
def app_context(tmp_path: Path) -> Iterator[AppContext]:
    with new_app_context(tmp_path, streams={"venues": ("binance",)}) as made:
        tick = SystemClock().now_ms() // TICK_MS * TICK_MS
        for asset in BASE_PRICES:
            made.live.apply(walk(asset, tick - 60 * TICK_MS, 60))
        yield made


def test_tab_reaches_every_control_of_every_page_and_leaves_it(served: str, open_page: Opener) -> None:
    """In a low window, in which the table scrolls below its head."""
    seen = open_page(served, height=600)
    keyboard = Keyboard(seen.page)
    for kind in PAGES:
        seen.page.evaluate("name => cv.view(name)", kind.name)
        seen.page.locator(f"#cv-page-{kind.name}").wait_for(state="visible")
        tab = f"a {kind.name} {kind.name.capitalize()}"

        def whole(tab: str = tab) -> bool:
            """Again, while parts of the page still come."""
            keyboard.focus()
            keyboard.faults.clear()
            there, back = keyboard.round("Tab"), keyboard.round("Shift+Tab")
            assert there == back[::-1]
            assert tab in there
            assert sorted(there) == sorted(seen.page.evaluate("controls()"))
            assert keyboard.faults == []
            return True

        eventually(whole, every_s=1)
    assert seen.errors == []


def test_a_row_keeps_the_focus_when_it_moves_and_leaves_it_to_the_table_when_it_goes(app_context: AppContext, served: str, open_page: Opener) -> None:
    page = open_page(served).page
    keyboard = Keyboard(page)
    page.locator('.cv-coin-table [data-field="price"] button').press("Enter")
    order = "rows => rows.map(row => row.dataset.id)"
    eventually(lambda: page.locator(".cv-row").evaluate_all(order)[-1] == "bitcoin")
    star = "button bitcoin Watch Bitcoin"
    keyboard.tab_to(star)
    tick = SystemClock().now_ms() // TICK_MS * TICK_MS + TICK_MS
    app_context.live.apply([record("bitcoin", tick, 1e-6)])  # the cheapest now: its row goes from the last place to the first
    eventually(lambda: page.locator(".cv-row").evaluate_all(order)[0] == "bitcoin")
    assert keyboard.focus() == star
    assert keyboard.press("Enter") == star
    page.locator(".cv-watched").press("Enter")
    eventually(lambda: page.locator(".cv-row").evaluate_all(order) == ["bitcoin"])
    keyboard.tab_to(star)
    keyboard.press("Enter")  # watched no more: no row is left
    page.locator(".cv-coins .cv-state-empty").wait_for()
    assert keyboard.focus() == "input Search coin /"
    assert keyboard.faults == []


def test_the_arrow_keys_go_through_the_queries(served: str, open_page: Opener) -> None:
    page = open_page(f"{served}?view=lake", wait_for=".cv-sql-text").page
    keyboard = Keyboard(page)
    keyboard.tab_to("select Queries")
    for _, sql in EXAMPLES[:3]:
        assert keyboard.press("ArrowDown") == "select Queries"
        assert page.locator(".cv-sql-text").input_value() == sql
    keyboard.tab_to("textarea SQL", "Shift+Tab")
    page.keyboard.press("End")
    page.keyboard.type(" ")
    assert page.locator(".cv-queries").input_value() == "", "the text is another: the same query can be chosen again"
    assert keyboard.faults == []


def test_the_work_of_a_day_without_a_mouse(market: Stack, open_page: Opener) -> None:
    seen = open_page(f"{market.url}/?coin=bitcoin&tf=1h")
    page = seen.page
    until_shown(page, ".cv-quote-name", "Bitcoin")
    keyboard = Keyboard(page)
    table, price = "div Coins", ".cv-quote-price"

    # A coin is searched, chosen, and left by its neighbours.
    assert keyboard.press("/") == "input Search coin /"
    page.keyboard.type("solan")
    eventually(lambda: page.locator(".cv-row").count() == 1)
    assert keyboard.press("Enter") == table
    until_shown(page, ".cv-quote-name", "Solana")
    assert keyboard.press("/") == "input Search coin /"
    assert keyboard.press("Escape") == table
    assert page.locator(".cv-search input").input_value() == ""
    assert page.locator(".cv-row").count() == len(BASE_PRICES)
    assert keyboard.press("j") == table
    until_shown(page, ".cv-quote-name", "Polkadot")
    assert keyboard.press("k") == table
    until_shown(page, ".cv-quote-name", "Solana")

    # It is opened, with another interval; its price is traced, and the focus is back on it.
    assert keyboard.press("g", "2") == "a coin Coin"
    eventually(lambda: page.evaluate("location.search") == "?coin=solana&tf=1h&view=coin")
    assert keyboard.press("3", "4") == "a coin Coin"
    eventually(lambda: page.evaluate("location.search") == "?coin=solana&tf=1d&view=coin")
    traced = f"button {page.locator(price).text_content()}"
    keyboard.tab_to(traced)
    keyboard.tab_to("button 5m")
    page.keyboard.press("Enter")
    eventually(lambda: page.evaluate("location.search") == "?coin=solana&tf=5m&view=coin")
    keyboard.tab_to(traced, "Shift+Tab")
    assert keyboard.press("Enter") == "button Close"
    page.locator(".cv-trace-panel").wait_for()
    assert keyboard.press("Escape") == traced
    eventually(lambda: page.locator("dialog").count() == 0)  # the browser tells that it has closed after the focus is back

    # The help, from anywhere.
    assert keyboard.press("?") == "button Close"
    assert keyboard.press("Enter") == traced
    eventually(lambda: page.locator("dialog").count() == 0)  # the browser tells that it has closed after the focus is back

    # A component is stopped after a question.
    assert keyboard.press("g", "4" if page.locator("#cv-tab-trades").count() else "3") == "a pipeline Pipeline"
    state = '.cv-component-state[data-component="lake"]'
    until_shown(page, state, "RUNNING")
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        keyboard.tab_to("button Stop all")
        assert keyboard.press("Enter") == "button Cancel"
        assert keyboard.press("Enter") == "button Stop all"
        keyboard.tab_to("button lake Stop lake")
        assert keyboard.press("Space") == "button Cancel"
        assert keyboard.press("Escape") == "button lake Stop lake"
        assert control.get("lake").desired is DesiredState.RUNNING, "cancelled, yet stopped"
        assert keyboard.press("Enter", "Tab") == "button Confirm"
        page.keyboard.press("Enter")
        until_shown(page, state, "STOPPED")
        assert control.get("lake").state is ComponentState.STOPPED
        # The button is disabled now: the focus is on another of its row.
        assert keyboard.focus().startswith(("button lake ", "a lake "))
        keyboard.tab_to("button lake Start lake")
        assert keyboard.press("Enter", "Tab") == "button Confirm"
        page.keyboard.press("Enter")
        until_shown(page, state, "RUNNING")
        assert keyboard.focus().startswith(("button lake ", "a lake "))

    # A query.
    keyboard.tab_to("a pipeline Pipeline", "Shift+Tab")
    assert keyboard.press("ArrowRight", "ArrowRight", "ArrowRight") == "a lake Lake"
    keyboard.tab_to("textarea SQL")
    page.keyboard.type("SELECT 6 * 7 AS answer")
    assert keyboard.press("Control+Enter") == "textarea SQL"
    until_shown(page, ".cv-result tbody", "42")
    assert keyboard.press("Tab") == "button Run"
    assert keyboard.press("Enter") == "button Run"
    until_shown(page, ".cv-sql-note", "1 row")
    keyboard.until_focus("button Run")

    # An alert: the kind changes the form, and the focus stays on it.
    keyboard.tab_to("a lake Lake", "Shift+Tab")
    assert keyboard.press("ArrowRight") == "a alerts Alerts"
    page.locator(".cv-alert-form").wait_for()
    keyboard.tab_to("select kind")
    form = page.locator(".cv-alert-form form")
    before = ""
    while (kind := form.locator("select[name=kind]").input_value()) != "component":
        assert kind != before, "the arrow key chose no other kind"
        before = kind
        shown = str(form.get_attribute("data-key"))
        page.keyboard.press("ArrowDown")
        page.locator(f".cv-alert-form form:not([data-key={shown}])").wait_for()
        keyboard.until_focus("select kind")
    page.locator(".cv-alert-form select[name=state]").wait_for()
    keyboard.tab_to("input note")
    page.keyboard.type("by keyboard")
    keyboard.tab_to("button Add alert")
    page.keyboard.press("Enter")
    until_shown(page, ".cv-alerts-table", "by keyboard")
    keyboard.until_focus("button Add alert")

    # The theme, and the language, after which the page is loaded again.
    keyboard.tab_to("button Toggle theme", "Shift+Tab")
    assert keyboard.press("Enter") == "button Toggle theme"
    page.locator("html[data-theme=dark]").wait_for()
    keyboard.tab_to("a FR", "Shift+Tab")
    page.keyboard.press("Enter")
    page.locator("html[lang=fr]").wait_for()
    page.locator(".cv-alerts-table").wait_for()
    keyboard = Keyboard(page, keyboard.faults)
    keyboard.until_focus("a EN")
    assert keyboard.faults == []
    assert seen.errors == []
