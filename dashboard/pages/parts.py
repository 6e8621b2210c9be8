"""Building blocks of all pages, with common spacing and style sheets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from dashboard.styles import LAYOUT, PARTS, TABLE

__all__ = ["bar", "button", "card", "choice", "markup", "set_markup", "stack", "table"]

_BUTTON: dict[str, Any] = {
    "height": "26px",
    "minWidth": "44px",
    "textTransform": "none",
    "fontSize": "12px",
    "padding": "0 10px",
    "whiteSpace": "nowrap",
}
_CHOICE: dict[str, Any] = {"& .MuiToggleButton-root": {"height": "26px", "padding": "0 11px", "textTransform": "none", "fontSize": "12px"}}

BUTTON_STYLE = _BUTTON


def markup(html: str = "", css_class: str = "", **params: Any) -> Any:
    """A pane for markup created (and escaped) by views."""
    options = {"margin": 0, "align": "center", **params}
    return pn.pane.HTML(html, stylesheets=[PARTS], css_classes=[css_class] if css_class else [], **options)


def set_markup(pane: Any, html: str) -> None:
    """Update the pane only if the markup differs."""
    if pane.object != html:
        pane.object = html


def bar(*items: Any) -> Any:
    """A row of controls at the top of a card."""
    return pn.Row(*items, css_classes=["cv-bar"], stylesheets=[LAYOUT], sizing_mode="stretch_width", margin=0)


def card(*items: Any, css_class: str) -> Any:
    """A bordered card."""
    return pn.Column(*items, css_classes=["cv-card", css_class], stylesheets=[LAYOUT], sizing_mode="stretch_width", margin=0)


def stack(*items: Any, css_class: str) -> Any:
    """A grid or column of cards, by CSS class."""
    return pn.Column(*items, css_classes=[css_class], stylesheets=[LAYOUT], sizing_mode="stretch_width", margin=0)


def button(label: str, act: Callable[[], Any], css_class: str, variant: str = "outlined") -> Any:
    """A small button; `act` runs on the session's loop."""
    return pmui.Button(
        label=label, size="small", variant=variant, margin=(0, 2), align="center", on_click=lambda _event: act(), css_classes=[css_class], sx=_BUTTON
    )


def choice(options: list[str], value: str, changed: Callable[[], Any], css_class: str) -> Any:
    """Radio buttons in a row."""
    group = pmui.RadioButtonGroup(options=options, value=value, size="small", margin=0, align="center", css_classes=[css_class], sx=_CHOICE)
    group.param.watch(lambda _event: changed(), "value")
    return group


def table(frame: Any, css_class: str, columns: list[dict[str, Any]], **params: Any) -> Any:
    """A Tabulator with compact rows. When narrow, it hides columns with the highest `responsive` number first."""
    return pn.widgets.Tabulator(
        frame,
        show_index=False,
        disabled=True,
        layout="fit_columns",
        theme="simple",
        sizing_mode="stretch_width",
        margin=0,
        css_classes=[css_class],
        stylesheets=[TABLE],
        configuration={"responsiveLayout": "hide", "columns": columns, "headerSortElement": '<div class="tabulator-arrow"></div>'},
        **params,
    )
