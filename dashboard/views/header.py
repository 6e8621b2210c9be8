"""Content of the app bar, with the market totals, and the banner below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.records import UnifiedRecord
from dashboard.views.markup import age_element, element, text
from dashboard.views.numbers import format_compact

__all__ = ["REPLAYED_NOTE", "Totals", "banner_markup", "header_markup", "state_class", "total"]

REPLAYED_NOTE = "Prices are from the replay market: recorded history shifted to now, not live"

_STATE_CLASSES = {
    ComponentState.RUNNING: "cv-chip-good",
    ComponentState.STARTING: "cv-chip-busy",
    ComponentState.STOPPING: "cv-chip-busy",
    ComponentState.DEGRADED: "cv-chip-warn",
    ComponentState.BACKOFF: "cv-chip-warn",
    ComponentState.FAILED: "cv-chip-bad",
    ComponentState.STOPPED: "cv-chip-off",
}


def state_class(state: ComponentState) -> str:
    """CSS class of a state's chip, which always shows the state's name too."""
    return _STATE_CLASSES[state]


def header_markup(totals: Totals, pipeline: PipelineStatus | None, lost: str | None, replayed: bool, tick_ms: int) -> str:
    """Totals, replayed-data mark, pipeline state and age of the newest tick."""
    parts = [
        _total("Market cap", format_compact(totals.market_cap, "USD")),
        _total("24h volume", format_compact(totals.volume_24h, "USD")),
        element("div", element("span", "Coins") + element("b", text(totals.assets)), "cv-total cv-wide"),
        element("span", "", "cv-space"),
    ]
    if replayed:
        parts.append(element("span", "REPLAYED DATA", "cv-replayed", title=REPLAYED_NOTE, role="note", aria_label=f"Replayed data. {REPLAYED_NOTE}"))
    parts.append(_pipeline_pill(pipeline, lost))
    parts.append(age_element(totals.newest_tick_ts, tick_ms, "cv-pill cv-global-age", words=True))
    return element("div", "".join(parts), "cv-header")


def _total(label: str, value: str) -> str:
    return element("div", element("span", text(label)) + element("b", text(value)), "cv-total")


def _pipeline_pill(pipeline: PipelineStatus | None, lost: str | None) -> str:
    if pipeline is None or lost is not None:
        return element(
            "span", element("span", "Pipeline&nbsp;", "cv-word") + "?", "cv-pill cv-pipeline-state cv-wide cv-chip-off", title=lost or "No answer yet"
        )
    shown = element("span", "Pipeline&nbsp;", "cv-word") + text(pipeline.state.lower())
    return element("span", shown, f"cv-pill cv-pipeline-state cv-wide {state_class(pipeline.state)}", title=pipeline.reason)


def banner_markup(feed_lost: str | None, control_lost: str | None) -> str:
    """Lost connections and their effect on the page; empty if none."""
    lines = []
    if feed_lost is not None:
        meaning = f"The last known prices are shown. Reconnecting… ({feed_lost})"
        lines.append(_line("cv-banner-bad cv-feed-lost", "Live data lost.", meaning))
    if control_lost is not None:
        meaning = f"The last known states are shown; buttons may fail. Reconnecting… ({control_lost})"
        lines.append(_line("cv-banner-warn cv-control-lost", "Control service lost.", meaning))
    return "".join(lines)


def _line(classes: str, title: str, meaning: str) -> str:
    return element("div", element("b", text(title)) + element("span", text(meaning)), f"cv-banner {classes}", role="alert")


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all assets. A sum is None if no asset has the figure; `newest_tick_ts` is UTC epoch ms."""

    assets: int
    market_cap: float | None
    volume_24h: float | None
    newest_tick_ts: int | None


def total(records: Iterable[UnifiedRecord]) -> Totals:
    """Sum the latest records of all assets. Figures in currencies other than US dollars are omitted."""
    rows = list(records)
    dollars = [row for row in rows if row.quote_currency == "USD"]
    return Totals(
        assets=len(rows),
        market_cap=_sum(row.market_cap for row in dollars),
        volume_24h=_sum(row.volume_24h for row in dollars),
        newest_tick_ts=max((row.tick_ts for row in rows), default=None),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
