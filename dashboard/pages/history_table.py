"""History of the selected coin from the lake: rows, summary statistics, downloads."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
from panel.io.model import JSCode

from cryptoviz.errors import CryptoVizError
from dashboard.page_session import Session
from dashboard.pages.parts import BUTTON_STYLE, bar, card, choice, markup, set_markup, table
from dashboard.views.history_rows import RANGES_MS, history_row, range_start, summary_markup
from dashboard.views.markup import element, text
from dashboard.views.numbers import format_count
from dashboard.views.placeholders import state_markup
from dashboard.views.quote import other_currencies
from dashboard.views.statistics import PriceHistory

__all__ = ["HistoryTable"]

_PAGE_ROWS = 8  # matches the height of the statistics
_SHOWN_ROWS = 2_000  # table only, with a note; statistics and downloads contain all rows
_QUICK_REFRESH_MS, _SLOW_REFRESH_MS = 5_000, 30_000
_QUICK_RANGES = ("15m", "1h")
_NUMERIC = ("tick_ts", "price")
_FIELDS = (
    ("tick_ts", "Tick (UTC)", 150, 0),
    ("price", "Price", 110, 0),
    ("provider", "Provider", 110, 1),
    ("role", "Role", 80, 0),
    ("reason", "Fallback reason", 120, 2),
)


_EMPTY = PriceHistory((), ())


class HistoryTable:
    """Two cards: `view` with the table, `statistics` with the summary of the same rows."""

    def __init__(self, session: Session, coin: str) -> None:
        self._session = session
        self._coin = coin
        self._next_ms = 0
        self._shown = _EMPTY
        self._range = choice(list(RANGES_MS), "1h", self._reload, "cv-ranges")
        self._caption = markup()
        self._state = markup(state_markup("loading", "Reading the lake"), sizing_mode="stretch_width")
        self._table: Any = None  # created with the first rows, so that the page opens faster
        head = bar(self._caption, self._range, pn.HSpacer(), self._download("csv"), self._download("parquet"))
        self.view = card(head, self._state, css_class="cv-history")
        self._summary = markup(state_markup("loading", "Reading the lake"), margin=(0, 12, 8, 12), sizing_mode="stretch_width")
        self._summary_title = markup()
        self.statistics = card(bar(self._summary_title), self._summary, css_class="cv-statistics")
        self._title()

    def choose(self, coin: str) -> None:
        if coin != self._coin:
            self._coin = coin
            self._reload()

    def refresh(self) -> None:
        """Reload when the last read has expired."""
        now_ms = self._session.now_ms()
        if now_ms < self._next_ms:
            return
        quick = self._range.value in _QUICK_RANGES
        self._next_ms = now_ms + (_QUICK_REFRESH_MS if quick else _SLOW_REFRESH_MS)
        asked = (self._coin, self._range.value)
        future = self._session.app_context.history.prices(self._coin, range_start(now_ms, self._range.value), _SHOWN_ROWS)
        self._session.when_done(future, partial(self._loaded, asked), partial(self._failed, asked))

    def _reload(self) -> None:
        self._shown = _EMPTY
        loading = state_markup("loading", "Reading the lake")
        set_markup(self._summary, loading)
        if self._table is None or not self._table.visible:
            self._show_state(loading)
        # Otherwise the old rows stay until the new ones arrive: hiding the table would make the page jump and redraw it.
        self._title("reading…")
        self._next_ms = 0
        self.refresh()

    def _loaded(self, asked: tuple[str, str], found: PriceHistory) -> None:
        if asked != (self._coin, self._range.value):
            return
        if found.rows and found == self._shown:
            return
        if not found.rows:
            self._shown = found
            self._show_state(state_markup("empty", "No rows in the lake yet", f"{self._coin}, last {self._range.value}"))
            self._title()
            return
        self._session.in_background(partial(_prepare, found), partial(self._prepared, asked, found), partial(self._failed, asked))

    def _prepared(self, asked: tuple[str, str], found: PriceHistory, made: tuple[pd.DataFrame, str]) -> None:
        if asked == (self._coin, self._range.value):
            self._shown = found
            self._show_rows(made[0])
            set_markup(self._summary, made[1])
            self._title()

    def _show_rows(self, frame: pd.DataFrame) -> None:
        self._state.visible = False
        if self._table is None:
            self._table = _tabulator(frame)
            self.view.append(self._table)
        else:
            self._table.param.update(value=frame, visible=True)

    def _show_state(self, state: str) -> None:
        if self._table is not None:
            self._table.visible = False
        self._state.visible = True
        set_markup(self._state, state)
        set_markup(self._summary, state)

    def _failed(self, asked: tuple[str, str], error: Exception) -> None:
        if asked != (self._coin, self._range.value):
            return
        if self._shown.rows:
            # The displayed rows are still correct, just not the newest.
            self._title(f"not refreshed: {error}")
            return
        self._show_state(state_markup("error", "Cannot read the lake", str(error)))

    def _title(self, problem: str = "") -> None:
        count = f"{format_count(self._shown.count)} rows" if self._shown.rows else ""
        if self._shown.count > len(self._shown.rows):
            count += f", newest {len(self._shown.rows):,} shown"
        note = problem or count
        self._caption.object = element("span", "History", "cv-title") + "&nbsp; " + element("span", text(note), "cv-warn" if problem else "cv-note")
        chosen, *others = self._shown.summaries or (None,)
        left_out = other_currencies({one.currency: one.count for one in others if one}, "rows")
        in_currency = "" if chosen is None else f", in {chosen.currency}. {left_out}"
        where = f"{self._coin}, last {self._range.value}, all rows of the lake{in_currency}".strip()
        self._summary_title.object = element("span", "Summary statistics", "cv-title") + "&nbsp; " + element("span", text(where), "cv-note")

    def _download(self, kind: str) -> Any:
        def read() -> io.BytesIO | None:
            since_ms = range_start(self._session.now_ms(), self._range.value)
            button.filename = f"{self._coin}-{self._range.value}.{kind}"
            try:
                return io.BytesIO(self._session.app_context.history.download(self._coin, since_ms, kind))
            except CryptoVizError as error:
                self._session.notify("error", f"Download failed: {error}")
                return None

        button = pmui.FileDownload(
            callback=read, filename=f"history.{kind}", label=kind.upper() if kind == "csv" else "Parquet", size="small", variant="outlined",
            margin=0, css_classes=[f"cv-download-{kind}"], sx=BUTTON_STYLE, align="center",
        )  # fmt: skip
        return button


def _shown(field: str) -> str:
    value = f"cell.getData().h_{field}" if field in _NUMERIC else "cell.getValue()"
    return f"function(cell) {{ return {value} }}"


def _prepare(found: PriceHistory) -> tuple[pd.DataFrame, str]:
    """Build table and statistics; runs in a worker thread."""
    return _frame([history_row(row) for row in found.rows]), summary_markup(found.summaries[0])


def _frame(rows: list[dict[str, str | float]]) -> pd.DataFrame:
    names = [field for field, *_ in _FIELDS]
    frame = pd.DataFrame(rows, columns=[*names, *(f"h_{name}" for name in _NUMERIC)])
    for name in _NUMERIC:
        frame[name] = frame[name].astype("float64")
    return frame


def _tabulator(frame: pd.DataFrame) -> Any:
    right = {"price"}
    columns = [
        {
            "field": field, "minWidth": width, "widthGrow": width // 25, "responsive": responsive,
            "hozAlign": "right" if field in right else "left", "headerHozAlign": "right" if field in right else "left",
        }
        for field, _, width, responsive in _FIELDS
    ]  # fmt: skip
    return table(
        frame,
        "cv-history-table",
        columns,
        hidden_columns=[f"h_{field}" for field in _NUMERIC],
        titles={field: title for field, title, *_ in _FIELDS},
        formatters={field: JSCode(_shown(field)) for field, *_ in _FIELDS},
        pagination="remote",
        page_size=_PAGE_ROWS,
        selectable=False,
    )
