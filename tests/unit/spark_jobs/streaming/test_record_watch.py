"""The watch of records without a broker, and the monitor that wakes it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from confluent_kafka import TopicPartition

from cryptoviz.settings import Settings, load_settings
from spark_jobs.streaming import query_monitor
from spark_jobs.streaming.query_monitor import QueryMonitor
from spark_jobs.streaming.record_watch import RecordWatch
from tests.support.ports import free_port
from tests.support.waiting import eventually

TOPIC = "crypto-streaming"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"})


def kafka_threads() -> set[str]:
    """Threads of Kafka's client in this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if (task / "comm").read_text().startswith("rdk:"):
                found.add(task.name)
    return found


def test_a_watch_that_is_closed_leaves_no_thread(settings: Settings) -> None:
    before = kafka_threads()
    watch = RecordWatch(settings.kafka, TOPIC, 0.0)
    waiting = threading.Thread(target=watch.wait, args=({(TOPIC, 0): 0},))
    waiting.start()
    eventually(lambda: kafka_threads() - before)
    watch.close()
    waiting.join(10)
    assert not waiting.is_alive()
    eventually(lambda: not kafka_threads() - before)
    watch.wait({(TOPIC, 0): 0})
    assert not kafka_threads() - before


def test_a_client_that_cannot_be_made_ends_the_wait_and_not_the_batch(settings: Settings, tmp_path: Path) -> None:
    kafka = settings.kafka.model_copy(update={"security_protocol": "SSL", "ssl_ca_location": tmp_path / "none.pem"})
    watch = RecordWatch(kafka, TOPIC, 0.0)
    watch.wait({(TOPIC, 0): 0})
    assert not watch.waiting


def test_the_look_at_the_ends_has_one_deadline_for_all_partitions(settings: Settings) -> None:
    """A broker that answers after 0.4 s: the third answer would come after the second of the deadline."""
    asked: list[int] = []

    class Slow:
        def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
            asked.append(partition.partition)
            threading.Event().wait(min(timeout, 0.4))
            return 0, 0

    watch = RecordWatch(settings.kafka, TOPIC, 0.0)
    watch._consumer = Slow()
    assert not watch._has_more(dict.fromkeys(range(20), 0))
    assert len(asked) <= 3


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at Kafka's ends much more often than at its partitions, as in production."""
    monkeypatch.setattr(query_monitor, "_EVERY_S", 0.01)
    monkeypatch.setattr(query_monitor, "_PARTITIONS_EVERY_S", 0.2)


@pytest.mark.usefixtures("quick")
def test_a_partition_that_was_added_wakes_the_watch_until_a_batch_has_it() -> None:
    """The position of the last batch has two partitions, Kafka has three, and nothing else is new."""
    writer = SimpleNamespace(position={("raw", 0): 5, (TOPIC, 0): 7}, stats=SimpleNamespace(batches=1))
    kafka, watch = MagicMock(), MagicMock()
    kafka.ends.side_effect = lambda keys, _: {key: writer.position[key] for key in keys}
    kafka.describe.return_value = {"raw": ("1", 1), TOPIC: ("2", 2)}
    monitor = QueryMonitor(MagicMock(), cast("Any", writer), kafka, MagicMock(), MagicMock(), watch)
    monitor.watch(MagicMock())
    try:
        eventually(lambda: watch.wake.called)
        writer.position = writer.position | {(TOPIC, 1): 0}
        kafka.describe.reset_mock()
        eventually(lambda: kafka.describe.called)
        watch.wake.reset_mock()
        kafka.describe.reset_mock()
        eventually(lambda: kafka.describe.called)
        assert not watch.wake.called
    finally:
        monitor.close()
