"""The status of the whole pipeline, as shown by `cryptoviz status` and sent by `WatchPipeline`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptoviz.components import FAILURES_METRIC, ComponentKind, ComponentState, ComponentStatus, DesiredState
from cryptoviz.times import iso_ms

if TYPE_CHECKING:
    from cryptoviz.settings import Settings

__all__ = ["PipelineStatus", "component_json", "overall", "pipeline_id"]

# The pipeline's state is the worst state of its enabled components: the first of these that any of them is in.
_WORST_FIRST = (
    ComponentState.FAILED,
    ComponentState.BACKOFF,
    ComponentState.STARTING,
    ComponentState.STOPPING,
    ComponentState.DEGRADED,
    ComponentState.STOPPED,
    ComponentState.RUNNING,
)


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """All components in start order.

    Attributes:
        state: RUNNING when all enabled components are RUNNING, STOPPED when none is enabled and none runs, else the worst state of the enabled ones.
        reason: one human-readable line: which components determine the state.
        components: in start order.
        replayed: the prices come from the replay market.
        version: grows with each change; `WatchPipeline` resumes from it.
        id: identifies the pipeline; required by calls that act on the whole pipeline. Empty from an older service.
    """

    state: ComponentState
    reason: str
    components: tuple[ComponentStatus, ...]
    replayed: bool = False
    version: int = 0
    id: str = ""

    def component(self, name: str) -> ComponentStatus | None:
        """The component of that name, None if it does not exist."""
        return next((component for component in self.components if component.name == name), None)

    def to_json_dict(self) -> dict[str, Any]:
        """The output of `cryptoviz status --json`. `since` is ISO 8601 in UTC."""
        return {"state": str(self.state), "reason": self.reason, "components": [component_json(component) for component in self.components]}


def pipeline_id(settings: Settings) -> str:
    """An id that is constant for a data directory and unique to it."""
    place = hashlib.blake2b(str(settings.home.absolute()).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{settings.ray.namespace}-{place}"


def overall(components: Iterable[ComponentStatus]) -> tuple[ComponentState, str]:
    """State and reason of the pipeline: the worst state of the enabled components, or STOPPING while disabled components still run."""
    everything = tuple(components)
    enabled = [component for component in everything if component.desired is DesiredState.RUNNING]
    if not enabled:
        ending = [component.name for component in everything if component.state is not ComponentState.STOPPED]
        if ending:
            return ComponentState.STOPPING, f"stopping {', '.join(ending)}"
        return ComponentState.STOPPED, "no component is enabled"
    for state in _WORST_FIRST:
        those = [component for component in enabled if component.state is state]
        if those:
            reason = _unreached(enabled) + _reason(state, those, len(enabled), len(everything))
            return ComponentState.DEGRADED if _only_unreachable_scrapers(those, enabled) else state, reason
    raise AssertionError("a component is in none of the states")  # _WORST_FIRST contains every state


def _only_unreachable_scrapers(those: list[ComponentStatus], enabled: list[ComponentStatus]) -> bool:
    """Prices arrive, and only scrapers whose provider never answered are STARTING. A provider blocked in this network may never answer."""
    prices = any(one.kind is ComponentKind.COLLECTOR and one.state is ComponentState.RUNNING for one in enabled)
    return prices and all(one.state is ComponentState.STARTING and _never_answered(one) for one in those)


def _never_answered(one: ComponentStatus) -> bool:
    return one.kind is ComponentKind.SCRAPER and one.metrics.get(FAILURES_METRIC, 0) > 0


def _unreached(enabled: list[ComponentStatus]) -> str:
    """Advice for the case that no provider has ever answered, which is usually a local network problem."""
    scrapers = [one for one in enabled if one.kind is ComponentKind.SCRAPER]
    if scrapers and all(one.state is ComponentState.STARTING and _never_answered(one) for one in scrapers):
        return "no provider has answered yet: check the network, DNS and proxy (`cryptoviz doctor`, `cryptoviz providers`); "
    return ""


def _reason(state: ComponentState, those: list[ComponentStatus], enabled: int, known: int) -> str:
    if state is ComponentState.RUNNING:
        return "all components run" if enabled == known else f"all {enabled} enabled components run ({known - enabled} disabled)"
    return "; ".join(f"{one.name} is {state}" + (f": {one.message}" if one.message else "") for one in those)


def component_json(status: ComponentStatus) -> dict[str, Any]:
    """A component as in `cryptoviz status --json`."""
    return {
        "name": status.name,
        "kind": str(status.kind),
        "desired": str(status.desired),
        "state": str(status.state),
        "trigger": str(status.trigger),
        "message": status.message,
        "since": iso_ms(status.since_ms),
        "restarts": status.restarts,
        "metrics": dict(status.metrics),
        "depends_on": list(status.depends_on),
        "pid": status.pid,
        "url": status.url,
        "nodes": list(status.nodes),
    }
