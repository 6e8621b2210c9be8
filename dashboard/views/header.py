"""Content of the app bar, with the market totals, and the banner below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.records import UnifiedRecord
from dashboard.views.markup import age_element, element, text
from dashboard.views.numbers import format_compact
from dashboard.views.texts import ENGLISH, Texts

__all__ = ["Totals", "banner_markup", "header_markup", "state_class", "total"]

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


def header_markup(totals: Totals, pipeline: PipelineStatus | None, lost: str | None, replayed: bool, tick_ms: int, t: Texts = ENGLISH) -> str:
    """Totals, replayed-data mark, pipeline state and age of the newest tick."""
    parts = [
        _total(t("market_cap"), format_compact(totals.market_cap, "USD")),
        _total(t("volume"), format_compact(totals.volume_24h, "USD")),
        element("div", element("span", text(t("coins"))) + element("b", text(totals.assets)), "cv-total cv-wide"),
        element("span", "", "cv-space"),
    ]
    if replayed:
        parts.append(element("span", text(t("replayed")), "cv-replayed", title=t("replayed_note"), role="note"))
    parts.append(_pipeline_pill(pipeline, lost, t))
    parts.append(age_element(totals.newest_tick_ts, tick_ms, "cv-pill cv-global-age", words=True))
    return element("div", "".join(parts), "cv-header")


def _total(label: str, value: str) -> str:
    return element("div", element("span", text(label)) + element("b", text(value)), "cv-total")


def _pipeline_pill(pipeline: PipelineStatus | None, lost: str | None, t: Texts) -> str:
    if pipeline is None or lost is not None:
        return element(
            "span", element("span", "Pipeline&nbsp;", "cv-word") + "?", "cv-pill cv-pipeline-state cv-wide cv-chip-off", title=lost or t("no_answer")
        )
    shown = element("span", "Pipeline&nbsp;", "cv-word") + text(pipeline.state.lower())
    return element("span", shown, f"cv-pill cv-pipeline-state cv-wide {state_class(pipeline.state)}", title=pipeline.reason)


def banner_markup(feed_lost: str | None, control_lost: str | None, t: Texts = ENGLISH) -> str:
    """Lost connections and their effect on the page; empty if none."""
    lines = []
    if feed_lost is not None:
        meaning = f"{t('feed_lost_means')} ({feed_lost})"
        lines.append(_line("cv-banner-bad cv-feed-lost", t("feed_lost"), meaning))
    if control_lost is not None:
        meaning = f"{t('control_lost_means')} ({control_lost})"
        lines.append(_line("cv-banner-warn cv-control-lost", t("control_lost"), meaning))
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
