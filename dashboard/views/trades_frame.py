"""Frame of the Trades page: places of its parts."""

from __future__ import annotations

from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import texts

__all__ = ["trades_frame"]


def trades_frame(language: str) -> str:
    """The tape is drawn by `web/trades.js`."""
    t = texts(language)

    def card(title: str, body: str, classes: str, head: str = "") -> str:
        bar = element("div", element("h2", text(t(title)), "cv-title") + head, "cv-bar")
        return element("div", bar + body, f"cv-card {classes}")

    def place(part: str, loading: str) -> str:
        return element("div", state_markup("loading", t(loading)), "cv-scroll-x", data_part=part)

    tape = element("div", state_markup("loading", t("tr_waiting")), "cv-tape", tabindex="0", role="region", aria_label=t("tr_tape"))
    return (
        card("tr_streams", place("trades.streams", "no_answer"), "cv-streams-card")
        + card("tr_instruments", place("trades.instruments", "tr_reading"), "cv-instruments-card")
        + card("tr_tape", tape, "cv-tape-card", element("span", "", "", data_part="trades.chosen"))
        + card("tr_gap_title", place("trades.gaps", "tr_reading"), "cv-trade-gaps-card")
    )
