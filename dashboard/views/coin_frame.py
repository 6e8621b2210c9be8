"""Markup of the Coin page's frame: controls and the places of its parts."""

from __future__ import annotations

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.views.history_rows import RANGES_MS
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import texts

__all__ = ["coin_frame"]

_SPACE = '<span class="cv-space"></span>'


def coin_frame(language: str) -> str:
    """The chart is drawn by `web/chart.js`."""
    t = texts(language)
    intervals = "".join(element("button", name, "cv-choice", type="button", data_tf=name) for name in INTERVALS_MS)
    toggles = "".join(
        element("button", text(t(name)), "cv-toggle", type="button", data_chart=name, aria_pressed="false")
        for name in ("averages", "log", "consensus")
    )
    compare = element("label", element("span", text(t("compare")), "cv-hidden") + '<select class="cv-compare"></select>', "cv-wide-only")
    controls = element(
        "div",
        element("div", intervals, "cv-choices cv-intervals", role="group", aria_label=t("interval"))
        + element("button", text(t("now")), "cv-button cv-now", type="button")
        + element("div", toggles, "cv-choices cv-chart-toggles", role="group") + compare + _SPACE
        + '<span class="cv-legend cv-num" aria-live="off"></span>',
        "cv-bar",
    )  # fmt: skip
    chart = element(
        "div",
        element("div", element("div", "", "cv-quote-place", data_part="quote"), "cv-bar cv-quote-bar")
        + controls
        + element("div", "", "cv-chart-place", role="img", aria_label=t("chart_of"))
        + element("div", state_markup("loading", t("waiting")), "cv-chart-state")
        + element("div", "", "cv-caption", data_part="chart.caption"),
        "cv-card cv-chart",
    )
    ranges = "".join(element("button", name, "cv-choice", type="button", data_act="range", data_value=name) for name in RANGES_MS)
    downloads = "".join(
        element("button", label, f"cv-button cv-download-{kind}", type="button", data_act="download", data_kind=kind)
        for kind, label in (("csv", "CSV"), ("parquet", "Parquet"))
    )
    history = element(
        "div",
        element(
            "div",
            element("div", "", data_part="history.title") + element("div", ranges, "cv-choices cv-ranges", role="group") + _SPACE
            + downloads,
            "cv-bar",
        )
        + element("div", state_markup("loading", "Reading the lake"), "cv-history-table", data_part="history.rows"),
        "cv-card cv-history",
    )  # fmt: skip
    statistics = element(
        "div",
        element("div", element("div", "", data_part="statistics.title"), "cv-bar")
        + element("div", state_markup("loading", "Reading the lake"), "cv-statistics-body", data_part="statistics"),
        "cv-card cv-statistics",
    )
    return chart + history + statistics
