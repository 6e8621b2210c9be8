"""Committed records of a topic in Kafka, for comparison with the lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import orjson

from cryptoviz.lake.offsets import EventIdCounter, OffsetCounts
from cryptoviz.lake.progress import Offsets
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.settings import Settings

__all__ = ["KafkaContents", "read_kafka", "topic_ends", "values_since"]

_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class KafkaContents:
    """Committed records of a topic: offsets and `[earliest, end)` by partition, and the number of repeated identities."""

    topic: str
    topic_id: str
    bounds: Mapping[int, tuple[int, int]]
    offsets: Mapping[int, OffsetCounts] = field(default_factory=dict)
    records: int = 0
    repeated_events: int = 0


def read_kafka(settings: Settings, topic: str, *, identity: str = "") -> KafkaContents:
    """Read all committed records that a topic has now. `identity`: also count repeated values of this field.

    Raises:
        EngineUnavailable: the broker does not answer, or the topic does not exist.
    """
    topic_id, bounds = topic_ends(settings.kafka, topic)
    offsets = {partition: OffsetCounts() for partition in bounds}
    waiting: dict[int, list[int]] = {partition: [] for partition in bounds}
    events, records = EventIdCounter(), 0
    for message in read_topic(settings.kafka, topic, bounds):
        records += 1
        pending = waiting[message.partition()]
        pending.append(message.offset())
        if len(pending) >= _BATCH:
            offsets[message.partition()].add(np.array(pending, np.int64))
            pending.clear()
        if identity:
            events.add((_text(message.value(), identity),))
    for partition, pending in waiting.items():
        offsets[partition].add(np.array(pending, np.int64))
    return KafkaContents(topic, topic_id, bounds, offsets, records, events.repeated)


def values_since(settings: Settings, topic: str, progress: Offsets) -> Iterator[bytes]:
    """Values of a topic from these offsets on (null as empty), including everything committed before this call. A partition without an offset is read
    from its beginning. Raises as `read_kafka`.
    """
    topic_id, bounds = topic_ends(settings.kafka, topic, settled=True)
    spans = {partition: (max(first, progress.get((topic_id, partition), first)), end) for partition, (first, end) in bounds.items()}
    for message in read_topic(settings.kafka, topic, spans):
        yield message.value() or b""


def _text(value: bytes | None, name: str) -> str | None:
    try:
        record = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    found = record.get(name) if isinstance(record, dict) else None
    return found if isinstance(found, str) else None
