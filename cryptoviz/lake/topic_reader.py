"""Reads the committed records of a topic once, from the earliest to the current end.

Memory: a few fetches. Records of a partition are in offset order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import admin_client, consumer
from cryptoviz.lake.parts import topic_uuid
from cryptoviz.settings import KafkaSettings

__all__ = ["read_topic", "spans_between", "topic_ends", "topic_exists"]

_TIMEOUT_S = 15.0
_ABORT_S = 15.0  # a broker checks for timed-out transactions every 10 s by default
_SETTLE_POLL_S = 0.02
_POLL_S = 0.1  # the client waits this long for a full batch of messages
_BATCH = 2_000
_QUEUED_KB = 16_384  # the client's read-ahead


def topic_ends(kafka: KafkaSettings, topic: str, *, settled: bool = False) -> tuple[str, dict[int, tuple[int, int]]]:
    """A topic's UUID, and `[earliest, end)` of each partition for readers of committed records.

    An open transaction hides later commits of others. `settled` waits for the end of all transactions that are open now, so that a record committed
    before this call lies below the end.

    Raises:
        EngineUnavailable: the broker does not answer, the topic does not exist, or a transaction exceeds the timeout of our producers.
    """
    admin = admin_client(kafka)
    try:
        high = _offsets(admin, topic, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED) if settled else {}
        description = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
        first = _offsets(admin, topic, OffsetSpec.earliest(), IsolationLevel.READ_COMMITTED)
        ends = _settled_ends(admin, topic, high, kafka.transaction_timeout_ms / 1000 + _ABORT_S)
    except (KafkaException, TimeoutError) as error:
        raise _unavailable(kafka, topic, error) from error
    return topic_uuid(str(description.topic_id)), {partition: (first[partition], ends[partition]) for partition in first}


def spans_between(kafka: KafkaSettings, topic: str, start_ms: int, end_ms: int) -> dict[int, tuple[int, int]]:
    """`[from, end)` by partition: from the first record with a Kafka timestamp of `start_ms` or later to the first one of `end_ms` or later.

    Raises EngineUnavailable if the broker does not answer, or the topic does not exist.
    """
    admin, level = admin_client(kafka), IsolationLevel.READ_COMMITTED
    ends = {partition: end for partition, (_, end) in topic_ends(kafka, topic)[1].items()}
    try:
        low, high = (_offsets(admin, topic, OffsetSpec.for_timestamp(max(0, moment_ms)), level) for moment_ms in (start_ms, end_ms))
    except (KafkaException, TimeoutError) as error:
        raise _unavailable(kafka, topic, error) from error
    found = {partition: [ends[partition] if side[partition] < 0 else side[partition] for side in (low, high)] for partition in ends}
    return {partition: (first, end) for partition, (first, end) in found.items()}


def _offsets(admin: Any, topic: str, spec: OffsetSpec, level: IsolationLevel) -> dict[int, int]:
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    wanted = {TopicPartition(topic, partition.id): spec for partition in described.partitions}
    answers = admin.list_offsets(wanted, isolation_level=level, request_timeout=_TIMEOUT_S)
    return {key.partition: int(future.result(_TIMEOUT_S).offset) for key, future in answers.items()}


def _settled_ends(admin: Any, topic: str, high: Mapping[int, int], timeout_s: float) -> dict[int, int]:
    deadline_s, pause = time.monotonic() + timeout_s, threading.Event()
    while True:
        ends = _offsets(admin, topic, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        open_in = [partition for partition, offset in high.items() if ends.get(partition, 0) < offset]
        if not open_in:
            return ends
        if time.monotonic() > deadline_s:
            text = f"another producer's transaction has been open for {timeout_s:g} s in {topic}{open_in}"
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, text))
        pause.wait(_SETTLE_POLL_S)


def topic_exists(kafka: KafkaSettings, topic: str) -> bool:
    """Whether the topic exists. Raises EngineUnavailable if the broker does not answer."""
    try:
        return topic in admin_client(kafka).list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise _unavailable(kafka, topic, error) from error


def read_topic(kafka: KafkaSettings, topic: str, spans: Mapping[int, tuple[int, int]] | None = None) -> Iterator[Any]:
    """Committed records as confluent-kafka's Message: of all partitions to their current end, or of `spans`, `[from, end)` by partition.

    Raises:
        EngineUnavailable: the broker does not answer, stops responding before the end, or the topic does not exist.
    """
    wanted = topic_ends(kafka, topic)[1] if spans is None else spans
    reader = consumer(kafka, {"auto.offset.reset": "earliest", "enable.partition.eof": True, "queued.max.messages.kbytes": _QUEUED_KB})
    try:
        reader.assign([TopicPartition(topic, partition, start) for partition, (start, end) in wanted.items() if end > start])
        yield from _until(reader, {partition: end for partition, (start, end) in wanted.items() if end > start})
    except KafkaException as error:
        raise _unavailable(kafka, topic, error) from error
    finally:
        reader.close()


def _until(reader: Any, ends: dict[int, int]) -> Iterator[Any]:
    """Records below each partition's end. If the last offsets are transaction markers, only the partition's EOF event shows the end."""
    heard_s = time.monotonic()
    while ends:
        messages = reader.consume(_BATCH, timeout=_POLL_S)
        if not messages and time.monotonic() - heard_s > _TIMEOUT_S:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for message in messages:
            partition = message.partition()
            if message.error() is not None:
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                ends.pop(partition, None)
            elif message.offset() < ends.get(partition, 0):
                yield message
            else:
                ends.pop(partition, None)
        heard_s = time.monotonic() if messages else heard_s  # excludes time spent in the caller


def _unavailable(kafka: KafkaSettings, topic: str, error: Exception) -> EngineUnavailable:
    return EngineUnavailable(
        f"Kafka at {kafka.bootstrap_servers} (CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS) cannot read {topic}: {error}",
        engine="kafka",
        address=kafka.bootstrap_servers,
    )
