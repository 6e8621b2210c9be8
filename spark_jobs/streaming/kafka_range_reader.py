"""Reads the offset range of a task from Kafka with librdkafka. Spark plans the ranges and runs the tasks; records never pass through its JVM.

Spark's own reader passes each record through the JVM as a row and through Arrow to Python, which costs more than all processing in Python
(docs/adr/0006-tasks-read-kafka-themselves.md). A worker keeps its consumer between tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicPartition

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.settings import KafkaSettings

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "OffsetRange", "RecordBatcher", "connect", "disconnect", "read_range", "records_in_range"]

_SILENCE_S = 30.0
"""Kafka counts as unavailable after this time without a message."""
_RENEW_S = 10.0
"""After this time without a message a task reads on with a new consumer. An old one can stay without messages for minutes after a change of the
partition's leader epoch, as by a broker that stood still, while others read.
"""
BATCH_RECORDS = 8192
BATCH_BYTES = 8 << 20
_BLOCK_S = 0.05
_POLL_BELOW = 1000
"""Below this many remaining records the reader polls singly: `consume` of many waits for its full timeout if a transaction marker is among the
offsets.
"""
_FIRST = 256
"""Records requested while their size is unknown: each may have 1 MiB."""
_FETCH_BYTES = 4 << 20
_QUEUE_KBYTES = 32 << 10
# Back-off of the client while its queue is full; with the default of 1 s the task would idle for most of it.
_FULL_QUEUE_MS = 5
_CONNECT_S = 5.0
# At the end of a range the consumer fetches once more, and the broker holds that request for this long if it has no records.
_FETCH_WAIT_MS = 5


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """`[start, end)` of one topic-partition; `end` is at most the last stable offset."""

    topic: str
    partition: int
    start: int
    end: int


def read_range(kafka: KafkaSettings, wanted: OffsetRange, seen: Callable[[Sequence[Any]], None] | None = None) -> Iterator[pa.RecordBatch]:
    """Committed records of the range, in offset order: `offset` (int64), `timestamp` (ms, UTC: Kafka timestamp), `key` and `value` (binary).

    `seen` is called with the messages as they come, without their errors.

    Raises:
        LakeError: Kafka no longer has all of the range.
        EngineUnavailable: the broker does not answer.
    """
    try:
        yield from _read(kafka, wanted, seen)
    finally:
        if kafka in _consumers:
            _consumers[kafka].unassign()


def connect(kafka: KafkaSettings) -> None:
    """Connect the consumer of this process to the brokers.

    Raises:
        EngineUnavailable: no broker answers.
    """
    try:
        _consumer(kafka).list_topics(timeout=_CONNECT_S)
    except KafkaException as error:
        address = kafka.bootstrap_servers
        raise EngineUnavailable(f"Kafka at {address} does not answer: {error}", engine="kafka", address=address) from error


def disconnect(kafka: KafkaSettings) -> None:
    """Close the consumer of this process, if any."""
    consumer = _consumers.pop(kafka, None)
    if consumer is not None:
        consumer.close()


def _assigned(kafka: KafkaSettings, wanted: OffsetRange, at: int) -> Any:
    consumer = _consumer(kafka)
    consumer.assign([TopicPartition(wanted.topic, wanted.partition, at)])
    return consumer


def _read(kafka: KafkaSettings, wanted: OffsetRange, seen: Callable[[Sequence[Any]], None] | None) -> Iterator[pa.RecordBatch]:
    consumer, renewed = _assigned(kafka, wanted, wanted.start), False
    heard_s = time.monotonic()
    batcher = RecordBatcher()
    at, done = wanted.start, False
    while not done:
        remaining = wanted.end - at
        if remaining >= _POLL_BELOW:
            found = consumer.consume(min(remaining, batcher.records_at_once), _BLOCK_S)
        else:
            one = consumer.poll(_BLOCK_S)
            found = [] if one is None else [one]
        if not found:
            silent_s = time.monotonic() - heard_s
            if silent_s > _SILENCE_S:
                raise EngineUnavailable(f"Kafka returned no record of {_range_text(wanted)} for {_SILENCE_S:.0f} s at offset {at}", engine="kafka")
            if silent_s > _RENEW_S and not renewed:
                disconnect(kafka)
                consumer, renewed = _assigned(kafka, wanted, at), True
            continue
        heard_s = time.monotonic()
        good, at, done = records_in_range(found, wanted, at)
        if seen is not None:
            seen(good)
        yield from batcher.add(good)
    yield from batcher.rest()


class RecordBatcher:
    """Groups messages into record batches. The cuts depend on the records of the range alone, because they decide where files end and a repeated task
    must write the same files.
    """

    def __init__(self) -> None:
        self.records_at_once = _FIRST
        """Number of records that make about `BATCH_BYTES`, by the size seen last."""
        self._held: list[Any] = []
        self._bytes = 0

    def add(self, messages: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """Add messages and yield the full record batches."""
        for message in messages:
            self._held.append(message)
            self._bytes += len(message)
            if len(self._held) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The remaining messages as a record batch."""
        if self._held:
            self.records_at_once = max(1, min(BATCH_RECORDS, len(self._held) * BATCH_BYTES // max(1, self._bytes)))
            yield _as_batch(self._held)
        self._held, self._bytes = [], 0


def records_in_range(found: Sequence[Any], wanted: OffsetRange, at: int) -> tuple[Sequence[Any], int, bool]:
    """Records of the range among the messages, the next offset, and whether the range is complete."""
    if found[-1].error() is None and found[-1].offset() < wanted.end - 1 and not any(message.error() for message in found):
        return found, found[-1].offset() + 1, False
    good: list[Any] = []
    for message in found:
        error = message.error()
        if error is None:
            if message.offset() >= wanted.end:
                return good, wanted.end, True
            good.append(message)
            at = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            if message.offset() >= wanted.end:
                return good, wanted.end, True
        else:
            _raise(error, wanted, at)
    return good, at, at >= wanted.end


def _raise(error: Any, wanted: OffsetRange, at: int) -> None:
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise LakeError(
            f"{wanted.topic}[{wanted.partition}]: Kafka no longer has all offsets of [{at}, {wanted.end}) ({error.str()}), and the lake never read "
            "them. Nothing was overwritten. To continue without them set CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS=true.",
            topic=wanted.topic,
            partition=wanted.partition,
        )
    raise EngineUnavailable(f"Kafka cannot read {_range_text(wanted)}: {error.str()}", engine="kafka")


def _as_batch(messages: Sequence[Any]) -> pa.RecordBatch:
    stamps = [message.timestamp() for message in messages]
    return pa.record_batch(
        {
            "offset": pa.array([message.offset() for message in messages], pa.int64()),
            # Kafka and Spark write -1 for a missing timestamp.
            "timestamp": pa.array([-1 if kind == TIMESTAMP_NOT_AVAILABLE else ms for kind, ms in stamps], pa.int64()).cast(pa.timestamp("ms", "UTC")),
            "key": pa.array([message.key() for message in messages], pa.binary()),
            "value": pa.array([message.value() for message in messages], pa.binary()),
        }
    )


_consumers: dict[KafkaSettings, Any] = {}


def _consumer(kafka: KafkaSettings) -> Any:
    """The consumer of this worker process, created by its first task."""
    if kafka not in _consumers:
        try:
            _consumers[kafka] = kafka_consumer(
                kafka,
                {
                    "client.id": "cryptoviz-lake",
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": _FETCH_WAIT_MS,
                    "fetch.message.max.bytes": _FETCH_BYTES,
                    "queued.max.messages.kbytes": _QUEUE_KBYTES,
                    "fetch.queue.backoff.ms": _FULL_QUEUE_MS,
                },
            )
        except KafkaException as error:
            raise EngineUnavailable(f"cannot create a consumer for Kafka at {kafka.bootstrap_servers}: {error}", engine="kafka") from error
    return _consumers[kafka]


def _range_text(wanted: OffsetRange) -> str:
    return f"{wanted.topic}[{wanted.partition}] [{wanted.start}, {wanted.end})"
