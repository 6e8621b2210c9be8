"""The coin table: a Tabulator, patched cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
from panel.io.model import JSCode

from dashboard.page_session import Session
from dashboard.pages.parts import bar, card, markup, set_markup, table
from dashboard.shared_state import CONNECTING
from dashboard.views.coin_rows import COLUMNS, PACKED, CoinView, by_rank, coin_row, matches
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup, waiting_markup

__all__ = ["CoinTable"]

_SPARK_TICKS = 180
_SEARCH: dict[str, Any] = {"& input": {"padding": "4px 8px", "fontSize": "12.5px"}}
_FIELDS = tuple(column.field for column in COLUMNS)


class CoinTable:
    """Rows of all coins with a price. `choose` is called with an asset id when a row is clicked."""

    def __init__(self, session: Session, choose: Callable[[str], None]) -> None:
        self._session = session
        self._choose = choose
        self._rows: list[dict[str, Any]] = []
        self._shown_prices: dict[tuple[str, str], float] = {}  # by asset and quote currency
        self._chosen = ""
        self._search = pmui.TextInput(
            placeholder="Search coin", size="small", width=150, margin=0, align="center", css_classes=["cv-search"], sx=_SEARCH
        )
        self._search.param.watch(lambda _event: self.refresh(live=False), "value_input")
        self._caption = markup()
        self._empty = markup(state_markup("loading", "Waiting for the first prices"), sizing_mode="stretch_width")
        self._table = _tabulator()
        self._table.on_click(self._clicked)
        self._table.visible = False
        self.view = card(bar(self._caption, pn.HSpacer(), self._search), self._empty, self._table, css_class="cv-coins")

    def choose(self, asset_id: str) -> None:
        """Highlight the selected coin's row."""
        self._chosen = asset_id
        self._mark()

    def refresh(self, *, live: bool) -> None:
        """Show the current state. With `live`, changed prices flash."""
        app_context = self._session.app_context
        everything = by_rank(app_context.live.latest().values())
        search = self._search.value_input or ""
        rows = []
        for record in everything:
            if not matches(record, search):
                continue
            before = self._shown_prices.get((record.asset_id, record.quote_currency)) if live else None
            rows.append(coin_row(CoinView(record, app_context.live.recent_prices(record.asset_id, _SPARK_TICKS), before), app_context.tick_ms))
        self._shown_prices = {(record.asset_id, record.quote_currency): record.price for record in everything}
        self._show(rows)
        self._say(len(everything), len(rows), search)

    def _show(self, rows: list[dict[str, Any]]) -> None:
        if [row["asset_id"] for row in rows] != [row["asset_id"] for row in self._rows]:
            self._rows = rows
            self._table.value = _frame(rows)
            self._table.visible = bool(rows)
            self._mark()
            return
        patches: dict[str, list[tuple[int, Any]]] = {}
        for index, (before, after) in enumerate(zip(self._rows, rows, strict=True)):
            for field, value in after.items():
                if field != "asset_id" and before[field] != value:
                    patches.setdefault(field, []).append((index, float("nan") if value is None else value))
        self._rows = rows
        if patches:
            self._table.patch(patches, as_index=False)

    def _say(self, known: int, shown: int, search: str) -> None:
        caption = element("span", "Coins", "cv-title") + "&nbsp; " + element("span", text(f"{shown} of {known}" if search else f"{known}"), "cv-note")
        set_markup(self._caption, caption)
        self._empty.visible = shown == 0
        if not known:
            pipeline, lost = self._session.app_context.control.read()
            set_markup(self._empty, waiting_markup(pipeline, None if lost == CONNECTING else lost))
        elif not shown:
            set_markup(self._empty, state_markup("empty", "No matching coins", f"None of {known} coins matches “{search}”"))

    def _mark(self) -> None:
        self._table.selection = [index for index, row in enumerate(self._rows) if row["asset_id"] == self._chosen]

    def _clicked(self, event: Any) -> None:
        if 0 <= event.row < len(self._rows):
            self._choose(str(self._rows[event.row]["asset_id"]))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[*_FIELDS, "cells"])
    for field in PACKED:
        frame[field] = frame[field].astype("float64")
    return frame


def _tabulator() -> Any:
    columns = [
        {
            "field": column.field,
            "minWidth": column.width,
            "responsive": _responsive(column.needs_px),
            "widthGrow": max(1, column.width // 25),  # small numbers, because the remainder goes to the last column
            "sorterParams": {"alignEmptyValues": "bottom"},
            "headerTooltip": column.tooltip,
            "headerHozAlign": column.align,
            "hozAlign": column.align,
            "headerSortTristate": True,
            **({"headerSort": False} if column.field == "spark" else {}),
        }
        for column in COLUMNS
    ]
    return table(
        _frame([]),
        "cv-coin-table",
        columns,
        hidden_columns=["cells"],
        titles={column.field: column.title for column in COLUMNS},
        formatters={field: JSCode(_shown(field)) for field in _FIELDS},
        selectable=1,
    )


def _shown(field: str) -> str:
    """JavaScript formatter of a cell: its value, or its part of the packed markup."""
    value = f"cell.getData().cells.split('\\x1f')[{PACKED.index(field)}]" if field in PACKED else "cell.getValue()"
    return f"function(cell) {{ return {value} }}"


def _responsive(needs_px: int) -> int:
    """Tabulator's `responsive` number: the highest is hidden first; 0 is never hidden."""
    return needs_px // 100
