"""A real broker that holds a transaction open which its coordinator has ended: readers of committed records wait until its producer connects."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import admin_client, consumer, producer
from cryptoviz.kafka.transactions import OwnedProducer, Progress, Record
from cryptoviz.lake.topic_reader import read_topic
from cryptoviz.settings import Settings
from tests.support import engines as support
from tests.support.engines import engines, lake_settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ID = "abandoned"
STATE_TOPIC = "__transaction_state"
COMPLETE_COMMIT = 4


def last_complete_state(settings: Settings) -> tuple[int, bytes, bytes]:
    """Partition, key and value of the coordinator's last record that says that a transaction of the id is complete."""
    reader = consumer(settings.kafka, {"group.id": "test", "isolation.level": "read_uncommitted"})
    try:
        partitions = [TopicPartition(STATE_TOPIC, number, 0) for number in reader.list_topics(STATE_TOPIC, 10).topics[STATE_TOPIC].partitions]
        ends = {one.partition: reader.get_watermark_offsets(one, timeout=10)[1] for one in partitions}
        reader.assign(partitions)
        found = None
        left = {number for number, end in ends.items() if end}
        while left:
            record = reader.poll(5.0)
            assert record is not None
            assert record.error() is None
            key, value = record.key() or b"", record.value() or b""
            # Version, producer id and epoch (version 1: tagged fields follow), timeout, state.
            if key.endswith(ID.encode()) and value and struct.unpack_from(">b", value, 16)[0] == COMPLETE_COMMIT:
                found = (record.partition(), key, value)
            if record.offset() + 1 >= ends[record.partition()]:
                left.discard(record.partition())
    finally:
        reader.close()
    assert found
    return found


def ends_of(settings: Settings, level: IsolationLevel) -> int:
    """Sum of the end offsets of the topic, for readers of this level."""
    admin, topic = admin_client(settings.kafka), settings.kafka.stream_topic
    partitions = admin.list_topics(topic, timeout=60).topics[topic].partitions
    found = admin.list_offsets({TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}, isolation_level=level)
    return sum(one.result(10).offset for one in found.values())


def connected(owned: OwnedProducer) -> Progress:
    """The progress, once the broker, which has just started, accepts transactions."""

    def attempt() -> Progress:
        try:
            return owned.connect()
        except EngineUnavailable as error:
            raise AssertionError(str(error)) from error

    return eventually(attempt, 120)


def test_a_transaction_that_the_partitions_hold_open_for_ever_is_ended_by_its_producer(tmp_path: Path) -> None:
    if support.EXTERNAL:
        pytest.skip("writes to an internal topic, as an administrator")
    settings = lake_settings(tmp_path)
    topic = settings.kafka.stream_topic
    with engines(settings, "kafka") as (kafka,):
        first = OwnedProducer(settings.kafka, ID, topic)
        connected(first)
        first.commit([Record(topic, b"bitcoin", b"1")], 1, "tick-1")
        # A transaction whose coordinator has a record that it is complete, as after the loss of its markers.
        partition, key, value = last_complete_state(settings)
        first._producer.begin_transaction()
        first._producer.produce(topic, value=b"never", key=b"bitcoin")
        first._send_progress(first.progress)
        assert first._producer.flush(10) == 0
        internal = producer(settings.kafka, {"client.id": "__admin_client", "enable.idempotence": False})
        internal.produce(STATE_TOPIC, partition=partition, key=key, value=value)
        assert internal.flush(10) == 0
        pid = kafka.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        kafka.stop(0.0)
        kafka.start()

        def held() -> bool:
            return ends_of(settings, IsolationLevel.READ_COMMITTED) < ends_of(settings, IsolationLevel.READ_UNCOMMITTED)

        assert eventually(held)
        successor = OwnedProducer(settings.kafka, ID, topic)
        assert connected(successor).identity == "tick-1"
        assert not held()
        successor.commit([Record(topic, b"bitcoin", b"2")], 2, "tick-2")
        eventually(lambda: not held())
        assert [record.value() for record in read_topic(settings.kafka, topic)] == [b"1", b"2"]
        successor.close()
