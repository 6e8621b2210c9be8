"""The table of components that the settings describe, in start order, with each component's timeouts and grace period."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actors.ray_actor import run_on_other_nodes
from control.reconcile.state_types import Policy
from cryptoviz.components import COLLECTOR, DASHBOARD, LAKE, MAINTENANCE, MARKET, ComponentKind, scraper_name, stream_name
from cryptoviz.errors import UnknownComponent
from cryptoviz.placement import HEAD, Place
from cryptoviz.settings import Settings, loopback_engines, streams_from_loopback, uses_own_loopback
from cryptoviz.settings.engine_tls import server_identity
from cryptoviz.shards import shard_name

__all__ = ["YIELD_S", "ComponentSpec", "ComponentTable", "build_table", "is_component_name"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9_-]{0,31}(/[0-9]{1,3})?)?")
"""Valid component names: they become actor names and parts of log paths, so no dots, no line breaks, one slash and one before a shard's number."""

_ENGINE_ACTOR = "control.reconcile.engine_actor:EngineActor"
_ENGINE_START_S = 90.0
"""Above an engine's own timeout of 60 s, so that its reason is reported."""
_LAKE_STOP_S = 5.0
"""Of a batch that takes longer, the next run repeats what is not committed."""
YIELD_S = 30.0
"""Longer than the lake's start on an idle machine."""
_MIN_GRACE_S = 30.0
_DELIVER = frozenset({ComponentKind.SCRAPER, ComponentKind.STREAM, ComponentKind.COLLECTOR, ComponentKind.LAKE, ComponentKind.MAINTENANCE})
"""Kinds whose `start` returns before anything is delivered. For engines, market and dashboard it returns when they answer."""
_GRACE_TICKS = 5
"""A scraper's restart loses its rate limiter and breaker state, so a provider's outage must last longer than a few ticks."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component of the pipeline.

    Attributes:
        actor: `module:Class` of its Ray actor, imported only in the actor's process.
        args: constructor arguments of the actor.
        depends_on: components that must be up before it starts.
        after: components whose start, while it lasts, it leaves the processor to, for at most `YIELD_S`.
        uses: components that it can miss for a while; in a shutdown they stop after it.
        start_timeout_s: limit of a start; then it has failed.
        stop_timeout_s: time to drain before it is killed.
        grace_s: how long it may be unhealthy, DEGRADED or STARTING without a delivery, before it is replaced.
        prepares: its actor has `prepare`, called while its dependencies start.
        supervised: a child process does its work, so it shares an actor with others (`control.reconcile.supervisor`).
        place: where its actor may run, by the setting `place_setting`.
        local: it uses servers on the loopback of the controller's machine, so that it runs on no other.
    """

    name: str
    kind: ComponentKind
    actor: str
    args: tuple[Any, ...]
    depends_on: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 8.0
    grace_s: float = 15.0
    prepares: bool = False
    supervised: bool = False
    place: Place = HEAD
    place_setting: str = ""
    local: bool = False

    @property
    def policy(self) -> Policy:
        """The timeouts as a `Policy` of the state machine."""
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
        """The component of that name. Raises UnknownComponent, which lists the valid names."""
        spec = self._specs.get(name)
        if spec is None:
            # Cut and quoted, because external input goes into logs and terminals.
            raise UnknownComponent(f"no component {name[:64]!r}; valid: {', '.join(self)}", component=name[:64])
        return spec

    def needs(self, name: str) -> tuple[str, ...]:
        """All dependencies of `name`, direct and transitive, in start order."""
        wanted: set[str] = set()
        pending = list(self.require(name).depends_on)
        while pending:
            one = pending.pop()
            if one not in wanted:
                wanted.add(one)
                pending.extend(self._specs[one].depends_on)
        return tuple(one for one in self if one in wanted)

    def users(self, name: str) -> tuple[str, ...]:
        """The components that directly depend on `name` or use it."""
        return tuple(one for one, spec in self._specs.items() if name in spec.depends_on or name in spec.uses)


def is_component_name(name: str) -> bool:
    """Whether `name` is a valid component name."""
    return _NAME.fullmatch(name) is not None


def build_table(settings: Settings) -> ComponentTable:
    """All components of the pipeline."""
    return ComponentTable(_specs(settings))


def _specs(settings: Settings) -> Iterator[ComponentSpec]:
    yield _engine(settings, "kafka", embedded=settings.kafka.embedded)
    yield _engine(settings, "object-store", embedded=settings.s3.embedded)
    yield _engine(settings, "redis", embedded=settings.redis.embedded)
    yield from _collection(settings)
    yield from _streams(settings)
    yield ComponentSpec(
        LAKE,
        ComponentKind.LAKE,
        "spark_jobs.streaming.actor:LakeActor",
        (settings, run_on_other_nodes),
        depends_on=("kafka", "object-store"),
        start_timeout_s=settings.lake.start_timeout_s,
        stop_timeout_s=_LAKE_STOP_S,
        prepares=True,
    )
    maintenance = "spark_jobs.maintenance.actor:MaintenanceActor"
    yield ComponentSpec(
        MAINTENANCE, ComponentKind.MAINTENANCE, maintenance, (settings,), depends_on=("object-store",), after=(LAKE,), supervised=True
    )
    yield ComponentSpec(
        DASHBOARD,
        ComponentKind.DASHBOARD,
        "control.reconcile.dashboard_actor:DashboardActor",
        (settings,),
        after=(LAKE,),
        uses=("kafka", "object-store", "redis"),
        # The longest import of all components: seconds on an idle machine, half a minute while everything starts at once.
        start_timeout_s=120.0,
        grace_s=20.0,
        supervised=True,
    )


def _collection(settings: Settings) -> Iterator[ComponentSpec]:
    feeds: tuple[str, ...] = ("kafka",)
    if settings.profile == "demo":
        yield ComponentSpec(MARKET, ComponentKind.MARKET, "market.actor:MarketActor", (settings,))
        feeds = ("kafka", MARKET)
    grace_s = max(_MIN_GRACE_S, _GRACE_TICKS * settings.collect.tick_s)
    yield ComponentSpec(
        COLLECTOR,
        ComponentKind.COLLECTOR,
        "actors.collecting.actor:CollectorActor",
        (settings,),
        depends_on=("kafka",),
        uses=("redis",),
        grace_s=grace_s,
    )
    for name in settings.collect.providers:
        if settings.provider(name).enabled:
            lead = ComponentSpec(
                scraper_name(name),
                ComponentKind.SCRAPER,
                "actors.scraping.actor:ScraperActor",
                (settings, name),
                depends_on=feeds,
                uses=(COLLECTOR,),
                grace_s=grace_s,
                place=Place.parse(settings.placement.scrapers),
                place_setting="CRYPTOVIZ_PLACEMENT__SCRAPERS",
                local=bool(loopback_engines(settings)) or uses_own_loopback(settings, name),
            )
            yield lead
            for number in range(2, settings.provider(name).scrapers + 1):
                actor, args = "actors.scraping.shard_actor:ShardActor", (settings, name, number)
                yield replace(lead, name=shard_name(name, number), actor=actor, args=args, depends_on=(*feeds, lead.name), uses=())


def _streams(settings: Settings) -> Iterator[ComponentSpec]:
    feeds = ("kafka", MARKET) if settings.profile == "demo" else ("kafka",)
    for venue in settings.streams.venues:
        for shard in range(settings.streams.shards):
            yield ComponentSpec(
                stream_name(venue, shard),
                ComponentKind.STREAM,
                "actors.streaming.actor:StreamActor",
                (settings, venue, shard),
                depends_on=feeds,
                # Connections back off for up to `max_back_off_s`, and a restart would begin that again.
                grace_s=_MIN_GRACE_S + settings.streams.max_back_off_s,
                place=Place.parse(settings.placement.streams),
                place_setting="CRYPTOVIZ_PLACEMENT__STREAMS",
                local=bool(loopback_engines(settings)) or streams_from_loopback(settings, venue),
            )


def _engine(settings: Settings, name: str, *, embedded: bool) -> ComponentSpec:
    kind = ComponentKind.ENGINE if embedded else ComponentKind.EXTERNAL
    place = Place.parse(settings.placement.engines) if embedded else HEAD
    # Another node has neither this home's authority nor the files of the settings, and gets a certificate from here.
    identity = (server_identity(settings),) if place != HEAD and settings.engines.exposed else ()
    return ComponentSpec(
        name,
        kind,
        _ENGINE_ACTOR,
        (settings, name, *identity),
        start_timeout_s=_ENGINE_START_S,
        stop_timeout_s=15.0,
        supervised=True,
        place=place,
        place_setting="CRYPTOVIZ_PLACEMENT__ENGINES",
    )
