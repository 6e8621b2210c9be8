"""Rows of the pipeline table: desired state, state, metrics and message of each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from cryptoviz.client import PipelineStatus
from cryptoviz.components import DASHBOARD, DEAD_LETTERS_METRIC, ComponentState, ComponentStatus, DesiredState
from dashboard.views.header import state_class
from dashboard.views.markup import breaking_text, duration_element, element, text
from dashboard.views.numbers import format_bytes, format_count, format_figure, plain_number
from dashboard.views.texts import say

__all__ = ["FIELDS", "Verb", "allowed", "component_row", "format_metric", "pipeline_summary", "question", "trend_svg"]

FIELDS: tuple[str, ...] = ("name", "desired", "state", "since", "restarts", "message", "metrics", "start", "stop", "restart", "log")

_MAX_METRICS = 8
_TREND_WIDTH, _TREND_HEIGHT = 36, 10
_NO_TRENDS: Mapping[str, Sequence[float]] = {}

# Unit suffix of a metric's name, and its display form.
_UNITS: tuple[tuple[str, str], ...] = (
    ("_age_s", "age"),
    ("_per_s", "/s"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_bytes", "bytes"),
    ("_mb", "mebibytes"),
    ("_pct", "%"),
    ("_total", ""),
    ("_records", ""),
)


class Verb(StrEnum):
    """User actions on a component."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


def allowed(component: ComponentStatus, verb: Verb) -> bool:
    """Whether the verb would have an effect."""
    wanted = component.desired is DesiredState.RUNNING
    if verb is Verb.START:
        return not wanted or component.state is ComponentState.FAILED
    return wanted


def question(verb: Verb, name: str) -> str:
    """Text of the confirmation dialog."""
    asked = say("{verb} {name}?", verb=say(verb.capitalize()), name=say(name))
    if name == DASHBOARD and verb is Verb.STOP:
        return f"{asked} {say('This page is served by it: start it again with `cryptoviz start dashboard`.')}"
    if name == DASHBOARD and verb is Verb.RESTART:
        return f"{asked} {say('This page is served by it and reconnects.')}"
    consequence = {
        Verb.START: "Its dependencies start too.",
        Verb.STOP: "Components that depend on it wait until it runs again.",
        Verb.RESTART: "It stops, then starts again.",
    }
    return f"{asked} {say(consequence[verb])}"


def component_row(component: ComponentStatus, trends: Mapping[str, Sequence[float]] = _NO_TRENDS, *, operates: bool = True) -> dict[str, str]:
    """Markup of a component's row, by field. `trends`: recent values of its metrics; `operates`: whether the visitor may use the verbs."""
    url = component.url if component.url and component.url.startswith(("http://", "https://")) else None
    name = breaking_text(component.name)
    shown = name if url is None else element("a", name, "", href=url, target="_blank", rel="noopener")
    depends = say("needs {names}", names=", ".join(component.depends_on)) if component.depends_on else str(component.kind)
    nodes = element("small", breaking_text(say("on {names}", names=", ".join(dict.fromkeys(component.nodes)))), "cv-nodes") if component.nodes else ""
    # On a phone the message column is hidden, so problems are shown here.
    said = "" if component.state is ComponentState.RUNNING else component.message
    problem = element("small", breaking_text(said), "cv-narrow cv-msg") if said else ""
    row = {
        "component": component.name,
        "name": element("span", element("b", shown) + element("small", breaking_text(depends)) + nodes + problem, "cv-comp"),
        "desired": element(
            "span", text(component.desired), "cv-chip " + ("cv-chip-good" if component.desired is DesiredState.RUNNING else "cv-chip-off")
        ),
        "state": element("span", text(component.state), f"cv-chip cv-component-state {state_class(component.state)}", data_component=component.name),
        "since": duration_element(component.since_ms, "cv-num", say("time in this state")),
        "restarts": element("span", text(component.restarts), "cv-num" + (" cv-warn" if component.restarts else " cv-muted")),
        "message": element("span", _message(component), "cv-msg"),
        "metrics": _metrics(component.metrics, trends),
    }
    for verb in Verb:
        enabled = operates and allowed(component, verb)
        row[verb] = element(
            "button",
            text(say(verb.capitalize())),
            f"cv-act cv-act-{verb}",
            type="button",
            aria_label=f"{say(verb.capitalize())} {component.name}",
            data_act=verb,
            data_name=component.name,
            data_confirm=question(verb, component.name),
            disabled=None if enabled else "",
            title=None if operates else say("Your role is read"),
        )
    row["log"] = element(
        "button",
        text(say("Log")),
        "cv-act cv-act-log",
        type="button",
        aria_label=say("Log of {name}", name=component.name),
        data_act="log",
        data_name=component.name,
    )
    return row


def _message(component: ComponentStatus) -> str:
    why = breaking_text(component.message) if component.message else ""
    trigger = element("span", text(component.trigger), "cv-muted") if component.trigger != "none" else ""
    return f"{trigger} {why}".strip()


def trend_svg(points: Sequence[float]) -> str:
    """A line of recent values; empty without a change."""
    known = [point for point in points if point == point]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if len(known) < 2 or low == high:
        return ""
    step = _TREND_WIDTH / (len(known) - 1)
    line = " ".join(
        f"{plain_number(number * step, 1)},{plain_number(_TREND_HEIGHT - (point - low) / (high - low) * _TREND_HEIGHT, 1)}"
        for number, point in enumerate(known)
    )
    shape = element("polyline", "", "", points=line)
    return element("svg", shape, "cv-trend", viewBox=f"-1 -1 {_TREND_WIDTH + 2} {_TREND_HEIGHT + 2}", aria_hidden="true")


def _metrics(metrics: dict[str, float], trends: Mapping[str, Sequence[float]]) -> str:
    reasons = {name: number for name, number in metrics.items() if name.startswith(DEAD_LETTERS_METRIC) and name != f"{DEAD_LETTERS_METRIC}total"}
    rest = [(name, number) for name, number in metrics.items() if name not in reasons]
    shown = [
        _metric(name, number, reasons if name == f"{DEAD_LETTERS_METRIC}total" else {}, trend_svg(trends.get(name, ())))
        for name, number in rest[:_MAX_METRICS]
    ]
    if hidden := rest[_MAX_METRICS:]:
        listed = ", ".join(" ".join(format_metric(name, number)) for name, number in hidden)
        shown.append(element("span", say("+{count} more", count=len(hidden)), "cv-more-metrics", title=listed))
    return element("div", "".join(shown), "cv-metrics")


def _metric(name: str, number: float, reasons: dict[str, float], trend: str) -> str:
    label, value = format_metric(name, number)
    by_reason = ", ".join(
        f"{reason.removeprefix(DEAD_LETTERS_METRIC).removesuffix('_total')} {format_count(count)}" for reason, count in sorted(reasons.items())
    )
    title = say("{reasons}. `cryptoviz dead-letters` shows them.", reasons=by_reason) if reasons else None
    return element("span", f"{breaking_text(label)} {element('b', text(value))}{trend}", "cv-dead" if reasons else "", title=title)


def format_metric(name: str, value: float) -> tuple[str, str]:
    """Label and value with unit of a metric: `last_poll_age_s` becomes ("last poll age", "1.2 s"), `lag_ms@x` ("lag x", "3 ms")."""
    name, _, part = name.partition("@")
    label, shown = _format(name, value)
    return (f"{label} {part}" if part else label), shown


def _format(name: str, value: float) -> tuple[str, str]:
    if name.startswith("bytes_"):
        return name.removesuffix("_total").replace("_", " "), format_bytes(value)
    for suffix, unit in _UNITS:
        if name.endswith(suffix) and len(name) > len(suffix):
            label = name.removesuffix(suffix).replace("_", " ")
            if unit == "age":
                return say("{name} age", name=label), f"{format_figure(value)} s"
            if unit == "bytes":
                return label, format_bytes(value)
            if unit == "mebibytes":
                return label, format_bytes(value * 2**20)
            return label, f"{format_figure(value)}{'' if unit in ('/s', '%', '') else ' '}{unit}"
    return name.replace("_", " "), format_figure(value)


def pipeline_summary(pipeline: PipelineStatus) -> str:
    """Overall state and reason, in one line."""
    running = sum(component.state is ComponentState.RUNNING for component in pipeline.components)
    return (
        element("span", "Pipeline", "cv-title")
        + element("span", text(pipeline.state), f"cv-chip cv-pipeline-overall {state_class(pipeline.state)}")
        + element("span", text(f"{running} {say('of')} {len(pipeline.components)} {say('running')}"), "cv-note")
        + element("span", breaking_text(say(pipeline.reason)), "cv-note cv-pipeline-reason")
    )
