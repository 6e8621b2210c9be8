"""Inputs and outputs of the state machine: plain values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cryptoviz.components import ComponentState, DesiredState, Probe, Trigger

__all__ = [
    "Action",
    "Adopted",
    "Context",
    "Event",
    "Lost",
    "Observed",
    "Policy",
    "Probed",
    "Reconcile",
    "Restart",
    "Retry",
    "StartFailed",
    "Started",
    "Stopped",
]


class Action(StrEnum):
    """Next action of the reconciler for the component."""

    NONE = "none"
    PREPARE = "prepare"
    """Create the actor, so that its process starts and imports while the component waits for its dependencies."""
    START = "start"
    STOP = "stop"
    REPLACE = "replace"
    """Stop the actor with a short timeout; a start follows after the back-off."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Grace period and back-off of one component.

    Attributes:
        grace_ms: how long it may be unhealthy before it is replaced.
        backoff_base_ms: the first back-off; each further failure doubles it.
        backoff_cap_ms: the longest back-off, so that a fixed cause takes effect within half a minute.
        stable_ms: after being healthy this long, earlier failures no longer count.
        must_deliver: the component is RUNNING only after a probe reported a delivery.
    """

    grace_ms: int
    backoff_base_ms: int = 500
    backoff_cap_ms: int = 30_000
    stable_ms: int = 20_000
    must_deliver: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """Observed state of a component. Times are ms of the monotonic clock, as `Context.now_ms`."""

    state: ComponentState = ComponentState.STOPPED
    trigger: Trigger = Trigger.NONE
    message: str = ""
    since_ms: int = 0
    restarts: int = 0
    failures: int = 0
    """Consecutive failures; determines the back-off."""
    retry_at_ms: int = 0
    unhealthy_since_ms: int | None = None
    healthy_since_ms: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    url: str | None = None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """Inputs of a transition beside the component and the event.

    Attributes:
        waits_for: text that lists the dependencies that are not up; empty if all are.
        held_by: text that lists the stopping components that still use this one; it stops after them.
        jitter: uniform in [0, 1).
    """

    desired: DesiredState
    now_ms: int
    policy: Policy
    waits_for: str = ""
    held_by: str = ""
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Reconcile:
    """A pass of the loop, or an edit of the desired state."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The controller found the component's actor at its own start."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class Started:
    """`start` returned."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """`start` raised. `terminal`: a retry cannot succeed."""

    message: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The actor has stopped as requested."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The actor answered a probe."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class Lost:
    """The actor is dead or being restarted."""

    message: str


@dataclass(frozen=True, slots=True)
class Restart:
    """An operator requested a restart."""


@dataclass(frozen=True, slots=True)
class Retry:
    """An operator requested a start: ends BACKOFF and FAILED."""


Event = Reconcile | Adopted | Started | StartFailed | Stopped | Probed | Lost | Restart | Retry
