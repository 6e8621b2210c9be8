"""Markup of the pipeline page: the table of components and the links to the consoles."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.views.markup import element, text
from dashboard.views.pipeline_rows import FIELDS, Verb, question
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["PIPELINE", "component_table", "console_links", "pipeline_frame"]

PIPELINE = "the pipeline"
_HEADS = {
    "name": "Component", "desired": "Desired", "state": "State", "since": "Since", "restarts": "Restarts", "message": "Trigger, message",
    "metrics": "Metrics",
}  # fmt: skip


def pipeline_frame(_language: str) -> str:
    """The places of the parts, and the verbs on the whole pipeline."""
    verbs = "".join(
        element(
            "span",
            element(
                "button",
                text(say("Start all" if verb is Verb.START else "Stop all")),
                "cv-button",
                type="button",
                data_act=verb,
                data_name=PIPELINE,
                data_confirm=question(verb, PIPELINE),
            ),
            f"cv-{verb}-pipeline",
        )
        for verb in (Verb.START, Verb.STOP)
    )
    line = element("div", "", "cv-pipeline-line", data_part="pipeline.line")
    body = element("div", state_markup("loading", "Connecting to the control service"), "cv-components-body", data_part="pipeline.table")
    overview = element("div", element("div", line + '<span class="cv-space"></span>' + verbs, "cv-bar") + body, "cv-card cv-components")
    return overview + element("div", element("div", "", "cv-bar", data_part="pipeline.consoles"), "cv-card cv-consoles")


def component_table(rows: Sequence[dict[str, str]]) -> str:
    """The table of `component_row`s."""
    head = "".join(
        element("th", text(say(_HEADS.get(field, ""))) or element("span", text(field), "cv-hidden"), f"cv-col-{field}", scope="col")
        for field in FIELDS
    )
    body = "".join(
        element("tr", "".join(element("td", row[field], f"cv-col-{field}") for field in FIELDS), data_key=row["component"]) for row in rows
    )
    return element("table", element("thead", element("tr", head)) + element("tbody", body), "cv-table cv-pipeline-table")


def console_links(places: Sequence[tuple[str, str]]) -> str:
    """Links to the consoles of the engines: (name, address)."""
    links = [element("a", text(name), "", href=address, target="_blank", rel="noopener") for name, address in places]
    return element("div", element("b", text(say("Consoles"))) + "".join(links), "cv-links")
