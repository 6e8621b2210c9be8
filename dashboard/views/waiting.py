"""What stands where prices will be: that they are awaited, why they are not there, and what to do about it."""

from __future__ import annotations

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState, ComponentStatus
from dashboard.views.markup import element, text
from dashboard.views.quote import state_markup

__all__ = ["waiting_markup"]

_TITLE = "Waiting for the first prices"
_ADVICE = (
    "`cryptoviz providers` shows the last error of each provider, `cryptoviz doctor` checks this machine and its network, "
    "`cryptoviz logs COMPONENT` has the details."
)
_START = "`cryptoviz start` or the Pipeline view starts it."


def waiting_markup(pipeline: PipelineStatus | None, lost: str | None) -> str:
    """The same words as `cryptoviz status` has: the pipeline's reason, and each component that does not run with its message."""
    if pipeline is None:
        detail = "" if lost is None else f"The control service does not answer: {lost}. Is the pipeline up? `cryptoviz status` says."
        return state_markup("loading", _TITLE, detail)
    if pipeline.state is ComponentState.STOPPED:
        return state_markup("empty", "The pipeline is stopped", f"{pipeline.reason}. {_START}")
    troubled = [one for one in pipeline.components if one.state not in (ComponentState.RUNNING, ComponentState.STOPPED)]
    lines = "".join(element("span", _line(one), "cv-waiting") for one in troubled)
    advice = element("span", text(_ADVICE), "cv-note") if troubled else ""
    head = element("b", text(_TITLE)) + element("span", text(pipeline.reason))
    return element("div", head + lines + advice, f"cv-state cv-state-{'error' if troubled else 'loading'}", role="status")


def _line(component: ComponentStatus) -> str:
    said = f": {component.message}" if component.message else ""
    return element("b", text(f"{component.name} {component.state}")) + text(said)
