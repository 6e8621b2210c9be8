"""Markup of the Markets page's frame: controls and the places of its parts."""

from __future__ import annotations

from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import texts

__all__ = ["markets_frame"]

_FILTERS = ("all", "rising", "falling", "fallbacks")


def markets_frame(language: str) -> str:
    """The table's rows, header and column menu are drawn by `web/markets.js`."""
    t = texts(language)
    search = element(
        "label",
        element("span", text(t("search")), "cv-hidden") + '<input type="search" autocomplete="off" spellcheck="false" '
        f'placeholder="{text(t("search"))}  /">',
        "cv-search",
    )
    options = "".join(element("option", text(t(name)), value=name) for name in _FILTERS)
    show = element("label", element("span", text(t("show")), "cv-hidden") + element("select", options, "cv-filter"), "")
    watched = element(
        "button", "★", "cv-toggle cv-watched", type="button", aria_pressed="false", aria_label=t("watched_only"), title=t("watched_only")
    )
    shapes = "".join(
        element("button", text(t(f"as_{shape}")), "cv-choice", type="button", data_shape=shape, aria_pressed="true" if shape == "table" else "false")
        for shape in ("table", "heat")
    )
    columns = element("details", element("summary", text(t("columns"))) + '<div class="cv-column-list"></div>', "cv-columns")
    head = element(
        "div",
        element("h2", text(t("coins")), "cv-title") + element("span", "", "cv-note cv-coin-count") + '<span class="cv-space"></span>'
        + search + show + watched + element("div", shapes, "cv-choices", role="group") + columns,
        "cv-bar",
    )  # fmt: skip
    strip = element("div", "", "cv-strip-place", data_part="market.summary")
    waiting = element("div", state_markup("loading", t("waiting")), "cv-waiting-place", data_part="market.waiting")  # until the script has come
    table = element("div", "", "cv-coin-table", tabindex="0", role="region", aria_label=t("coins"))
    heat = element("div", "", "cv-heat", hidden="", tabindex="-1", role="region", aria_label=t("as_heat"))
    return element("div", head + strip + waiting + table + heat, "cv-card cv-coins")
