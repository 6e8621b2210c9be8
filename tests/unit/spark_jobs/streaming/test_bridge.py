"""Batches of the lake's own process while Spark starts: which it writes, and how Spark takes over."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.progress import merge
from cryptoviz.settings import LakeSettings
from spark_jobs.streaming.bridge import Bridge
from spark_jobs.tables.engine_retry import EngineRetry
from tests.support.waiting import eventually

Ends = Mapping[tuple[str, int], int]
SPARK = cast("Any", "Spark's tasks")


class Writer:
    """A `BatchWriter` that remembers its batches."""

    def __init__(self) -> None:
        self.tasks: Any = "own tasks"
        self.position: Ends = {("t", 0): 5}
        self.engine_retry: Any = "the retries of Spark's batches"
        self.batches: list[tuple[int, bool]] = []
        self.error: Exception | None = None
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.store = threading.Event()
        self.store.set()

    def _store_answers(self) -> None:
        if not self.store.is_set():
            raise EngineUnavailable("the object store did not answer", engine="object-store", address="store.test:9000")

    def run(self, ends: Ends, *, again: bool = False) -> None:
        self.running.set()
        assert self.go_on.wait(120)
        if self.error:
            raise self.error
        self.engine_retry.run(self._store_answers)
        self.batches.append((ends["t", 0], again))
        self.position = merge(self.position, ends)


class Kafka:
    """End offsets."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.asked = 0
        self.answers = True

    def ends(self, pairs: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        self.asked += 1
        if not self.answers:
            raise EngineUnavailable("Kafka did not answer", engine="kafka", address="kafka.test:9092")
        return dict.fromkeys(pairs, self.end)


class OwnTasks:
    """Tasks of this process, closed or not."""

    closed = False

    def close(self) -> None:
        self.closed = True


def bridge_of(writer: Writer, kafka: Kafka, own: OwnTasks | None = None, most: int = 10) -> Bridge:
    return Bridge(cast("Any", writer), cast("Any", kafka), cast("Any", own or OwnTasks()), LakeSettings(bridge_records=most, trigger_ms=0))


def test_new_records_are_written_until_spark_takes_over_after_the_batch_that_runs() -> None:
    writer, kafka, own = Writer(), Kafka(7), OwnTasks()
    bridge = bridge_of(writer, kafka, own)
    bridge.start()
    eventually(lambda: writer.batches == [(7, False)])
    writer.running.clear()
    writer.go_on.clear()
    kafka.end = 9
    assert writer.running.wait(120)
    with ThreadPoolExecutor(1) as spark:
        taken = spark.submit(bridge.hand_over, SPARK)
        bridge.ready()
        assert not taken.done()
        writer.go_on.set()
        taken.result(120)
    kafka.end = 11
    assert (writer.batches, writer.tasks, own.closed) == ([(7, False), (9, False)], SPARK, True)
    assert writer.engine_retry == "the retries of Spark's batches"
    writer.tasks = SPARK
    bridge.hand_over(SPARK)  # before each later batch


def test_spark_takes_over_only_when_it_can_run_tasks() -> None:
    writer = Writer()
    bridge = bridge_of(writer, Kafka(7))
    bridge.start()
    with ThreadPoolExecutor(1) as spark:
        taken = spark.submit(bridge.hand_over, SPARK)
        eventually(lambda: writer.batches)
        assert not taken.done()
        bridge.ready()
        taken.result(120)


def test_a_backlog_is_left_to_spark() -> None:
    writer, kafka = Writer(), Kafka(9)
    bridge = bridge_of(writer, kafka, most=3)
    assert not bridge.redo({("t", 0): 9})
    bridge.start()
    eventually(lambda: kafka.asked > 2)
    bridge.ready()
    bridge.hand_over(SPARK)
    assert writer.batches == []


def test_the_planned_batch_is_repeated() -> None:
    writer = Writer()
    assert bridge_of(writer, Kafka(9)).redo({("t", 0): 9})
    assert writer.batches == [(9, True)]


@pytest.mark.parametrize("error", [LakeError("another lake job has taken over"), ValueError("another lake job has taken over")])
def test_spark_does_not_continue_after_a_batch_that_failed(error: Exception) -> None:
    writer = Writer()
    writer.error = error
    bridge = bridge_of(writer, Kafka(7))
    bridge.start()
    bridge.ready()
    with pytest.raises(type(error), match="another lake job has taken over"):
        bridge.hand_over(SPARK)
    with pytest.raises(type(error), match="another lake job has taken over"):
        bridge.check()
    assert writer.tasks == "own tasks"


def test_a_batch_that_waits_for_the_store_is_ended_by_its_return_and_not_by_spark() -> None:
    writer = Writer()
    writer.store.clear()
    bridge = bridge_of(writer, Kafka(7))
    bridge.start()
    bridge.ready()
    with ThreadPoolExecutor(1) as spark:
        taken = spark.submit(bridge.hand_over, SPARK)
        eventually(lambda: bridge._ended.is_set() and writer.engine_retry.problem)
        assert "object store" in writer.engine_retry.problem.message
        assert not taken.done()
        writer.store.set()
        taken.result(120)
    assert (writer.batches, writer.tasks) == ([(7, False)], SPARK)


def test_a_stop_ends_a_batch_that_waits_for_the_store() -> None:
    writer = Writer()
    writer.store.clear()
    bridge = bridge_of(writer, Kafka(7))
    bridge.start()
    eventually(lambda: isinstance(writer.engine_retry, EngineRetry) and writer.engine_retry.problem)
    bridge.close()
    assert bridge._thread is not None
    assert not bridge._thread.is_alive()
    assert writer.batches == []


def test_nothing_is_written_while_kafka_does_not_answer_and_spark_takes_over() -> None:
    writer, kafka = Writer(), Kafka(7)
    kafka.answers = False
    bridge = bridge_of(writer, kafka)
    bridge.start()
    eventually(lambda: kafka.asked > 2)
    assert writer.batches == []
    kafka.answers = True
    eventually(lambda: writer.batches == [(7, False)])
    bridge.ready()
    bridge.hand_over(SPARK)
    assert writer.tasks == SPARK


def test_a_stop_ends_the_wait_for_spark_and_refuses_its_batch() -> None:
    writer = Writer()
    bridge = bridge_of(writer, Kafka(5))
    bridge.start()
    with ThreadPoolExecutor(1) as spark:
        taken = spark.submit(bridge.hand_over, SPARK)
        bridge.close()
        with pytest.raises(LakeError, match="stopping"):
            taken.result(120)
