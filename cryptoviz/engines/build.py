"""The engines (Kafka, object store, Redis) behind one Protocol: embedded (started here) or external (only probed)."""

from __future__ import annotations

from typing import Protocol

from cryptoviz.components import Probe
from cryptoviz.engines.external import ExternalEngine
from cryptoviz.errors import UnknownComponent
from cryptoviz.settings import Settings
from cryptoviz.settings.engine_tls import ServerIdentity

__all__ = ["ENGINE_NAMES", "Engine", "build_engine"]

ENGINE_NAMES = ("kafka", "object-store", "redis")


class Engine(Protocol):
    """An engine. Calls block and are idempotent; one thread at a time, but `probe` may run concurrently.

    An embedded engine's process ends with the process that started it, for any reason.
    """

    name: str

    @property
    def url(self) -> str | None:
        """User interface, if it has one."""

    @property
    def pid(self) -> int | None:
        """Process id of a running embedded engine; None for an external engine."""

    def start(self) -> None:
        """Start the engine, wait until it answers, then create its topics or buckets. An external engine is not started.

        Raises:
            PreflightError: a downloaded file is missing, or the port is in use.
            EngineUnavailable: the engine did not answer in time; the message ends with the last lines of its log.
        """

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds. A no-op for a stopped or external engine."""

    def kill(self) -> None:
        """SIGKILL, from any thread: a start or stop that waits for the process ends. A `stop` must follow."""

    def probe(self) -> Probe:
        """Ping the service in its own protocol, within 2 s; never raises."""


def build_engine(name: str, settings: Settings, identity: ServerIdentity | None = None) -> Engine:
    """The engine of that name, embedded or external by the settings. Without side effects. Raises UnknownComponent.

    `identity`: certificate of an embedded engine beyond loopback; by default `server_identity`.
    """
    match name:
        case "kafka":
            return _kafka(settings, identity)
        case "object-store":
            return _object_store(settings, identity)
        case "redis":
            return _redis(settings, identity)
    raise UnknownComponent(f"unknown engine {name!r}; valid: {', '.join(ENGINE_NAMES)}", component=name)


# Only the clients that are used are imported, 10 MB each.


def _kafka(settings: Settings, identity: ServerIdentity | None) -> Engine:
    from cryptoviz.engines.kafka import EmbeddedKafka
    from cryptoviz.engines.topics import TopicAdmin

    if settings.kafka.embedded:
        return EmbeddedKafka(settings, identity=identity)
    admin = TopicAdmin(settings.kafka, settings.stream_topics, settings.topic_limits)
    # Topics of an external broker get no retention limits.
    return ExternalEngine("kafka", admin.ask, lambda: admin.ensure_topics({}), admin.close)


def _object_store(settings: Settings, identity: ServerIdentity | None) -> Engine:
    from cryptoviz.engines.object_store import BucketAdmin, EmbeddedMinio

    if settings.s3.embedded:
        return EmbeddedMinio(settings, identity=identity)
    buckets = BucketAdmin(settings.s3)
    return ExternalEngine("object-store", buckets.ask, buckets.ensure_buckets, buckets.close)


def _redis(settings: Settings, identity: ServerIdentity | None) -> Engine:
    from cryptoviz.engines.redis_server import EmbeddedValkey, RedisProbe

    if settings.redis.embedded:
        return EmbeddedValkey(settings, identity=identity)
    probe = RedisProbe(settings.redis)
    return ExternalEngine("redis", probe.ask, lambda: None, probe.close)
