"""Placeholders without data, also before the first prices."""

from __future__ import annotations

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState, ComponentStatus
from dashboard.views.markup import element, text
from dashboard.views.texts import say

__all__ = ["state_markup", "waiting_markup"]

_TITLE = "Waiting for the first prices"
_ADVICE = (
    "`cryptoviz providers` shows the last error of each provider, `cryptoviz doctor` checks this machine and its network, "
    "`cryptoviz logs COMPONENT` has the details."
)
_SILENT = "The control service does not answer: {reason}. Check with `cryptoviz status` whether the pipeline runs."
_START = "Start it with `cryptoviz start` or in the Pipeline view."


def state_markup(kind: str, title: str, detail: str = "") -> str:
    """Placeholder without data: `kind` is empty, loading or error."""
    body = element("b", text(say(title))) + (element("span", text(say(detail))) if detail else "")
    return element("div", body, f"cv-state cv-state-{kind}", role="alert" if kind == "error" else "status")


def waiting_markup(pipeline: PipelineStatus | None, lost: str | None) -> str:
    """The texts of `cryptoviz status`: the pipeline's reason, and each component that does not run with its message."""
    if pipeline is None:
        detail = "" if lost is None else say(_SILENT, reason=lost)
        return state_markup("loading", _TITLE, detail)
    if pipeline.state is ComponentState.STOPPED:
        return state_markup("empty", "The pipeline is stopped", f"{say(pipeline.reason)}. {say(_START)}")
    troubled = [one for one in pipeline.components if one.state not in (ComponentState.RUNNING, ComponentState.STOPPED)]
    lines = "".join(element("span", _line(one), "cv-waiting") for one in troubled)
    advice = element("span", text(say(_ADVICE)), "cv-note") if troubled else ""
    head = element("b", text(say(_TITLE))) + element("span", text(say(pipeline.reason)))
    return element("div", head + lines + advice, f"cv-state cv-state-{'error' if troubled else 'loading'}", role="status")


def _line(component: ComponentStatus) -> str:
    said = f": {component.message}" if component.message else ""
    return element("b", text(f"{component.name} {component.state}")) + text(said)
