"""What stands in Kafka: a transactional producer like the publisher, and a reader independent of the code under test."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Sequence

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.kafka import admin_client
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.records import event_id
from cryptoviz.settings import Settings
from tests.support.records import exchange, record
from tests.support.waiting import eventually


class Feed:
    """Publishes ticks like the publisher: one transaction each."""

    def __init__(self, settings: Settings, name: str = "lake-test") -> None:
        self._kafka = settings.kafka
        self._producer = kafka_producer(self._kafka, {"transactional.id": name, "linger.ms": 1})
        self._producer.init_transactions(60)
        self.rows = 0
        self.exchanges = 0
        self.acknowledged: Counter[str] = Counter()
        """Event ids of good rows whose transaction Kafka has committed."""

    def tick(self, tick_ts: int, assets: Sequence[Asset] = DEFAULT_ASSETS) -> None:
        """One tick of all assets and one raw exchange."""
        rows = [(asset.asset_id.encode(), record(tick_ts, asset).to_json()) for asset in assets]
        self.publish(rows, [(b"coingecko", exchange(tick_ts).to_json())])
        self.acknowledged.update(event_id(asset.asset_id, tick_ts, "live") for asset in assets)
        self.rows += len(rows)
        self.exchanges += 1

    def publish(self, stream: Sequence[tuple[bytes, bytes | None]], raw: Sequence[tuple[bytes, bytes | None]] = ()) -> None:
        """Any records, in one transaction."""
        self._producer.begin_transaction()
        for topic, messages in ((self._kafka.stream_topic, stream), (self._kafka.raw_topic, raw)):
            for key, value in messages:
                self._producer.produce(topic, value, key=key)
        self._producer.commit_transaction(60)

    def abort(self, stream: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Aborted records, which readers of committed records must not see."""
        self._producer.begin_transaction()
        for key, value in stream:
            self._producer.produce(self._kafka.stream_topic, value, key=key)
        self._producer.flush(60)
        self._producer.abort_transaction(60)


def read_all(settings: Settings, topic: str, timeout_s: float = 60.0) -> list[bytes]:
    """All committed values of a topic by partition and offset, independently of the code under test.

    The markers of a transaction reach its partitions a moment after its end is answered, and hide its records until then: waits for them first.
    """
    eventually(lambda: all_ended(settings, topic), timeout_s)
    consumer = kafka_consumer(settings.kafka, {"group.id": uuid.uuid4().hex, "enable.partition.eof": True})
    try:
        left = set(consumer.list_topics(topic, 30.0).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        values: list[tuple[int, int, bytes]] = []
        deadline = time.monotonic() + timeout_s
        while left:
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                values.append((message.partition(), message.offset(), message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
        return [value for _, _, value in sorted(values, key=lambda record: record[:2])]
    finally:
        consumer.close()


def all_ended(settings: Settings, topic: str) -> bool:
    """Whether the topic has no open transaction: both kinds of readers see the same ends. Not while the broker refuses to tell, as after a pause."""
    with contextlib.suppress(KafkaException):
        return ends_of(settings, topic) == ends_of(settings, topic, IsolationLevel.READ_UNCOMMITTED)
    return False


def make_topics(settings: Settings) -> None:
    """Create the topics of the settings and wait until their partitions answer: a broker knows a new topic before it leads it."""
    TopicAdmin(settings.kafka).ensure_topics({})

    def answer() -> bool:
        with contextlib.suppress(KafkaException):
            return all(ends_of(settings, topic) for topic in (settings.kafka.stream_topic, settings.kafka.raw_topic))
        return False

    eventually(answer)


def ends_of(settings: Settings, topic: str, level: IsolationLevel = IsolationLevel.READ_COMMITTED) -> dict[int, int]:
    """End offset of each partition."""
    admin = admin_client(settings.kafka)
    partitions = admin.list_topics(topic, 30.0).topics[topic].partitions
    asked = {TopicPartition(topic, each): OffsetSpec.latest() for each in partitions}
    found = admin.list_offsets(asked, isolation_level=level, request_timeout=30.0)
    return {key.partition: int(future.result(30.0).offset) for key, future in found.items()}


def drop_records(settings: Settings) -> None:
    """Delete all records of the stream topic, like Kafka's retention."""
    topic = settings.kafka.stream_topic
    ends = [TopicPartition(topic, partition, end) for partition, end in ends_of(settings, topic, IsolationLevel.READ_UNCOMMITTED).items()]
    admin = admin_client(settings.kafka)  # a client that is not referenced any more does not answer
    for future in admin.delete_records(ends).values():
        future.result(60)
