"""A task's range of offsets, read from Kafka with librdkafka. Spark plans the ranges and runs the tasks; the records never pass through its JVM.

Spark's own reader carries each record through the JVM as a row and through Arrow to Python, which costs more than all that Python does with it
(docs/adr/0006-tasks-read-kafka-themselves.md). A worker keeps its consumer between tasks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicPartition

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.settings import KafkaSettings

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "Collected", "OffsetRange", "connect", "read_range", "sorted_out"]

_SILENCE_S = 30.0
"""Without a message for so long Kafka counts as away."""
BATCH_RECORDS = 8192
BATCH_BYTES = 8 << 20
_BLOCK_S = 0.05
_POLL_BELOW = 1000
"""Fewer records than this are asked for one by one: a request for many waits its time out when a transaction's end is one of the offsets."""
_FIRST = 256
"""Records asked for while their size is unknown: they may be of 1 MiB each."""
_FETCH_BYTES = 4 << 20
_QUEUE_KBYTES = 32 << 10
# With its queue full the client looks again after so long; its default of a second leaves the task without records for most of it.
_FULL_QUEUE_MS = 5
_CONNECT_S = 5.0
# At the end of a range the consumer asks once more and the broker lets it wait so long before it says that there is nothing.
_FETCH_WAIT_MS = 5


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """`[start, end)` of one topic-partition; `end` is not past what a reader of committed records can see."""

    topic: str
    partition: int
    start: int
    end: int


def read_range(kafka: KafkaSettings, wanted: OffsetRange) -> Iterator[pa.RecordBatch]:
    """The committed records of the range, in offset order: `offset` (int64), `timestamp` (ms, UTC: Kafka's own time), `key` and `value` (binary).

    Raises:
        LakeError: Kafka no longer has all of the range.
        EngineUnavailable: the broker does not answer.
    """
    consumer = _consumer(kafka)
    consumer.assign([TopicPartition(wanted.topic, wanted.partition, wanted.start)])
    try:
        yield from _read(consumer, wanted)
    finally:
        consumer.unassign()


def connect(kafka: KafkaSettings) -> None:
    """Have this process's consumer know the brokers.

    Raises:
        EngineUnavailable: none answers.
    """
    try:
        _consumer(kafka).list_topics(timeout=_CONNECT_S)
    except KafkaException as error:
        address = kafka.bootstrap_servers
        raise EngineUnavailable(f"Kafka at {address} does not answer: {error}", engine="kafka", address=address) from error


def _read(consumer: Any, wanted: OffsetRange) -> Iterator[pa.RecordBatch]:
    heard_s = time.monotonic()
    collected = Collected()
    at, done = wanted.start, False
    while not done:
        remaining = wanted.end - at
        if remaining >= _POLL_BELOW:
            found = consumer.consume(min(remaining, collected.records_at_once), _BLOCK_S)
        else:
            one = consumer.poll(_BLOCK_S)
            found = [] if one is None else [one]
        if not found:
            if time.monotonic() - heard_s > _SILENCE_S:
                raise EngineUnavailable(f"Kafka gave nothing of {_told(wanted)} for {_SILENCE_S:.0f} s at offset {at}", engine="kafka")
            continue
        heard_s = time.monotonic()
        good, at, done = sorted_out(found, wanted, at)
        yield from collected.add(good)
    yield from collected.rest()


class Collected:
    """Messages until they make a batch, cut by what is in the range alone: where a file ends depends on it, and a repeated task must come to the same
    files.
    """

    def __init__(self) -> None:
        self.records_at_once = _FIRST
        """About `BATCH_BYTES` of records of the size seen last."""
        self._held: list[Any] = []
        self._bytes = 0

    def add(self, messages: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """The batches that are full now."""
        for message in messages:
            self._held.append(message)
            self._bytes += len(message)
            if len(self._held) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What is left."""
        if self._held:
            self.records_at_once = max(1, min(BATCH_RECORDS, len(self._held) * BATCH_BYTES // max(1, self._bytes)))
            yield _as_batch(self._held)
        self._held, self._bytes = [], 0


def sorted_out(found: Sequence[Any], wanted: OffsetRange, at: int) -> tuple[Sequence[Any], int, bool]:
    """The range's records among what came, the next offset, and whether the range is over."""
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
            f"{wanted.topic}[{wanted.partition}]: offsets [{at}, {wanted.end}) are no longer all in Kafka ({error.str()}) and were never taken into "
            "the lake. Nothing was overwritten. To go on without them set CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS=true.",
            topic=wanted.topic,
            partition=wanted.partition,
        )
    raise EngineUnavailable(f"Kafka did not give {_told(wanted)}: {error.str()}", engine="kafka")


def _as_batch(messages: Sequence[Any]) -> pa.RecordBatch:
    stamps = [message.timestamp() for message in messages]
    return pa.record_batch(
        {
            "offset": pa.array([message.offset() for message in messages], pa.int64()),
            # Kafka writes -1 for no time, and so does Spark.
            "timestamp": pa.array([-1 if kind == TIMESTAMP_NOT_AVAILABLE else ms for kind, ms in stamps], pa.int64()).cast(pa.timestamp("ms", "UTC")),
            "key": pa.array([message.key() for message in messages], pa.binary()),
            "value": pa.array([message.value() for message in messages], pa.binary()),
        }
    )


_kept: dict[KafkaSettings, Any] = {}


def _consumer(kafka: KafkaSettings) -> Any:
    """One a worker process, made at its first task."""
    if kafka not in _kept:
        try:
            _kept[kafka] = kafka_consumer(
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
            raise EngineUnavailable(f"no consumer for Kafka at {kafka.bootstrap_servers}: {error}", engine="kafka") from error
    return _kept[kafka]


def _told(wanted: OffsetRange) -> str:
    return f"{wanted.topic}[{wanted.partition}] [{wanted.start}, {wanted.end})"
