"""The engines that the pipeline stands on, behind one Protocol: embedded (started by us) or external (probed only)."""

from __future__ import annotations

from typing import Protocol

from cryptoviz.components import Probe
from cryptoviz.engines.external import ExternalEngine
from cryptoviz.errors import UnknownComponent
from cryptoviz.settings import Settings

__all__ = ["ENGINE_NAMES", "Engine", "build_engine"]

ENGINE_NAMES = ("kafka", "object-store", "redis")


class Engine(Protocol):
    """One engine. Blocking calls, safe to repeat, to be made by one thread at a time; `probe` may run beside the others.

    An embedded engine's process dies with the process that started it, however that one ends.
    """

    name: str

    @property
    def url(self) -> str | None:
        """Where a person can look at it, if anywhere."""
        ...

    @property
    def pid(self) -> int | None:
        """Process id of the embedded engine while it runs; None for an external one."""
        ...

    def start(self) -> None:
        """Start it, wait until it answers, create its topics or buckets; an external one is asked for them only.

        Raises:
            PreflightError: a file that setup fetches is missing, or the port is taken.
            EngineUnavailable: it did not answer in time; the message ends with the last lines of its log.
        """
        ...

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, and end it by force after `grace_s` seconds. Does nothing when it does not run, or is external."""
        ...

    def probe(self) -> Probe:
        """Ask the service in its own protocol, within 2 s; never raises."""
        ...


def build_engine(name: str, settings: Settings) -> Engine:
    """The engine of that name, embedded or external as the settings say. Touches nothing yet. Raises UnknownComponent."""
    match name:
        case "kafka":
            return _kafka(settings)
        case "object-store":
            return _object_store(settings)
        case "redis":
            return _redis(settings)
    raise UnknownComponent(f"no engine is called {name!r}: there are {', '.join(ENGINE_NAMES)}", component=name)


# Each host of an engine is a process of its own and imports the client of its engine only: 10 MB less in each.


def _kafka(settings: Settings) -> Engine:
    from cryptoviz.engines.kafka import EmbeddedKafka
    from cryptoviz.engines.topics import TopicAdmin

    if settings.kafka.embedded:
        return EmbeddedKafka(settings)
    admin = TopicAdmin(settings.kafka)
    # No limits of ours on what a broker of yours keeps.
    return ExternalEngine("kafka", admin.ask, lambda: admin.ensure_topics({}), admin.close)


def _object_store(settings: Settings) -> Engine:
    from cryptoviz.engines.object_store import BucketAdmin, EmbeddedMinio

    if settings.s3.embedded:
        return EmbeddedMinio(settings)
    buckets = BucketAdmin(settings.s3)
    return ExternalEngine("object-store", buckets.ask, buckets.ensure_buckets, buckets.close)


def _redis(settings: Settings) -> Engine:
    from cryptoviz.engines.redis_server import EmbeddedValkey, RedisProbe

    if settings.redis.embedded:
        return EmbeddedValkey(settings)
    probe = RedisProbe(settings.redis.url)
    return ExternalEngine("redis", probe.ask, lambda: None, probe.close)
