"""The pipeline's topics in any Kafka-protocol broker: probe, create, check."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewPartitions, NewTopic

from cryptoviz.errors import EngineUnavailable, SettingsError
from cryptoviz.kafka import admin_client
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings, check_topics

__all__ = ["TopicAdmin"]

_PROBE_S = 1.8
_CREATE_S = 30.0
_STEP_S = 4.0
"""Below the 10 s in which a supervisor must have removed a component."""
_PASSING = frozenset(
    (
        KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT, KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    )
)  # fmt: skip
"""Errors of a broker that is starting, busy, or electing its controller. librdkafka marks errors as retriable in transactions only."""


class TopicAdmin:
    """Pings a broker and creates topics. Connects at the first call; thread-safe."""

    def __init__(
        self,
        kafka: KafkaSettings,
        more: Mapping[str, int] | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`more`: partitions of topics beside those of collection, by name. `own`: configuration of single topics, which goes first. `stopped`: the
        broker was killed, and no creation waits for it any longer.
        """
        self._kafka = kafka
        self._own = dict(own or {})
        self._stopped = stopped
        self._more = dict(more or {})
        self._client: Any = None

    def ask(self) -> tuple[str, dict[str, float]]:
        """A human-readable line and figures from the cluster's metadata. Raises EngineUnavailable after 1.8 s without an answer."""
        found = self._metadata(_PROBE_S)
        missing = [name for name in self._wanted() if name not in found.topics]
        brokers = ", ".join(f"{broker.id} at {broker.host}:{broker.port}" for broker in found.brokers.values())
        message = f"broker {brokers}" + (f"; topics missing: {', '.join(missing)}" if missing else "")
        return message, {"brokers": float(len(found.brokers)), "topics": float(len(found.topics))}

    def ensure_topics(self, limits: Mapping[str, str], *, grow: bool = False) -> None:
        """Create missing topics, with `limits` as their configuration; existing topics are unchanged, except that with `grow` they get the partitions
        that they lack. Kafka cannot remove partitions.

        Raises:
            SettingsError: a name is invalid, or the broker refuses to create the topic.
            EngineUnavailable: the broker does not answer.
        """
        wanted = self._wanted()
        check_topics(self._kafka)
        there = self._metadata(_STEP_S).topics
        new = [self._topic(name, partitions, limits) for name, partitions in wanted.items() if name not in there]
        for name, partitions in wanted.items():
            has = len(there[name].partitions) if name in there else partitions
            if has < partitions and grow:
                self._add_partitions(name, partitions)
            elif has != partitions:
                get_logger("kafka").warning("topic_keeps_its_partitions", topic=name, partitions=has, setting=partitions)
        futures: dict[str, Future[None]] = self._admin().create_topics(new, request_timeout=_CREATE_S) if new else {}
        for name, future in futures.items():
            try:
                self._await(future, f"the creation of topic {name!r}")
            except KafkaException as error:
                self._explain(name, error)
            else:
                get_logger("kafka").info("topic_created", topic=name, partitions=wanted[name])

    def close(self) -> None:
        self._client = None

    def _add_partitions(self, name: str, partitions: int) -> None:
        future = self._admin().create_partitions([NewPartitions(name, partitions)], request_timeout=_CREATE_S)[name]
        try:
            self._await(future, f"the partitions of topic {name!r}")
        except KafkaException as error:
            address = self._kafka.bootstrap_servers
            text = f"cannot raise the partitions of topic {name!r} to {partitions}: {error.args[0].str()}"
            raise EngineUnavailable(text, engine="kafka", address=address) from error
        get_logger("kafka").info("partitions_added", topic=name, partitions=partitions)

    def _wanted(self) -> dict[str, int]:
        return {self._kafka.raw_topic: self._kafka.raw_partitions, self._kafka.stream_topic: self._kafka.stream_partitions, **self._more}

    def _topic(self, name: str, partitions: int, limits: Mapping[str, str]) -> Any:
        config = {"max.message.bytes": str(self._kafka.max_record_bytes), "cleanup.policy": "delete", **limits, **self._own.get(name, {})}
        # -1: the broker's default; 1 for the embedded broker.
        return NewTopic(name, num_partitions=partitions, replication_factor=-1, config=config)

    def _explain(self, name: str, error: KafkaException) -> None:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        text = f"cannot create topic {name!r} at {self._kafka.bootstrap_servers}: {cause.str()}"
        if cause.code() in _PASSING:
            raise EngineUnavailable(text, engine="kafka", address=self._kafka.bootstrap_servers) from error
        hint = f"{text}. Create it yourself with {self._wanted()[name]} partition(s) and max.message.bytes={self._kafka.max_record_bytes}"
        raise SettingsError(hint, setting="CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS") from error

    def _await(self, answer: Future[None], what: str) -> None:
        """Wait for the answer, in steps between which the end of the broker is noticed."""
        deadline = time.monotonic() + _CREATE_S
        while True:
            try:
                return answer.result(_STEP_S)
            except TimeoutError as error:
                if not self._stopped() and time.monotonic() < deadline:
                    continue
                address = self._kafka.bootstrap_servers
                why = "was stopped" if self._stopped() else f"did not answer within {_CREATE_S:.0f} s (CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS)"
                raise EngineUnavailable(f"{what}: the Kafka broker at {address} {why}", engine="kafka", address=address) from error

    def _metadata(self, timeout_s: float) -> Any:
        try:
            found = self._admin().list_topics(timeout=timeout_s)
        except KafkaException as error:
            address = self._kafka.bootstrap_servers
            text = f"the Kafka broker at {address} does not answer: {error.args[0].str()} (CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS)"
            raise EngineUnavailable(text, engine="kafka", address=address) from error
        if not found.brokers:
            raise EngineUnavailable("Kafka answers, but no broker is available yet", engine="kafka", address=self._kafka.bootstrap_servers)
        return found

    def _admin(self) -> Any:
        if self._client is None:
            self._client = admin_client(self._kafka)
        return self._client
