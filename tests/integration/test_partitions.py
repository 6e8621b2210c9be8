"""Partitions added to a topic while its readers run: each reader reads them within seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.kafka import admin_client, producer
from cryptoviz.lake.kafka_audit import read_kafka, values_since
from cryptoviz.lake.topic_reader import read_topic
from cryptoviz.settings import Settings
from dashboard.feeds.kafka_feed import LiveFeed
from dashboard.shared_state import LiveState, Wakeups
from spark_jobs.streaming.kafka_range_reader import OffsetRange, read_range
from tests.support.clock import now_ms
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import caught_up, host_lake, ray_cluster
from tests.support.records import TICK, record
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


def put(settings: Settings, partition: int, tick_ts: int, asset: int = 0) -> str:
    """Publish one record to the stream topic; returns its event id."""
    one = record(tick_ts, DEFAULT_ASSETS[asset])
    out = producer(settings.kafka)
    out.produce(settings.kafka.stream_topic, one.to_json(), key=one.asset_id.encode(), partition=partition)
    assert out.flush(60) == 0
    return one.event_id


def add_partitions(settings: Settings, count: int) -> None:
    topic = settings.kafka.stream_topic
    admin = admin_client(settings.kafka)
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(60)
    eventually(lambda: len(admin.list_topics(topic, timeout=60).topics[topic].partitions) == count)


def shown(state: LiveState, asset: int) -> int | None:
    """The tick that a page shows of an asset."""
    found = {one.asset_id: one.tick_ts for one in state.latest().values()}
    return found.get(DEFAULT_ASSETS[asset].asset_id)


def test_the_dashboard_reads_partitions_that_were_added(topics: Settings) -> None:
    now = now_ms() // 1000 * 1000
    state = LiveState(Wakeups())
    feed = LiveFeed(topics, state)
    feed.start()
    try:
        put(topics, 0, now)
        eventually(lambda: shown(state, 0) == now)
        add_partitions(topics, 4)
        put(topics, 3, now, asset=1)  # before the feed has noticed
        eventually(lambda: shown(state, 1) == now)
        put(topics, 2, now, asset=2)
        eventually(lambda: shown(state, 2) == now)
    finally:
        feed.stop()


def test_the_lakes_tasks_read_partitions_that_were_added(topics: Settings) -> None:
    """A worker keeps its consumer, which knows two partitions of the topic."""
    topic, now = topics.kafka.stream_topic, now_ms()
    put(topics, 0, now)
    assert sum(batch.num_rows for batch in read_range(topics.kafka, OffsetRange(topic, 0, 0, 1))) == 1
    add_partitions(topics, 4)
    put(topics, 3, now)
    assert sum(batch.num_rows for batch in read_range(topics.kafka, OffsetRange(topic, 3, 0, 1))) == 1


def test_the_verifier_and_replays_read_partitions_that_were_added(topics: Settings) -> None:
    topic, now = topics.kafka.stream_topic, now_ms()
    put(topics, 0, now)
    assert read_kafka(topics, topic).records == 1
    add_partitions(topics, 4)
    put(topics, 3, now)
    assert read_kafka(topics, topic).records == 2
    assert len(list(read_topic(topics.kafka, topic))) == 2
    assert len(list(values_since(topics, topic, {}))) == 2


@pytest.mark.long
def test_partitions_that_the_settings_raise_are_added_and_the_lake_has_every_row_once(tmp_path: Path) -> None:
    few = lake_settings(tmp_path / "home")
    many = few.model_copy(update={"kafka": few.kafka.model_copy(update={"stream_partitions": 5, "raw_partitions": 3})})

    def counts() -> tuple[int, int]:
        topics = admin_client(few.kafka).list_topics(timeout=60).topics
        return len(topics[few.kafka.stream_topic].partitions), len(topics[few.kafka.raw_topic].partitions)

    with engines(few, "object-store"), ray_cluster() as ray:
        for number, (settings, expected) in enumerate(((few, (2, 1)), (many, (5, 3)), (few, (5, 3)))):  # Kafka cannot remove partitions
            with engines(settings, "kafka"):
                assert counts() == expected
                feed = Feed(settings)
                for tick in range(3):
                    feed.tick(TICK + (3 * number + tick) * 60_000)
                host = host_lake(ray, settings, f"lake-{number}")
                host.start()
                report = caught_up(settings)
                host.stop()
                ray.kill(host.actor)
            assert report.ok, report.to_text()
            assert [one.rows for one in report.comparisons if one.table == "prices"] == [17 * 3 * (number + 1)] * 2
