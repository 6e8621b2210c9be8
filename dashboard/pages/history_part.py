"""History of the selected coin from the lake: rows by page, summary statistics, downloads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from dashboard.page_session import Session
from dashboard.views.history_rows import RANGES_MS, history_table, range_start, summary_markup
from dashboard.views.markup import element, text
from dashboard.views.numbers import format_count
from dashboard.views.placeholders import state_markup
from dashboard.views.quote import other_currencies
from dashboard.views.statistics import PriceHistory
from dashboard.views.texts import say

__all__ = ["HistoryPart"]

_SHOWN_ROWS = 2_000  # table only, with a note; statistics and downloads contain all rows
_QUICK_REFRESH_MS, _SLOW_REFRESH_MS = 5_000, 30_000
_QUICK_RANGES = ("15m", "1h")
_EMPTY = PriceHistory((), ())
_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


class HistoryPart:
    """A range of history. Old rows stay until the new ones arrive."""

    def __init__(self, session: Session, coin: str) -> None:
        self._session = session
        self._coin = coin
        self._range = "1h"
        self._page = 0
        self._next_ms = 0
        self._shown = _EMPTY
        self._state = _loading()
        self._problem = ""

    def choose(self, coin: str) -> None:
        if coin != self._coin:
            self._coin = coin
            self._reload()

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        """Verbs: range, turn, download."""
        if verb == "range":
            self.choose_range(values.get("value", ""))
        elif verb == "turn":
            self.turn(values.get("value", ""))
        elif verb == "download":
            self.download(values.get("kind", ""))

    def choose_range(self, name: str) -> None:
        if name in RANGES_MS and name != self._range:
            self._range = name
            self._reload()

    def turn(self, page: str) -> None:
        """Show a page of the table, from 0. Untrusted."""
        if page.isascii() and page.isdecimal() and len(page) < 6:
            self._page = int(page)

    def refresh(self) -> None:
        """Put the parts, and reload when the last read has expired."""
        self._put()
        now_ms = self._session.now_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + (_QUICK_REFRESH_MS if self._range in _QUICK_RANGES else _SLOW_REFRESH_MS)
        asked = (self._coin, self._range)
        future = self._session.app_context.history.prices(self._coin, range_start(now_ms, self._range), _SHOWN_ROWS)
        self._session.when_done(future, partial(self._loaded, asked), partial(self._failed, asked))

    def download(self, kind: str) -> None:
        """Read all rows of the range in a worker, then let the browser save them."""
        if kind not in _TYPES:
            return
        coin, name = self._coin, self._range
        since_ms = range_start(self._session.now_ms(), name)
        self._session.in_background(
            lambda: self._session.app_context.history.download(coin, since_ms, kind),
            lambda content: self._session.download(f"{coin}-{name}.{kind}", _TYPES[kind], content),
            lambda error: self._session.notify("error", say("Download failed: {error}", error=error)),
            self._session.app_context.inspection.workers,  # not those that serve clicks
        )

    def _reload(self) -> None:
        self._shown, self._page, self._next_ms = _EMPTY, 0, 0
        self._state, self._problem = _loading(), say("reading…")

    def _loaded(self, asked: tuple[str, str], found: PriceHistory) -> None:
        if asked != (self._coin, self._range):
            return
        self._shown, self._problem = found, ""
        self._state = "" if found.rows else state_markup("empty", "No rows in the lake yet", f"{self._coin}, {say('last')} {self._range}")

    def _failed(self, asked: tuple[str, str], error: Exception) -> None:
        if asked != (self._coin, self._range):
            return
        if self._shown.rows:
            # The displayed rows are still correct, just not the newest.
            self._problem = say("not refreshed: {error}", error=error)
            return
        self._problem = ""
        self._state = state_markup("error", "Cannot read the lake", str(error))

    def _put(self) -> None:
        out, shown = self._session.out, self._shown
        count = f"{format_count(shown.count)} {say('row' if shown.count == 1 else 'rows')}" if shown.rows else ""
        if shown.count > len(shown.rows):
            count += say(", newest {count} shown", count=format_count(len(shown.rows)))
        note = element("span", text(self._problem or count), "cv-warn" if self._problem else "cv-note")
        out.put("history.title", f"{element('h2', text(say('History')), 'cv-title')}&nbsp; {note}")
        chosen, *others = shown.summaries or (None,)
        left_out = other_currencies({one.currency: one.count for one in others if one}, say("rows"))
        in_currency = "" if chosen is None else f", {say('in')} {chosen.currency}. {left_out}"
        where = f"{self._coin}, {say('last')} {self._range}, {say('all rows of the lake')}{in_currency}".strip()
        out.put("statistics.title", f"{element('h2', text(say('Summary statistics')), 'cv-title')}&nbsp; {element('span', text(where), 'cv-note')}")
        out.put("history.range", self._range)
        if self._state:
            out.put("history.rows", self._state)
            out.put("statistics", self._state)
        elif chosen is not None:
            out.put("history.rows", history_table(shown.rows, self._page))
            out.put("statistics", summary_markup(chosen))


def _loading() -> str:
    """In the language of the page, which is not known when the module is imported."""
    return state_markup("loading", "Reading the lake")
