"""What the state machine is told and what it answers: plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cryptoviz.components import ComponentState, DesiredState, Probe, Trigger

__all__ = [
    "Action",
    "Adopted",
    "Context",
    "Event",
    "Look",
    "Lost",
    "Observed",
    "Policy",
    "Probed",
    "Restart",
    "Retry",
    "StartFailed",
    "Started",
    "Stopped",
]


class Action(StrEnum):
    """What the reconciler does next for the component."""

    NONE = "none"
    START = "start"
    STOP = "stop"
    REPLACE = "replace"
    """End the actor with little patience; a start follows when the back-off is over."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Patience with one component.

    Attributes:
        grace_ms: how long it may be DEGRADED before it is replaced.
        backoff_base_ms: the first wait; each further failure doubles it.
        backoff_cap_ms: the longest wait, so that a mended cause is noticed within half a minute.
        stable_ms: healthy for this long, and earlier failures no longer count.
        must_deliver: its start alone proves nothing; it is RUNNING once a probe says that it has delivered.
    """

    grace_ms: int
    backoff_base_ms: int = 500
    backoff_cap_ms: int = 30_000
    stable_ms: int = 20_000
    must_deliver: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a component. Times are ms of the monotonic clock, as `Context.now_ms`."""

    state: ComponentState = ComponentState.STOPPED
    trigger: Trigger = Trigger.NONE
    message: str = ""
    since_ms: int = 0
    restarts: int = 0
    failures: int = 0
    """Failures in a row; decides the back-off."""
    retry_at_ms: int = 0
    unhealthy_since_ms: int | None = None
    healthy_since_ms: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """All that a transition may depend on beside the component itself.

    Attributes:
        waits_for: which dependencies are not up, as text; empty when all are.
        held_by: which components still use this one and are ending too, as text; it ends after them.
        jitter: uniform in [0, 1).
    """

    desired: DesiredState
    now_ms: int
    policy: Policy
    waits_for: str = ""
    held_by: str = ""
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """The loop came round, or somebody edited what is wanted."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """At its own start the controller found the component's actor alive."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class Started:
    """`start` returned."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """`start` raised. `terminal`: trying again changes nothing."""

    message: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The actor is gone, as asked."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The actor answered a probe."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class Lost:
    """The actor did not answer because it is dead or being re-made."""

    message: str


@dataclass(frozen=True, slots=True)
class Restart:
    """An operator asks for stop and start."""


@dataclass(frozen=True, slots=True)
class Retry:
    """An operator asks for a start: waiting and giving up end."""


Event = Look | Adopted | Started | StartFailed | Stopped | Probed | Lost | Restart | Retry
