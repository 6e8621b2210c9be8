"""The publisher's seam to Kafka: one transactional producer, and what it and its predecessors have published.

The progress that each transaction carries says so (`cryptoviz.kafka.transactions`). Where there is none, at the first start on a topic or after the
broker has forgotten it, the topic's tail does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from actors.publishing.transaction import Batch, Refused
from actors.taken_ticks import LEAP_MS, Leap, TakenTicks
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import KafkaClients, OwnedProducer, Progress, Record, Refusal
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.lake.topic_reader import topic_ends
from cryptoviz.records import Kind, UnifiedRecord
from cryptoviz.settings import KafkaSettings

__all__ = ["KafkaTransport", "Published", "PublishedBatches", "PublishedTicks", "read_tail"]

TAIL_RECORDS = 64
"""Offsets read back at first. Markers and aborted records take offsets too, so that it is doubled until a record turns up."""
TAIL_MOST_RECORDS = 65_536
"""How far back a record that counts is looked for: what a dead predecessor left in doubt lies seconds back, even behind a backfill."""
TAIL_TIMEOUT_S = 10.0
TAIL_POLL_S = 0.2
TAIL_FETCH_WAIT_MS = 20


class Published(Protocol):
    """Says which batches are published: by the progress of the last transaction, and where there is none by the topic's tail."""

    @property
    def last_tick(self) -> int | None:
        """The newest published tick, None if none is known."""
        ...

    def counts(self, value: bytes) -> bool:
        """Whether a record of the tail is one of the publisher's."""
        ...

    def learn(self, values: Iterable[bytes]) -> int | None:
        """Take in the tail; the newest tick in it."""
        ...

    def resume(self, progress: Progress) -> None:
        """Take in the progress."""
        ...

    def doubtful(self) -> bool:
        """Whether the progress cannot be: then the tail is looked at, too."""
        ...

    def has(self, batch: Batch) -> bool:
        """Whether the batch is published."""
        ...

    def after(self, batch: Batch) -> TakenTicks:
        """What the progress is to say with this batch."""
        ...


class PublishedTicks:
    """For the stream topic, where ticks go in order: all up to the newest are published, but for those that a leap of the clock passed over."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._in_tail: Leap | None = None
        self.taken = TakenTicks()

    @property
    def last_tick(self) -> int | None:
        """The newest published tick; before a leap, when the clock is in it again."""
        return self.taken.before(self._clock.now_ms())

    def counts(self, value: bytes) -> bool:
        """A live unified record that is not of a time to come. Those of a backfill are in no order, and other records are not the collector's."""
        tick_ts = _live_tick(value)
        return tick_ts is not None and tick_ts <= self._clock.now_ms() + LEAP_MS

    def learn(self, values: Iterable[bytes]) -> int | None:
        """The newest tick of live unified records, and whether the clock leapt between two of them into a time to come."""
        ticks = [tick_ts for value in values if (tick_ts := _live_tick(value)) is not None]
        horizon = self._clock.now_ms() + LEAP_MS
        low = max((tick_ts for tick_ts in ticks if tick_ts <= horizon), default=None)
        high = min((tick_ts for tick_ts in ticks if tick_ts > horizon), default=None)
        self._in_tail = Leap(low, high - LEAP_MS, high) if low is not None and high is not None else None
        return max(ticks, default=None)

    def resume(self, progress: Progress) -> None:
        """Its position is the newest tick."""
        leap = self._in_tail
        self.taken = TakenTicks.of(progress.position, progress.leaps)
        if leap is not None and progress.position is not None and not progress.leaps and leap.high <= progress.position:
            self.taken = TakenTicks(progress.position, (leap,))

    def doubtful(self) -> bool:
        """A newest tick far in a time to come, of an earlier version, which kept no leaps."""
        return self.taken.newest is not None and not self.taken.leaps and self.taken.newest > self._clock.now_ms() + LEAP_MS

    def has(self, batch: Batch) -> bool:
        """Whether its tick is taken."""
        return self.taken.has(batch.tick_ts)

    def after(self, batch: Batch) -> TakenTicks:
        """With its tick."""
        return self.taken.taking(batch.tick_ts)


class PublishedBatches:
    """For batches in no order, one in flight at a time: only the last can be in doubt. Its identity says whether it was published."""

    def __init__(self) -> None:
        self._identity = ""
        self._position: int | None = None
        self._tail: frozenset[str] = frozenset()

    last_tick: int | None = None
    """Not known: others publish to the topic, too."""

    def counts(self, value: bytes) -> bool:
        """Any record."""
        del value
        return True

    def learn(self, values: Iterable[bytes]) -> int | None:
        """The fetch ids of the tail. Batches of the raw topic are named by theirs."""
        self._tail = frozenset(fetch_id for value in values if (fetch_id := _fetch_id(value)) is not None)
        return None

    def resume(self, progress: Progress) -> None:
        """The identity of the last batch."""
        self._identity = progress.identity
        self._position = progress.position

    def doubtful(self) -> bool:
        """Never: an identity is not a time."""
        return False

    def has(self, batch: Batch) -> bool:
        """By identity."""
        return batch.identity == self._identity or batch.identity in self._tail

    def after(self, batch: Batch) -> TakenTicks:
        """The newest tick, for a person."""
        return TakenTicks(max(batch.tick_ts, self._position or batch.tick_ts))


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

    def __init__(self, settings: KafkaSettings, topic: str, transactional_id: str, published: Published, clients: KafkaClients | None = None) -> None:
        self._settings = settings
        self._topic = topic
        self._published = published
        self._producer = OwnedProducer(settings, transactional_id, topic, clients)

    def connect(self) -> int | None:
        """Fence predecessors, learn what they published. See `actors.publishing.publisher.Transport`."""
        progress = self._producer.connect(self._look)
        self._published.resume(progress)
        if self._published.doubtful():
            self._look()
            self._published.resume(progress)
        return self._published.last_tick

    def is_published(self, batch: Batch) -> bool:
        """As of the last `connect` and what was published since."""
        return self._published.has(batch)

    def publish(self, batch: Batch) -> tuple[Refused, ...]:
        """One transaction. See `actors.publishing.publisher.Transport`."""
        records = [Record(self._topic, message.key, message.value) for message in batch.messages]
        records += [Record(self._settings.raw_topic, note.key, note.value) for note in batch.notes]
        taken = self._published.after(batch)
        refusals = self._producer.commit(records, taken.newest, batch.identity, leaps=taken.leaps)
        self._published.resume(self._producer.progress)
        return _refused(batch, refusals)

    def was_refused(self, batch: Batch) -> tuple[Refused, ...]:
        """See `actors.publishing.publisher.Transport`."""
        return _refused(batch, self._producer.refused(batch.identity))

    def close(self) -> None:
        """Drop the producer without waiting for what it holds; an open transaction is the successor's to abort."""
        self._producer.close()

    def _look(self) -> int | None:
        try:
            topic_ends(self._settings, self._topic, settled=True)  # what a predecessor committed is not hidden by another's open transaction
            return self._published.learn(read_tail(self._settings, self._topic, self._published.counts))
        except KafkaException as error:
            address = self._settings.bootstrap_servers
            raise EngineUnavailable(f"Kafka at {address} (kafka.bootstrap_servers): {error.args[0].str()}", engine="kafka", address=address) from None


def _refused(batch: Batch, refusals: Iterable[Refusal]) -> tuple[Refused, ...]:
    sent = (*batch.messages, *batch.notes)
    return tuple(Refused(sent[refusal.index], refusal.reason) for refusal in refusals)


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
