"""The order of commits, and changes of the progress."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.objects import S3Access, TableAddress
from cryptoviz.lake.progress import Progress, merge
from cryptoviz.log import get_logger
from spark_jobs.streaming.batch import BatchWriter
from spark_jobs.streaming.kafka_admin import KafkaTopics
from spark_jobs.streaming.kafka_range_reader import OffsetRange
from spark_jobs.streaming.tasks import Outcome
from spark_jobs.streaming.write import TopicSpec, WriteSpec
from spark_jobs.tables.engine_retry import EngineRetry
from spark_jobs.tables.parquet import TablePart, WrittenPart
from spark_jobs.tables.record_spec import PRICES_SPEC, RAW_SPEC
from spark_jobs.tables.table_log import TableLog
from tests.support.log_lines import log_lines
from tests.support.waiting import eventually

STREAM, RAW = "id-stream", "id-raw"
TOPICS = {"stream": TopicSpec(STREAM, PRICES_SPEC), "raw": TopicSpec(RAW, RAW_SPEC)}


@dataclass
class Log:
    """A table's log that records its commits in a common list."""

    address: TableAddress
    commits: list[Any]
    progress: Progress = field(default_factory=lambda: Progress("run", 0))
    error: Exception | None = None
    failures: int = 1_000_000
    version: int = 0

    def commit(self, parts: Iterable[Any], offsets: Any) -> None:
        if self.error is not None and self.failures:
            self.failures -= 1
            raise self.error
        self.commits.append((self.address.table, [part.path for part in parts], dict(offsets)))
        self.progress = Progress("run", 1, merge(self.progress.offsets, offsets))


class Kafka:
    def __init__(self) -> None:
        self.ids = {"stream": STREAM, "raw": RAW}

    def describe(self) -> dict[str, tuple[str, int]]:
        return {topic: (topic_id, 1) for topic, topic_id in self.ids.items()}


def wrote(*files: tuple[str, str, int]) -> list[Outcome]:
    """Outcomes of tasks that wrote these files: table, path, rows."""
    return [TablePart(table, WrittenPart(path, 1, rows, "{}")) for table, path, rows in files]


class Cluster:
    """Tasks with these outcomes, one list per batch; records the requested ranges."""

    def __init__(self) -> None:
        self.outcomes: list[list[Outcome]] = []
        self.ranges: list[OffsetRange] = []
        self.traced = False

    def write(self, plan: WriteSpec, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        self.traced = plan.traced
        self.ranges = list(ranges)
        return self.outcomes.pop(0)


@dataclass
class Rig:
    commits: list[Any] = field(default_factory=list)
    kafka: Kafka = field(default_factory=Kafka)
    cluster: Cluster = field(default_factory=Cluster)

    def __post_init__(self) -> None:
        self.logs = {table: Log(TableAddress(table, "b", ""), self.commits) for table in ("dead_letters", "raw", "prices")}
        access = S3Access("http://x", "r", "k", "s")
        self.writer = BatchWriter(TOPICS, cast("dict[str, TableLog]", self.logs), cast("KafkaTopics", self.kafka), self.cluster, access, 1)
        self.writer.set_position({("stream", 0): 10, ("raw", 0): 5})

    def run(self, outcomes: list[Outcome], ends: dict[tuple[str, int], int]) -> None:
        self.cluster.outcomes.append(outcomes)
        self.writer.run(ends)


def test_dead_letters_then_raw_then_prices() -> None:
    rig = Rig()
    rig.run(wrote(("prices", "p", 3), ("raw", "r", 2), ("dead_letters", "d", 1)), {("stream", 0): 20, ("raw", 0): 8})
    assert rig.commits == [
        ("dead_letters", ["d"], {(STREAM, 0): 20, (RAW, 0): 8}),
        ("raw", ["r"], {(RAW, 0): 8}),
        ("prices", ["p"], {(STREAM, 0): 20}),
    ]
    assert (rig.writer.stats.rows, rig.writer.stats.dead_letters, rig.writer.stats.files) == (5, 1, 3)
    assert rig.writer.position == {("stream", 0): 20, ("raw", 0): 8}


def test_a_topic_that_stood_still_is_not_committed() -> None:
    rig = Rig()
    rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert [commit[0] for commit in rig.commits] == ["prices"]
    rig.run([], {("stream", 0): 20, ("raw", 0): 5})
    assert len(rig.commits) == 1


def test_a_batch_of_nothing_but_poison_moves_the_owner_too() -> None:
    rig = Rig()
    rig.run(wrote(("dead_letters", "d", 4)), {("stream", 0): 14, ("raw", 0): 5})
    assert rig.commits == [("dead_letters", ["d"], {(STREAM, 0): 14}), ("prices", [], {(STREAM, 0): 14})]


def test_a_recreated_topic_stops_the_run_before_any_commit() -> None:
    rig = Rig()
    rig.kafka.ids["stream"] = "id-new"
    with pytest.raises(LakeError, match="re-created"):
        rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert rig.commits == []
    assert isinstance(rig.writer.failure, LakeError)


def test_a_failed_commit_leaves_the_position() -> None:
    rig = Rig()
    rig.logs["prices"].error = EngineUnavailable("S3 is away", engine="object-store")
    rig.writer.engine_retry = EngineRetry(threading.Event(), 0.0)
    with pytest.raises(EngineUnavailable):
        rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert rig.writer.position[("stream", 0)] == 10
    assert rig.writer.stats.batches == 0


def test_draining_refuses_further_batches_without_calling_it_a_failure() -> None:
    rig = Rig()
    assert rig.writer.drain(1)
    with pytest.raises(LakeError, match="stopping"):
        rig.run([], {("stream", 0): 20})
    assert rig.writer.failure is None


def test_a_commit_that_the_store_refuses_for_a_while_is_made_once() -> None:
    rig = Rig()
    rig.logs["prices"].error, rig.logs["prices"].failures = EngineUnavailable("S3 is away", engine="object-store"), 2
    rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert [commit[0] for commit in rig.commits] == ["prices"]
    assert rig.writer.failure is None
    assert rig.writer.engine_retry.problem is None


def test_a_file_that_the_store_refused_is_written_again_before_any_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    refused: list[Outcome] = [EngineUnavailable("the object store did not accept p: SlowDown", engine="object-store")]
    rig.cluster.outcomes = [refused, refused]
    seen: list[str | None] = []
    described = rig.kafka.describe

    def describe() -> dict[str, tuple[str, int]]:
        problem = rig.writer.engine_retry.problem
        seen.append(problem.message if problem else None)
        return described()

    monkeypatch.setattr(rig.kafka, "describe", describe)
    rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert seen == [None, *["the object store did not accept p: SlowDown"] * 2]
    assert [commit[1] for commit in rig.commits] == [["p"]]


def test_tasks_get_the_ranges_that_moved() -> None:
    rig = Rig()
    rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert rig.cluster.ranges == [OffsetRange("stream", 0, 10, 20)]
    rig.run(wrote(("prices", "q", 3)), {("stream", 0): 31, ("raw", 0): 8})
    assert rig.cluster.ranges == [OffsetRange("raw", 0, 5, 8), OffsetRange("stream", 0, 20, 31)]


def test_records_that_kafka_has_dropped_end_the_run_though_another_task_would_only_wait() -> None:
    rig = Rig()
    away, gone = EngineUnavailable("Kafka is away", engine="kafka"), LakeError("Kafka no longer has all offsets of [10, 12)", topic="stream")
    with pytest.raises(LakeError, match="no longer has all offsets"):
        rig.run([away, gone, *wrote(("raw", "r", 1))], {("stream", 0): 20, ("raw", 0): 8})
    assert rig.commits == []
    assert rig.writer.failure is gone


def test_a_recreated_topic_is_named_when_its_records_are_not_found() -> None:
    rig = Rig()
    rig.kafka.ids["stream"] = "id-new"
    with pytest.raises(LakeError, match="re-created"):
        rig.run([LakeError("Kafka no longer has all offsets of [10, 12)", topic="stream")], {("stream", 0): 20})


def test_a_stop_ends_the_waiting() -> None:
    rig = Rig()
    rig.logs["prices"].error = EngineUnavailable("S3 is away", engine="object-store")
    ended: list[BaseException] = []

    def run() -> None:
        try:
            rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
        except EngineUnavailable as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: rig.writer.engine_retry.problem is not None)
    assert rig.writer.drain(5)
    thread.join(120)
    assert ended
    assert rig.writer.failure is None


def test_a_batch_is_planned_before_its_tasks_and_one_of_nothing_is_not() -> None:
    rig = Rig()
    planned: list[Any] = []

    def announce(ranges: Any) -> None:
        planned.append((dict(ranges), list(rig.cluster.ranges)))

    rig.writer.write_plan = announce
    rig.run([], {("stream", 0): 10, ("raw", 0): 5})
    assert planned == []
    rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert planned == [({(STREAM, 0): (10, 20)}, [])]


def test_a_run_whose_plan_is_refused_writes_and_commits_nothing() -> None:
    rig = Rig()

    def announce(_: Any) -> None:
        raise LakeError("another lake job has taken over")

    rig.writer.write_plan = announce
    with pytest.raises(LakeError, match="taken over"):
        rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert (rig.commits, rig.cluster.ranges) == ([], [])


def test_a_run_that_was_overtaken_while_its_tasks_wrote_commits_nothing() -> None:
    rig = Rig()
    asked = iter([None, LakeError("another lake job has taken over")])

    def guard() -> None:
        if (error := next(asked)) is not None:
            raise error

    rig.writer.check_owner = guard
    with pytest.raises(LakeError, match="taken over"):
        rig.run(wrote(("prices", "p", 3)), {("stream", 0): 20, ("raw", 0): 5})
    assert rig.commits == []


def test_a_batch_that_is_made_again_moves_the_dead_letters_too() -> None:
    """The first attempt may have left a file of dead letters that the current decoder does not make: it is then below progress, and is swept."""
    rig = Rig()
    rig.cluster.outcomes.append(wrote(("prices", "p", 3)))
    rig.writer.run({("stream", 0): 20}, again=True)
    assert rig.commits == [("dead_letters", [], {(STREAM, 0): 20}), ("prices", ["p"], {(STREAM, 0): 20})]
    assert rig.writer.position == {("stream", 0): 20, ("raw", 0): 5}


def test_lines_of_a_batch_have_its_offsets_and_ticks() -> None:
    rig = Rig()
    parts: list[Outcome] = [TablePart("prices", WrittenPart("p", 1, 3, "{}"), (2000, 1000)), TablePart("raw", WrittenPart("r", 1, 2, "{}"), (2000,))]

    def said() -> None:
        get_logger("lake").info("inside")

    with log_lines() as lines:
        rig.writer.check_owner = said
        rig.run(parts, {("stream", 0): 20, ("raw", 0): 8})
        rig.run([], {("stream", 0): 20, ("raw", 0): 8})
    (first, _) = lines.of("batch")
    assert (first["ranges"], first["ticks"], first["prices"], first["raw"]) == ("raw[0]=5-8,stream[0]=10-20", "1000,2000", 3, 2)
    # Before the batch its ranges are not known.
    assert [line.get("ranges") for line in lines.of("inside")] == [None, "raw[0]=5-8,stream[0]=10-20", None, ""]
