"""When the lake job looks for records: with a real broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.kafka import producer
from cryptoviz.settings import Settings
from spark_jobs.streaming.record_watch import RecordWatch
from tests.support.collection import settings_for
from tests.support.engines import kafka_and_redis
from tests.support.topics import ends_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

QUIET_S = 1.5
"""Three of the broker's answers without records."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with kafka_and_redis(tmp_path_factory.mktemp("engines")) as found:
        yield found.settings


@pytest.fixture
def topics(base: Settings, tmp_path: Path) -> Settings:
    return settings_for(base, tmp_path, {})


class Waiting:
    """A wait at the present ends of the stream topic, in a thread."""

    def __init__(self, settings: Settings, watch: RecordWatch | None = None) -> None:
        topic = settings.kafka.stream_topic
        self.watch = watch or RecordWatch(settings.kafka, [topic], 0.0)
        self.position = {(topic, partition): end for partition, end in ends_of(settings, topic).items()}
        self.thread = threading.Thread(target=self.watch.wait, args=(self.position,), daemon=True)
        self.thread.start()
        eventually(lambda: self.watch.waiting)

    def goes_on(self) -> bool:
        self.thread.join(QUIET_S)
        return self.thread.is_alive() and self.watch.waiting

    def ends(self) -> bool:
        self.thread.join(120)
        return not self.thread.is_alive() and not self.watch.waiting


def test_a_wait_ends_with_the_commit_of_a_record_and_not_before(topics: Settings) -> None:
    topic = topics.kafka.stream_topic
    out = producer(topics.kafka, {"transactional.id": topic})
    out.init_transactions(60)
    waiting = Waiting(topics)
    assert waiting.goes_on()
    for partition in (0, 1):
        out.begin_transaction()
        out.produce(topic, b"a record", partition=partition)
        assert out.flush(60) == 0
        assert waiting.goes_on()
        out.commit_transaction(60)
        assert waiting.ends()
        assert ends_of(topics, topic)[partition] > waiting.position[topic, partition]
        waiting = Waiting(topics, waiting.watch)
    assert waiting.goes_on()
    waiting.watch.close()
    assert waiting.ends()


def test_records_before_the_wait_end_it_at_once(topics: Settings) -> None:
    topic = topics.kafka.stream_topic
    out = producer(topics.kafka)
    out.produce(topic, b"a record", partition=1)
    assert out.flush(60) == 0
    watch = RecordWatch(topics.kafka, [topic], 0.0)
    watch.wait({(topic, 0): 0, (topic, 1): 0})
    watch.wait({(topic, 0): 0, (topic, 1): 0})
    watch.close()


def test_an_aborted_transaction_ends_a_wait(topics: Settings) -> None:
    """It moves the end offset, which the job counts as records behind Kafka until the next batch."""
    topic = topics.kafka.stream_topic
    out = producer(topics.kafka, {"transactional.id": topic})
    out.init_transactions(60)
    waiting = Waiting(topics)
    out.begin_transaction()
    out.produce(topic, b"never", partition=0)
    assert out.flush(60) == 0
    out.abort_transaction(60)
    assert waiting.ends()


def test_other_news_ends_a_wait(topics: Settings) -> None:
    waiting = Waiting(topics)
    assert waiting.goes_on()
    waiting.watch.wake()
    assert waiting.ends()


def test_an_offset_that_the_topic_does_not_have_ends_a_wait(topics: Settings) -> None:
    """As after the topic was deleted and created again."""
    watch = RecordWatch(topics.kafka, [topics.kafka.stream_topic], 0.0)
    watch.wait({(topics.kafka.stream_topic, 0): 1000})
    watch.close()
