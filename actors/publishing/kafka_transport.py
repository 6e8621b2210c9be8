"""Kafka transport of the publisher: one transactional producer, and the record of what it and its predecessors have published.

This record is the progress stored with each transaction (`cryptoviz.kafka.transactions`). If there is no progress (first start on a topic, or
expired at the broker), the end of the topic is read instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from actors.publishing.transaction import KafkaTransaction, Refused
from actors.taken_ticks import LEAP_MS, Leap, TakenTicks
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import KafkaClients, OwnedProducer, Progress, Record, Refusal
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.lake.topic_reader import topic_ends
from cryptoviz.records import Kind, UnifiedRecord
from cryptoviz.settings import KafkaSettings
from cryptoviz.telemetry.trace_context import HEADER
from cryptoviz.telemetry.tracing import current_context

__all__ = ["BACKFILL", "COLLECTOR", "KafkaTransport", "Published", "PublishedTicks", "PublishedTransactions", "read_tail"]

COLLECTOR, BACKFILL = "collector", "backfill"
"""Producers of the stream topic (`producer_id`). All backfills are one: the next fences a backfill that was thought dead."""
TAIL_RECORDS = 64
"""Offsets read back at first; doubled until a record is found, because control markers and aborted records take offsets too."""
TAIL_MOST_RECORDS = 65_536
"""Maximum offsets read back: a dead predecessor's last transaction is seconds old, even with a backfill after it."""
TAIL_TIMEOUT_S = 10.0
TAIL_POLL_S = 0.2
TAIL_FETCH_WAIT_MS = 20


class Published(Protocol):
    """Which transactions are published: from the progress of the last transaction, or without progress from the end of the topic."""

    @property
    def last_tick(self) -> int | None:
        """The newest published tick; None if unknown."""

    def counts(self, value: bytes) -> bool:
        """Whether a record at the end of the topic was written by this publisher."""

    def learn(self, values: Iterable[bytes]) -> int | None:
        """Set the records at the end of the topic; returns their newest tick."""

    def resume(self, progress: Progress) -> None:
        """Set the progress."""

    def is_implausible(self) -> bool:
        """Whether the progress is implausible, so that the end of the topic must be read too."""

    def has(self, transaction: KafkaTransaction) -> bool:
        """Whether the transaction is published."""

    def after(self, transaction: KafkaTransaction) -> TakenTicks:
        """The published ticks once this transaction is committed, to be stored in its progress."""


class PublishedTicks:
    """For the stream topic, which has ticks in order: all ticks up to the newest are published, except those skipped by a clock jump."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._in_tail: Leap | None = None
        self.taken = TakenTicks()

    @property
    def last_tick(self) -> int | None:
        """The newest published tick; during a leap that the clock has returned to, the tick at which the leap starts."""
        return self.taken.before(self._clock.now_ms())

    def counts(self, value: bytes) -> bool:
        """A live unified record that is not in the future. Records of a backfill have no order, and other records are not the collector's."""
        tick_ts = _live_tick(value)
        return tick_ts is not None and tick_ts <= self._clock.now_ms() + LEAP_MS

    def learn(self, values: Iterable[bytes]) -> int | None:
        """The newest tick of live unified records. Also finds a clock jump into the future between two of them."""
        ticks = [tick_ts for value in values if (tick_ts := _live_tick(value)) is not None]
        horizon = self._clock.now_ms() + LEAP_MS
        low = max((tick_ts for tick_ts in ticks if tick_ts <= horizon), default=None)
        high = min((tick_ts for tick_ts in ticks if tick_ts > horizon), default=None)
        self._in_tail = Leap(low, high - LEAP_MS, high) if low is not None and high is not None else None
        return max(ticks, default=None)

    def resume(self, progress: Progress) -> None:
        """The position of the progress is the newest tick."""
        leap = self._in_tail
        self.taken = TakenTicks.of(progress.position, progress.leaps)
        if leap is not None and progress.position is not None and not progress.leaps and leap.high <= progress.position:
            self.taken = TakenTicks(progress.position, (leap,))

    def is_implausible(self) -> bool:
        """A newest tick far in the future without leaps: written by an earlier version, which did not store leaps."""
        return self.taken.newest is not None and not self.taken.leaps and self.taken.newest > self._clock.now_ms() + LEAP_MS

    def has(self, transaction: KafkaTransaction) -> bool:
        return self.taken.has(transaction.tick_ts)

    def after(self, transaction: KafkaTransaction) -> TakenTicks:
        return self.taken.taking(transaction.tick_ts)


class PublishedTransactions:
    """For transactions without order, one in flight at a time: only the outcome of the last can be unknown, which its identity resolves."""

    def __init__(self) -> None:
        self._identity = ""
        self._position: int | None = None
        self._tail: frozenset[str] = frozenset()

    last_tick: int | None = None
    """Unknown: other producers write to the topic too."""

    def counts(self, value: bytes) -> bool:
        """True for any record."""
        del value
        return True

    def learn(self, values: Iterable[bytes]) -> int | None:
        """Set the fetch ids at the end of the topic. Transactions of the raw topic have the fetch id as identity."""
        self._tail = frozenset(fetch_id for value in values if (fetch_id := _fetch_id(value)) is not None)
        return None

    def resume(self, progress: Progress) -> None:
        """Set the identity of the last transaction."""
        self._identity = progress.identity
        self._position = progress.position

    def is_implausible(self) -> bool:
        """False: an identity is not a time."""
        return False

    def has(self, transaction: KafkaTransaction) -> bool:
        """Compare by identity."""
        return transaction.identity == self._identity or transaction.identity in self._tail

    def after(self, transaction: KafkaTransaction) -> TakenTicks:
        """The newest tick, which is stored only for display."""
        return TakenTicks(max(transaction.tick_ts, self._position or transaction.tick_ts))


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
    """Transport for one transactional id and one topic. The constructor makes no connection."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        transactional_id: str,
        published: Published,
        clients: KafkaClients | None = None,
        audit_topic: str = "",
        also: Sequence[str] = (),
    ) -> None:
        """`audit_topic`: of the audit records; by default the raw topic. `also`: topics that audit records name themselves."""
        self._settings = settings
        self._audit_topic = audit_topic or settings.raw_topic
        self._topic = topic
        self._published = published
        self._producer = OwnedProducer(settings, transactional_id, topic, clients, (self._audit_topic, *also))

    def connect(self) -> int | None:
        """Fence predecessors and read what they published. See `actors.publishing.publisher.Transport`."""
        progress = self._producer.connect(self._read_end)
        self._published.resume(progress)
        if self._published.is_implausible():
            self._read_end()
            self._published.resume(progress)
        return self._published.last_tick

    def is_published(self, transaction: KafkaTransaction) -> bool:
        """As of the last `connect` and the transactions published since."""
        return self._published.has(transaction)

    def publish(self, transaction: KafkaTransaction) -> tuple[Refused, ...]:
        """Commit one transaction. See `actors.publishing.publisher.Transport`."""
        context = current_context()
        headers = ((HEADER, context.encode()),) if context else ()
        records = [Record(self._topic, message.key, message.value, headers) for message in transaction.messages]
        records += [Record(audit.topic or self._audit_topic, audit.key, audit.value, headers) for audit in transaction.audit_records]
        taken = self._published.after(transaction)
        refusals = self._producer.commit(records, taken.newest, transaction.identity, leaps=taken.leaps)
        self._published.resume(self._producer.progress)
        return _refused(transaction, refusals)

    def was_refused(self, transaction: KafkaTransaction) -> tuple[Refused, ...]:
        return _refused(transaction, self._producer.refused(transaction.identity))

    def close(self) -> None:
        """Discard the producer without flushing; the successor aborts an open transaction."""
        self._producer.close()

    def _read_end(self) -> int | None:
        try:
            topic_ends(self._settings, self._topic, settled=True)  # an open transaction of another producer would hide committed records
            return self._published.learn(read_tail(self._settings, self._topic, self._published.counts))
        except KafkaException as error:
            address = self._settings.bootstrap_servers
            raise EngineUnavailable(f"Kafka at {address} (kafka.bootstrap_servers): {error.args[0].str()}", engine="kafka", address=address) from None


def _refused(transaction: KafkaTransaction, refusals: Iterable[Refusal]) -> tuple[Refused, ...]:
    sent = (*transaction.messages, *transaction.audit_records)
    return tuple(Refused(sent[refusal.index], refusal.reason) for refusal in refusals)


def read_tail(settings: KafkaSettings, topic: str, counts: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
    """Committed values at the end of each partition, read back until a value for which `counts` is True, up to `TAIL_MOST_RECORDS` offsets.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.
    """
    consumer = kafka_consumer(
        settings,
        {
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            # An empty fetch marks the end of a partition: it must not wait for records.
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
    """Read all partitions at once, each from further back until a record is found or the partition is read completely."""
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
    """The values of each partition from the assigned offset to its end."""
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
