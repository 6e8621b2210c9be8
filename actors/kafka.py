"""The publisher's seam to Kafka: one transactional producer, and the tail of the topic after it (re)connects.

Of librdkafka's transactional errors (https://github.com/confluentinc/librdkafka/blob/master/INTRODUCTION.md#transactional-producer) only `fenced` is
final. After any other the outcome may be unknown, so that all are treated alike: a new producer, whose `init_transactions` completes or aborts what
the old one left open, then the tail, which says which of the two it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from actors.batch import Batch
from actors.publisher import Fenced
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.log import get_logger
from cryptoviz.records import Kind, UnifiedRecord
from cryptoviz.settings import KafkaSettings

__all__ = ["KafkaTransport", "Seen", "SeenFetches", "SeenNothing", "SeenTicks", "read_tail"]

CONNECT_TIMEOUT_S = 10.0
COMMIT_TIMEOUT_S = 15.0
TRANSACTION_TIMEOUT_MS = 20_000
"""How long a dead producer's open transaction can hold readers up when no successor comes; above the commit's own time-out."""
TAIL_RECORDS = 64
"""Offsets read back at first. Markers and aborted records take offsets too, so that it is doubled until a record turns up."""
TAIL_MOST_RECORDS = 65_536
"""How far back a record that counts is looked for: what a dead predecessor left in doubt lies seconds back, even behind a backfill."""
TAIL_TIMEOUT_S = 10.0
TAIL_POLL_S = 0.2
TAIL_FETCH_WAIT_MS = 20
LINGER_MS = 2
_FENCED_CODES = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


class Seen(Protocol):
    """Remembers from the tail's records what is published already."""

    def counts(self, value: bytes) -> bool:
        """Whether a record tells something: the tail reaches back to one that does."""
        ...

    def learn(self, values: Iterable[bytes]) -> int | None:
        """Take in the tail; the newest tick in it."""
        ...

    def has(self, batch: Batch) -> bool:
        """Whether the batch is published."""
        ...


class SeenTicks:
    """For the stream topic, where ticks go in order: all up to the newest are published."""

    def __init__(self) -> None:
        self._last: int | None = None

    def counts(self, value: bytes) -> bool:
        """A live unified record. Those of a backfill are in no order, and other records are not the collector's."""
        return _live_tick(value) is not None

    def learn(self, values: Iterable[bytes]) -> int | None:
        """The newest tick of live unified records."""
        for value in values:
            tick_ts = _live_tick(value)
            if tick_ts is not None:
                self._last = max(tick_ts, self._last or tick_ts)
        return self._last

    def has(self, batch: Batch) -> bool:
        """At or before the newest."""
        return self._last is not None and batch.tick_ts <= self._last


class SeenFetches:
    """For the raw topic, where each batch is one exchange: by its fetch id."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def counts(self, value: bytes) -> bool:
        """Any."""
        del value
        return True

    def learn(self, values: Iterable[bytes]) -> int | None:
        """The fetch ids of the tail; no tick, because the topic is shared by all scrapers."""
        self._ids = {fetch_id for value in values if (fetch_id := _fetch_id(value)) is not None}
        return None

    def has(self, batch: Batch) -> bool:
        """By identity."""
        return batch.identity in self._ids


class SeenNothing:
    """For one that looks what is there by itself."""

    def counts(self, value: bytes) -> bool:
        """Any."""
        del value
        return True

    def learn(self, values: Iterable[bytes]) -> int | None:
        """Nothing."""
        del values
        return None

    def has(self, batch: Batch) -> bool:
        """Never."""
        del batch
        return False


def _live_tick(value: bytes) -> int | None:
    try:
        record = UnifiedRecord.from_json(value)
    except ValueError:
        return None
    return record.tick_ts if record.kind == Kind.LIVE and isinstance(record.tick_ts, int) else None


def _fetch_id(value: bytes) -> str | None:
    try:
        data = orjson.loads(value)
    except ValueError:
        return None
    fetch_id = data.get("fetch_id") if isinstance(data, dict) else None
    return fetch_id if isinstance(fetch_id, str) else None


class KafkaTransport:
    """One transactional id, one topic. Constructing it makes no connection."""

    def __init__(self, settings: KafkaSettings, topic: str, transactional_id: str, seen: Seen) -> None:
        self._settings = settings
        self._topic = topic
        self._transactional_id = transactional_id
        self._seen = seen
        self._producer: Any = None
        self._log = get_logger(transactional_id)

    def connect(self) -> int | None:
        """A new producer that fences its predecessors, then the tail. See `actors.publisher.Transport`."""
        self.close()
        self._producer = kafka_producer(
            self._settings,
            {
                "transactional.id": self._transactional_id,
                "client.id": self._transactional_id,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": LINGER_MS,
                "message.max.bytes": self._settings.max_record_bytes,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "message.timeout.ms": round(COMMIT_TIMEOUT_S * 1000),
            },
        )
        try:
            self._producer.init_transactions(CONNECT_TIMEOUT_S)
            return self._seen.learn(read_tail(self._settings, self._topic, self._seen.counts))
        except KafkaException as error:
            raise self._failure(error) from None

    def is_published(self, batch: Batch) -> bool:
        """As of the last `connect`."""
        return self._seen.has(batch)

    def publish(self, batch: Batch) -> None:
        """One transaction. See `actors.publisher.Transport`."""
        try:
            self._producer.begin_transaction()
            for message in batch.messages:
                self._producer.produce(self._topic, key=message.key, value=message.value)
            for note in batch.notes:
                self._producer.produce(self._settings.raw_topic, key=note.key, value=note.value)
            self._producer.commit_transaction(COMMIT_TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """Drop the producer without waiting for what it holds; an open transaction is the successor's to abort."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.purge()
            except KafkaException as error:
                self._log.debug("purge_failed", reason=str(error))

    def _failure(self, error: Exception) -> EngineUnavailable | Fenced:
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if cause is not None and cause.code() in _FENCED_CODES:
            return Fenced(f"another producer with the transactional id {self._transactional_id!r} took over", transactional_id=self._transactional_id)
        address, text = self._settings.bootstrap_servers, str(error) if cause is None else cause.str()
        return EngineUnavailable(f"Kafka at {address} (kafka.bootstrap_servers): {text}", engine="kafka", address=address)


def read_tail(settings: KafkaSettings, topic: str, counts: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
    """The values at the end of each partition as readers of committed records see them: back to one that counts, if there is any within reach.

    Raises:
        KafkaException: the broker does not answer, or there is no such topic.
    """
    consumer = kafka_consumer(
        settings,
        {
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            # The end of a partition is known when a fetch comes back empty: it should not wait for records.
            "fetch.wait.max.ms": TAIL_FETCH_WAIT_MS,
        },
    )
    try:
        metadata = consumer.list_topics(topic, TAIL_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return _tails(consumer, topic, list(metadata.partitions), counts)
    finally:
        consumer.close()


def _tails(consumer: Any, topic: str, partitions: list[int], counts: Callable[[bytes], bool]) -> list[bytes]:
    """All partitions at once, each read from deeper until it yields a record or is read whole."""
    bounds = {partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TAIL_TIMEOUT_S) for partition in partitions}
    values: list[bytes] = []
    pending = {partition for partition, (low, high) in bounds.items() if high > low}
    depth = TAIL_RECORDS
    while pending:
        starts = {partition: max(bounds[partition][0], bounds[partition][1] - depth) for partition in pending}
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in starts.items()])
        found = _until_end(consumer, pending)
        values += [value for partition in found for value in found[partition]]
        wanting = {partition for partition in pending if starts[partition] > bounds[partition][0] and not any(map(counts, found[partition]))}
        pending = wanting if depth < TAIL_MOST_RECORDS else {partition for partition in wanting if not found[partition]}
        depth *= 2
    return values


def _until_end(consumer: Any, partitions: set[int]) -> dict[int, list[bytes]]:
    """The values of each partition from where it is assigned to its end."""
    values: dict[int, list[bytes]] = {partition: [] for partition in partitions}
    left = set(partitions)
    deadline = time.monotonic() + TAIL_TIMEOUT_S
    while left:
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the end of the topic was not reached"))
        message = consumer.poll(TAIL_POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            values[message.partition()].append(message.value() or b"")
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            raise KafkaException(error)
    return values
