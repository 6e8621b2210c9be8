"""What Kafka holds of a topic, as a reader of committed records sees it: the verifier's one side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.parts import topic_uuid
from cryptoviz.settings import Settings

__all__ = ["Taken", "read_kafka"]

Offsets = npt.NDArray[np.int64]

_TIMEOUT_S = 15.0
_POLL_S = 0.1  # the client waits this long for a full batch of messages


@dataclass(frozen=True, slots=True)
class Taken:
    """Committed records that Kafka holds of one topic: offsets by partition, `[earliest, end)` by partition, and how often an event_id repeats."""

    topic: str
    topic_id: str
    offsets: dict[int, Offsets]
    bounds: dict[int, tuple[int, int]]
    repeated_events: int = 0


def read_kafka(settings: Settings, topic: str, *, with_events: bool = False) -> Taken:
    """Every committed record that Kafka holds of a topic now. `with_events` also counts repeated event ids."""
    bootstrap = settings.kafka.bootstrap_servers
    try:
        topic_id, bounds = _bounds(bootstrap, topic)
        offsets: dict[int, list[int]] = {partition: [] for partition in bounds}
        events: set[str] = set()
        repeated = 0
        for message in _consume(bootstrap, topic, bounds):
            offsets[message.partition()].append(message.offset())
            event = _event_id(message.value()) if with_events else None
            if event is not None:
                repeated += event in events
                events.add(event)
    except KafkaException as error:
        raise EngineUnavailable(f"Kafka at {bootstrap} did not give {topic}: {error}", engine="kafka", address=bootstrap) from error
    return Taken(topic, topic_id, {partition: np.array(found, np.int64) for partition, found in offsets.items()}, bounds, repeated)


def _bounds(bootstrap: str, topic: str) -> tuple[str, dict[int, tuple[int, int]]]:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    description = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    ends = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        asked = {TopicPartition(topic, partition.id): spec for partition in description.partitions}
        answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT_S)
        ends.append({key.partition: int(future.result(_TIMEOUT_S).offset) for key, future in answers.items()})
    return topic_uuid(str(description.topic_id)), {partition: (ends[0][partition], ends[1][partition]) for partition in ends[0]}


def _consume(bootstrap: str, topic: str, bounds: Mapping[int, tuple[int, int]]) -> Iterable[Any]:
    """The committed records below each partition's end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "cryptoviz-verify",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    waiting = {partition for partition, (earliest, end) in bounds.items() if end > earliest}
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in waiting])
        heard_s = time.monotonic()
        while waiting:
            messages = consumer.consume(10_000, timeout=_POLL_S)
            if messages:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > _TIMEOUT_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            for message in messages:
                partition = message.partition()
                if message.error() is not None:
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(message.error())
                    waiting.discard(partition)
                elif message.offset() < bounds[partition][1]:
                    yield message
                else:
                    waiting.discard(partition)
    finally:
        consumer.close()


def _event_id(value: bytes | None) -> str | None:
    try:
        record = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    found = record.get("event_id") if isinstance(record, dict) else None
    return found if isinstance(found, str) else None
