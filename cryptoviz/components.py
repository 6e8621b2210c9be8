"""What a component is, to all who start, watch or show one. The transitions live in `control.reconcile.state`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

__all__ = ["ComponentActor", "ComponentKind", "ComponentState", "ComponentStatus", "DesiredState", "Probe", "Trigger"]


class ComponentState(StrEnum):
    """Observed state."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    STOPPING = "STOPPING"
    BACKOFF = "BACKOFF"
    FAILED = "FAILED"


class DesiredState(StrEnum):
    """What the operator asked for; the only thing that RPCs edit."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class Trigger(StrEnum):
    """Why the state is what it is."""

    NONE = "none"
    OPERATOR = "operator"
    DEPENDENCY = "dependency"
    STARTED = "started"
    PROBE = "probe"
    STALE = "stale"
    DIED = "died"
    START_FAILED = "start_failed"
    BACKOFF_OVER = "backoff_over"


class ComponentKind(StrEnum):
    """What sort of thing a component is."""

    ENGINE = "engine"
    EXTERNAL = "external"
    MARKET = "market"
    SCRAPER = "scraper"
    COLLECTOR = "collector"
    LAKE = "lake"
    MAINTENANCE = "maintenance"
    DASHBOARD = "dashboard"


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at a component by its own actor.

    Attributes:
        running: `start` has been called in this incarnation and the work goes on; False after the actor was re-made.
        healthy: data is fresh (for engines: the service answers). `running and not healthy` means DEGRADED.
        message: one line for a person, says why when not healthy.
        metrics: numbers by snake_case name with its unit (`last_poll_age_s`, `rows_total`, `lag_records`).
        pid: process id of the work (the actor's own, or its child's).
        url: where a person can look at it, if anywhere.
        degraded: data is fresh but poorer than it should be. Also DEGRADED, but never a reason to replace the component: that would not help.
        delivered: this incarnation has done once what it is for: a good poll, a published tick, a completed batch. Until then a component whose kind
            delivers (`control.reconcile.components`) is STARTING, not RUNNING, and the message says why nothing came yet.
    """

    running: bool
    healthy: bool
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    url: str | None = None
    degraded: bool = False
    delivered: bool = True


class ComponentActor(Protocol):
    """What the controller asks of each component's Ray actor. All methods are async and safe to call again."""

    async def start(self) -> None:
        """Begin the work; returns once it is under way. A second call does nothing. Raises a CryptoVizError if it cannot."""
        ...

    async def stop(self) -> None:
        """Drain and end the work within the component's grace; the controller kills the actor afterwards."""
        ...

    async def probe(self) -> Probe:
        """A look that returns within 2 s and never raises for a fault of the work itself."""
        ...


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One row of `cryptoviz status`. `since_ms` is UTC epoch ms of the last change of state."""

    name: str
    kind: ComponentKind
    desired: DesiredState
    state: ComponentState
    trigger: Trigger
    message: str
    since_ms: int
    restarts: int
    metrics: dict[str, float]
    depends_on: tuple[str, ...]
    pid: int | None = None
    url: str | None = None

    @property
    def works(self) -> bool:
        """Its actor has begun its work and can be asked, whether it has delivered anything yet or not."""
        begun = self.state is ComponentState.STARTING and self.trigger is Trigger.STARTED
        return begun or self.state in (ComponentState.RUNNING, ComponentState.DEGRADED)
