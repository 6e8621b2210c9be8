"""Component states, probes and the interface of component actors. The state transitions are in `control.reconcile.state`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

__all__ = [
    "COLLECTOR", "DASHBOARD", "DEAD_LETTERS_METRIC", "FAILURES_METRIC", "FRESH_TICKS", "LAKE", "MAINTENANCE", "MARKET", "PER_INSTRUMENT",
    "ComponentActor", "ComponentKind", "ComponentState", "ComponentStatus", "DesiredState", "Probe", "Trigger", "scraper_name", "stream_name",
]  # fmt: skip

COLLECTOR, LAKE, MAINTENANCE, DASHBOARD, MARKET = "collector", "lake", "maintenance", "dashboard", "market-replay"
"""Names of components: of the Ray actors, of the log files, and in commands. Those of engines are in `cryptoviz.engines.build`, of scrapers below."""
FAILURES_METRIC = "failures_total"
"""Of a scraper: polls without a price."""
DEAD_LETTERS_METRIC = "dead_letters_"
"""Of the lake job, before `total` or `<reason>_total`."""
PER_INSTRUMENT = "@"
"""Of a stream: between the name of a metric and the instrument that it is of."""

FRESH_TICKS = 3
"""Data older than this many ticks is not fresh (DESIGN 7)."""


def scraper_name(provider: str) -> str:
    """Name of the component that polls the provider."""
    return f"scraper/{provider}"


def stream_name(venue: str, shard: int = 0) -> str:
    """Name of the component that records the trades of the venue; of its further shards, with a number."""
    return f"stream/{venue}" if shard == 0 else f"stream/{venue}-{shard + 1}"


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
    """State requested by the operator; the only state that RPCs edit."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class Trigger(StrEnum):
    """Cause of the current state."""

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
    """Kind of a component."""

    ENGINE = "engine"
    EXTERNAL = "external"
    MARKET = "market"
    SCRAPER = "scraper"
    STREAM = "stream"
    COLLECTOR = "collector"
    LAKE = "lake"
    MAINTENANCE = "maintenance"
    DASHBOARD = "dashboard"


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of a component's self-check.

    Attributes:
        running: `start` was called in this incarnation and the work continues; False after Ray restarted the actor.
        healthy: data is fresh (for engines: the service answers). `running and not healthy` means DEGRADED.
        message: one human-readable line; the reason when not healthy.
        metrics: keys are snake_case with the unit as suffix (`last_poll_age_s`, `rows_total`, `lag_records`).
        pid: process id of the work (the actor or its child).
        url: user interface, if it has one.
        degraded: data is fresh but of reduced quality. Also shown as DEGRADED, but the component is not replaced, since that would not help.
        delivered: this incarnation has delivered at least once: a good poll, a published tick, a completed batch. Until then components with
            `Policy.must_deliver` (`control.reconcile.components`) are STARTING, not RUNNING, and the message gives the reason.
        nodes: addresses of nodes where parts of it run apart from its actor: one for each executor of the lake.
    """

    running: bool
    healthy: bool
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    url: str | None = None
    degraded: bool = False
    delivered: bool = True
    nodes: tuple[str, ...] = ()


class ComponentActor(Protocol):
    """Interface of a component's Ray actor, called by the controller. All methods are async and idempotent.

    The lake's also has `prepare`, called while its dependencies start: it returns at once, and `start` follows.
    """

    async def start(self) -> None:
        """Begin the work and return when it runs. A second call is a no-op. Raises a CryptoVizError on failure."""

    async def stop(self) -> None:
        """Drain and end the work within the component's stop timeout; the controller then kills the actor."""

    async def probe(self) -> Probe:
        """Check the work. Returns within 2 s and never raises for a failure of the work."""


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """Status of one component, as in `cryptoviz status`. `since_ms` is the UTC epoch ms of the last change of state.

    `nodes`: address of the node of its actor, then of each of its executors; empty if unknown.
    """

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
    nodes: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the actor's work has begun, so that its methods can be called, even before the first delivery."""
        begun = self.state is ComponentState.STARTING and self.trigger is Trigger.STARTED
        return begun or self.state in (ComponentState.RUNNING, ComponentState.DEGRADED)
