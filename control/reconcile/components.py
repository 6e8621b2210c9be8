"""The table of components: what the pipeline of given settings consists of, in start order, and how patient to be with each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from control.reconcile.state_types import Policy
from cryptoviz.components import ComponentKind
from cryptoviz.errors import UnknownComponent
from cryptoviz.settings import Settings

__all__ = ["ComponentSpec", "ComponentTable", "build_table", "is_component_name"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9_-]{0,31})?")
"""A component's name becomes an actor's name and part of a log file's path: no dots, no line breaks, one slash."""

_ENGINE_HOST = "control.reconcile.engine_actor:EngineHost"
_ENGINE_START_S = 90.0
"""Above the 60 s after which an engine itself gives up and says why."""
_MIN_GRACE_S = 30.0
_DELIVER = frozenset({ComponentKind.SCRAPER, ComponentKind.COLLECTOR, ComponentKind.LAKE, ComponentKind.MAINTENANCE})
"""Their `start` returns once the work has begun. That of engines, market and dashboard returns when they answer."""
_GRACE_TICKS = 5
"""Restarting a scraper forgets its limiter and breaker, so a provider's trouble is given longer than a missed tick or two."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component.

    Attributes:
        actor: `module:Class` of its Ray actor, imported only where it runs.
        args: constructor arguments of the actor.
        depends_on: components that must be up before it starts.
        uses: components that it can do without for a while; when all end, they end after it.
        start_timeout_s: a start that takes longer has failed.
        stop_timeout_s: time to drain; then it is killed.
        grace_s: how long it may be DEGRADED, or STARTING without a delivery and not healthy, before it is replaced.
    """

    name: str
    kind: ComponentKind
    actor: str
    args: tuple[Any, ...]
    depends_on: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 8.0
    grace_s: float = 15.0

    @property
    def policy(self) -> Policy:
        """Patience, as the state machine takes it."""
        return Policy(grace_ms=round(self.grace_s * 1000), must_deliver=self.kind in _DELIVER)


class ComponentTable(Mapping[str, ComponentSpec]):
    """Components by name, in start order."""

    def __init__(self, specs: Iterable[ComponentSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> ComponentSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def require(self, name: str) -> ComponentSpec:
        """The component of that name. Raises UnknownComponent, which lists those that exist."""
        spec = self._specs.get(name)
        if spec is None:
            # Cut and quoted, because it comes from outside and goes into logs and terminals.
            raise UnknownComponent(f"no component {name[:64]!r}; there are: {', '.join(self)}", component=name[:64])
        return spec

    def needs(self, name: str) -> tuple[str, ...]:
        """What `name` depends on, directly and through others, in start order."""
        wanted: set[str] = set()
        pending = list(self.require(name).depends_on)
        while pending:
            one = pending.pop()
            if one not in wanted:
                wanted.add(one)
                pending.extend(self._specs[one].depends_on)
        return tuple(one for one in self if one in wanted)

    def users(self, name: str) -> tuple[str, ...]:
        """The components that depend on `name`, or use it, directly."""
        return tuple(one for one, spec in self._specs.items() if name in spec.depends_on or name in spec.uses)


def is_component_name(name: str) -> bool:
    """Whether a component could be called so."""
    return _NAME.fullmatch(name) is not None


def build_table(settings: Settings) -> ComponentTable:
    """All components of the pipeline that `settings` describe."""
    return ComponentTable(_specs(settings))


def _specs(settings: Settings) -> Iterator[ComponentSpec]:
    yield _engine(settings, "kafka", embedded=settings.kafka.embedded)
    yield _engine(settings, "object-store", embedded=settings.s3.embedded)
    yield _engine(settings, "redis", embedded=settings.redis.embedded)
    yield from _collection(settings)
    yield ComponentSpec(
        "lake",
        ComponentKind.LAKE,
        "spark_jobs.streaming.actor:LakeActor",
        (settings,),
        depends_on=("kafka", "object-store"),
        # RayDP takes 8-14 s on an idle machine; a cold page cache and a busy one multiply that.
        start_timeout_s=180.0,
        stop_timeout_s=15.0,
    )
    maintenance = "spark_jobs.maintenance.actor:MaintenanceActor"
    yield ComponentSpec("maintenance", ComponentKind.MAINTENANCE, maintenance, (settings,), depends_on=("object-store",))
    yield ComponentSpec(
        "dashboard",
        ComponentKind.DASHBOARD,
        "control.reconcile.dashboard_actor:DashboardHost",
        (settings,),
        uses=("kafka", "object-store", "redis"),
        # The longest import of all: seconds on an idle machine, half a minute on one that starts everything else at once.
        start_timeout_s=120.0,
        grace_s=20.0,
    )


def _collection(settings: Settings) -> Iterator[ComponentSpec]:
    feeds: tuple[str, ...] = ("kafka",)
    if settings.profile == "demo":
        yield ComponentSpec("market-replay", ComponentKind.MARKET, "market.actor:MarketActor", (settings,))
        feeds = ("kafka", "market-replay")
    patience_s = max(_MIN_GRACE_S, _GRACE_TICKS * settings.collect.tick_s)
    yield ComponentSpec(
        "collector",
        ComponentKind.COLLECTOR,
        "actors.collecting.actor:CollectorActor",
        (settings,),
        depends_on=("kafka",),
        uses=("redis",),
        grace_s=patience_s,
    )
    for name in settings.collect.providers:
        if settings.provider(name).enabled:
            yield ComponentSpec(
                f"scraper/{name}",
                ComponentKind.SCRAPER,
                "actors.scraping.actor:ScraperActor",
                (settings, name),
                depends_on=feeds,
                uses=("collector",),
                grace_s=patience_s,
            )


def _engine(settings: Settings, name: str, *, embedded: bool) -> ComponentSpec:
    kind = ComponentKind.ENGINE if embedded else ComponentKind.EXTERNAL
    return ComponentSpec(name, kind, _ENGINE_HOST, (settings, name), start_timeout_s=_ENGINE_START_S, stop_timeout_s=15.0)
