"""The watch of records without a broker, and the monitor that wakes it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from confluent_kafka import TopicPartition

from cryptoviz.settings import Settings, load_settings
from spark_jobs.streaming import query_monitor, record_watch
from spark_jobs.streaming.query_monitor import QueryMonitor
from spark_jobs.streaming.record_watch import RecordWatch
from tests.support.documents import ROOT
from tests.support.ports import free_port
from tests.support.waiting import eventually

TOPIC = "crypto-streaming"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"})


OWN_PROCESS = """
import sys, threading
from pathlib import Path
from cryptoviz.settings import load_settings
from spark_jobs.streaming.record_watch import RecordWatch
from tests.support.waiting import eventually

def kafka_threads():
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:
            pass  # it has ended
    return sum(name.startswith("rdk:") for name in names)

watch = RecordWatch(load_settings(home=sys.argv[1], kafka={"bootstrap_servers": "127.0.0.1:" + sys.argv[2]}).kafka, ["t"], 0.0)
waiting = threading.Thread(target=watch.wait, args=({("t", 0): 0},))
waiting.start()
eventually(kafka_threads)
watch.close()
waiting.join(120)
assert not waiting.is_alive()
eventually(lambda: not kafka_threads())
watch.wait({("t", 0): 0})
assert not kafka_threads()
print("no thread left")
"""
"""Kafka's client names no thread after its owner: clients of other tests in the process would be counted."""


def test_a_watch_that_is_closed_leaves_no_thread(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWN_PROCESS, str(tmp_path), str(free_port())], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.returncode) == ("no thread left\n", 0), done.stderr


def test_a_wait_that_outlasts_the_close_ends_the_connection(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
            asked.set()
            answer.wait(240)
            return 0, 1

        def close(self) -> None:
            closed.set()

    monkeypatch.setattr(record_watch, "kafka_consumer", lambda *_: Slow())
    monkeypatch.setattr(record_watch, "_CLOSE_S", 0.01)
    watch = RecordWatch(settings.kafka, [TOPIC], 0.0)
    waiting = threading.Thread(target=watch.wait, args=({(TOPIC, 0): 0},))
    waiting.start()
    assert asked.wait(120)
    watch.close()
    assert not closed.is_set()
    answer.set()
    waiting.join(120)
    assert closed.is_set()


def test_a_consumer_that_misses_a_record_is_replaced_by_the_next_wait(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Silent:
        def __init__(self) -> None:
            self.ends, self.closed = [0, 5], False  # at the begin of the wait, and later
            made.append(self)

        def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
            del timeout
            return 0, self.ends.pop(0)

        def assign(self, partitions: list[TopicPartition]) -> None:
            assert [one.offset for one in partitions] == [0]

        def poll(self, timeout: float) -> None:
            del timeout

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(record_watch, "kafka_consumer", lambda *_: Silent())
    monkeypatch.setattr(record_watch, "_SILENT_S", 0.0)
    watch = RecordWatch(settings.kafka, [TOPIC], 0.0)
    watch.wait({(TOPIC, 0): 0})
    watch.wait({(TOPIC, 0): 0})
    assert [one.closed for one in made] == [True, True]


def test_a_client_that_cannot_be_made_ends_the_wait_and_not_the_batch(settings: Settings, tmp_path: Path) -> None:
    kafka = settings.kafka.model_copy(update={"security_protocol": "SSL", "ssl_ca_location": tmp_path / "none.pem"})
    watch = RecordWatch(kafka, [TOPIC], 0.0)
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

    watch = RecordWatch(settings.kafka, [TOPIC], 0.0)
    watch._consumer = Slow()
    assert not watch._has_more(dict.fromkeys(((TOPIC, partition) for partition in range(20)), 0))
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
