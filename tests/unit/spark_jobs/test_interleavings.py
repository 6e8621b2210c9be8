"""The real code in the orders that lost rows: a run or a round is stopped just before its deletion while another takes over.

`tests/unit/spark_jobs/model` explores every order; this module tests the orders that it found, with delta-rs and files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from minio import Minio

from cryptoviz.errors import LakeError
from cryptoviz.lake.schema import RAW
from cryptoviz.settings import load_settings
from spark_jobs.maintenance.compaction.merge import Compactor
from spark_jobs.maintenance.days import days_of
from spark_jobs.maintenance.log_cleanup import remove_leftovers
from spark_jobs.maintenance.steps import LAYOUTS
from spark_jobs.streaming import job as lake_job
from spark_jobs.streaming.batch_plan import BatchPlan
from spark_jobs.streaming.bridge import Bridge
from spark_jobs.streaming.job import LakeJob
from spark_jobs.streaming.start_offsets import StartPoint
from spark_jobs.tables.orphans import LogState, list_data_files, remove_orphans
from spark_jobs.tables.table_log import TableLog
from tests.unit.spark_jobs.folder_store import DAY, SHORT, TOPIC, FolderAddress, FolderClient, Job, offsets_in, open_table
from tests.unit.spark_jobs.streaming.test_batch_plan import Cell

END = 1_000


def client(before: Callable[[str, list[str]], None] = lambda _what, _names: None) -> Minio:
    return cast("Minio", FolderClient(before))


def once(work: Callable[[], object]) -> Callable[..., None]:
    """Calls `work` at its first call only."""
    waiting = [work]

    def hook(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    return hook


def sweep_of(held: Minio, address: FolderAddress) -> int:
    """The sweep of a round: it lists the folder, then reads the log."""
    listed = list_data_files(held, address)
    return remove_leftovers(held, address, listed, open_table(address))


def part_path(start: int, end: int) -> str:
    return f"year={DAY.year}/month={DAY.month}/day={DAY.day}/part-{SHORT}-0-{start}-{end}.snappy.parquet"


class Topics:
    """The Kafka calls of a start: one partition per topic, from 0 to `END`."""

    def __init__(self, stream: str, raw: str) -> None:
        self._stream, self._raw = stream, raw

    def describe(self) -> dict[str, tuple[str, int]]:
        return {self._stream: (TOPIC, 1), self._raw: ("00000000-0000-4000-8000-000000000000", 1)}

    def start_points(self, described: Mapping[str, tuple[str, int]], owners: Mapping[str, Mapping[tuple[str, int], int]]) -> list[StartPoint]:
        return [StartPoint(topic, of, 0, 0, END, owners[topic].get((of, 0))) for topic, (of, _) in described.items()]


class Starts:
    """Starts of the lake job over one folder and one batch plan: the real `LakeJob.start`, with a folder as the store, without Spark and Kafka."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cell = Cell()
        self.settings = load_settings(home=folder.parent / f"{folder.name}-home")

    def run(self, name: str, before: Callable[[str, list[str]], None] = lambda _what, _names: None, opening: Any = None) -> tuple[Job, BatchPlan]:
        """A start up to its first batch, which repeats the planned batch. `opening` is called before its first table is fenced."""
        job, plan = Job(self.folder, name), BatchPlan(self.cell, name)
        starting = LakeJob(self.settings)
        raw = FolderAddress("raw", str(self.folder.parent / f"{self.folder.name}-raw"), "")
        starting._logs = {"raw": TableLog(raw, RAW, {}, name), "prices": job.log}
        starting._plan = plan
        starting._lease = MagicMock()
        starting._kafka = cast("Any", Topics(self.settings.kafka.stream_topic, self.settings.kafka.raw_topic))
        fence = starting._logs["raw"].open

        def opened(partitions: Collection[tuple[str, int]]) -> None:
            opening()
            fence(partitions)

        with pytest.MonkeyPatch.context() as patched:
            if opening is not None:
                patched.setattr(starting._logs["raw"], "open", opened)
            for away in (
                "start_session",
                "_warm_up",
                "SparkTasks",
                "spark_classpath",
                "task_slots",
                "QueryMonitor",
                "end_on_all_nodes",
                "DeadLetterCounter",
            ):
                patched.setattr(lake_job, away, MagicMock())
            patched.setattr(lake_job, "minio_client", lambda _: client(before))
            patched.setattr(lake_job, "BatchWriter", lambda *_: Writer(self, job, plan))
            patched.setattr(Bridge, "start", lambda _: None)
            patched.setattr(LakeJob, "_begin_query", lambda *_: None)
            starting.start()
        if starting._late_sweep is not None:
            starting._late_sweep.cancel()
        return job, plan

    def batch(self, job: Job, plan: BatchPlan, end: int) -> list[str]:
        plan.write({(TOPIC, 0): (job.log.progress.offsets.get((TOPIC, 0), 0), end)})
        return job.batch(end, plan.avoid.get("prices", ()))


class Writer:
    """In place of `BatchWriter`: plans and writes the batch in this process."""

    def __init__(self, starts: Starts, job: Job, plan: BatchPlan) -> None:
        self._starts, self._job, self._plan = starts, job, plan
        self.engine_retry = None
        self.position: Mapping[tuple[str, int], int] = {}

    def set_position(self, position: Mapping[tuple[str, int], int]) -> None:
        self.position = position

    def run(self, ends: Mapping[tuple[str, int], int], *, again: bool) -> None:
        assert again
        ((_, end),) = ends.items()
        self._starts.batch(self._job, self._plan, end)


def test_a_start_that_fences_before_its_successor_and_takes_the_plan_after_it_ends(tmp_path: Path) -> None:
    """Its second check of the tables fails before it deletes anything: the successor decides about the leftover of offsets 5 to 9."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    starts.batch(job, plan, 5)
    job.put(5, 10)
    deleted: list[str] = []
    read, waiting = starts.cell.read, ["third"]

    def successor_first() -> Any:
        if waiting:
            starts.run(waiting.pop())
        return read()

    starts.cell.read = successor_first  # type: ignore[method-assign]
    with pytest.raises(LakeError, match="another lake job"):
        starts.run("second", lambda _what, names: deleted.extend(names))
    assert deleted == []
    assert offsets_in(job.address, plain=True) == list(range(5))


def test_a_start_that_is_overtaken_before_its_fence_learns_what_its_rival_has_planned(tmp_path: Path) -> None:
    """The rival starts, plans offsets 0 to 6 and uploads their files in between; then this run fences it and repeats the same batch."""
    starts = Starts(tmp_path)

    def rival() -> None:
        job, plan = starts.run("rival")
        plan.write({(TOPIC, 0): (0, 7)})
        job.put(0, 7)

    job, _ = starts.run("second", opening=rival)
    assert offsets_in(job.address) == offsets_in(job.address, plain=True) == list(range(7))


def test_a_start_redoes_what_was_planned_and_not_committed(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    plan.write({(TOPIC, 0): (0, 7)})
    job.put(0, 7)
    after, _ = starts.run("second")
    assert offsets_in(after.address) == offsets_in(after.address, plain=True) == list(range(7))


def test_a_leftover_of_one_offset_stays_until_progress_has_passed_it(tmp_path: Path) -> None:
    """It cannot get another name: a rival that commits it during a late deletion would lose it."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    starts.batch(job, plan, 5)
    job.put(5, 6)
    deleted: list[str] = []
    after, its_plan = starts.run("second", lambda _what, names: deleted.extend(names))
    assert deleted == []
    assert its_plan.avoid == {}
    assert (tmp_path / part_path(5, 5)).is_file()
    assert starts.batch(after, its_plan, 6) == [part_path(5, 5)]
    assert offsets_in(after.address) == offsets_in(after.address, plain=True) == list(range(6))


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "in no plan"])
def test_a_start_that_was_overtaken_in_its_sweep_deletes_nothing_of_its_successor(tmp_path: Path, planned: bool) -> None:
    """The leftover of offsets 5 to 9 has the name that the successor's batch would get."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    starts.batch(job, plan, 5)
    if planned:
        plan.write({(TOPIC, 0): (5, 10)})
    assert [part.path for part in job.put(5, 10)] == [part_path(5, 9)]  # interrupted here

    def successor() -> None:
        after, its_plan = starts.run("third")
        if not planned:
            starts.batch(after, its_plan, 10)
        starts.batch(after, its_plan, 12)

    overtaken, its_plan = starts.run("second", once(successor)) if not planned else (None, None)
    if planned:
        successor()
    assert offsets_in(job.address) == list(range(12))
    assert offsets_in(job.address, plain=True) == list(range(12))
    if overtaken is not None and its_plan is not None:
        with pytest.raises(LakeError, match="another lake job"):
            starts.batch(overtaken, its_plan, 15)
        with pytest.raises(LakeError, match="another lake job"):
            overtaken.commit([], 15)
    assert offsets_in(job.address, plain=True) == list(range(12))


def test_a_run_that_plans_after_it_was_overtaken_writes_no_file(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    starts.batch(job, plan, 5)
    after, its_plan = starts.run("second")
    with pytest.raises(LakeError, match="run second"):
        starts.batch(job, plan, 8)
    starts.batch(after, its_plan, 9)
    assert offsets_in(job.address, plain=True) == list(range(9))


def test_a_file_that_comes_late_has_the_bytes_of_the_committed_one(tmp_path: Path) -> None:
    """The tasks of the superseded run were still working on its planned batch."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    plan.write({(TOPIC, 0): (0, 7)})
    after, its_plan = starts.run("second")  # repeats it
    starts.batch(after, its_plan, 9)
    committed = (tmp_path / part_path(0, 6)).read_bytes()
    job.put(0, 7)
    assert (tmp_path / part_path(0, 6)).read_bytes() == committed
    assert offsets_in(job.address, plain=True) == list(range(9))


def test_leftovers_below_progress_go_and_a_listing_however_old_takes_no_committed_file(tmp_path: Path) -> None:
    job = Job(tmp_path, "first").open()
    job.batch(5)
    job.put(2, 4)  # below progress, uncommitted
    job.put(5, 8)  # above it
    old = job.log.log_state()
    job.batch(8)
    assert remove_orphans(client(), job.address, old) == [part_path(2, 3)]
    assert offsets_in(job.address, plain=True) == list(range(8))
    assert LogState.read(open_table(job.address)).ends == {(SHORT, 0): 8}


def test_names_to_avoid_are_forgotten_once_progress_has_passed_them(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    job, _ = starts.run("first")
    job.put(0, 6)
    second, its_plan = starts.run("second")
    assert its_plan.avoid == {"prices": frozenset({part_path(0, 5)})}
    assert starts.batch(second, its_plan, 6) == [part_path(0, 4), part_path(5, 5)]
    _, third = starts.run("third")
    assert third.avoid == {}
    assert offsets_in(job.address, plain=True) == list(range(6))


def merged(folder: Path, address: Any, before: Callable[[str, list[str]], None] = lambda _what, _names: None, stage: Any = None) -> None:
    """Merge all files."""
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True, parents=True)
    table = open_table(address)
    Compactor(address, LAYOUTS["prices"], client(before), scratch, stage or (lambda _: None)).compact(table, days_of(table)[DAY])


def at(wanted: str, work: Callable[[], object]) -> Callable[[str], None]:
    waiting = [work]

    def hook(stage: str) -> None:
        if stage == wanted and waiting:
            waiting.pop()()

    return hook


@pytest.fixture
def parts(tmp_path: Path) -> Job:
    (tmp_path / "table").mkdir()
    job = Job(tmp_path / "table", "job").open()
    job.batch(4)
    job.batch(9)
    return job


def test_a_round_that_sweeps_between_anothers_copy_and_its_commit_takes_nothing_that_is_committed(parts: Job, tmp_path: Path) -> None:
    """The file is listed before its commit and deleted after it: either the commit is refused, or the file is in the log."""

    def sweep() -> None:
        sweep_of(client(), parts.address)

    with pytest.raises(LakeError, match="another maintenance round has swept"):
        merged(tmp_path / "table", parts.address, stage=at("copied", sweep))
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


def test_a_sweep_that_is_held_before_its_deletion_takes_nothing_that_is_committed_meanwhile(parts: Job, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):  # an interrupted merge: its copy and its staged file remain
        merged(tmp_path / "table", parts.address, stage=at("copied", lambda: (_ for _ in ()).throw(RuntimeError)))
    assert len(offsets_in(parts.address, plain=True)) == 18
    held = client(once(lambda: merged(tmp_path / "table", parts.address)))
    sweep_of(held, parts.address)
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))
    assert sweep_of(client(), parts.address) == 0


def test_a_sweep_that_is_held_before_it_raises_the_epoch_ends_the_merge_that_began_meanwhile(parts: Job, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        merged(tmp_path / "table", parts.address, stage=at("staged", lambda: (_ for _ in ()).throw(RuntimeError)))
    swept: list[int] = []

    def whole_sweep_around(*_: Any) -> None:
        swept.append(sweep_of(client(), parts.address))

    with pytest.raises(LakeError, match="another maintenance round has swept"):
        merged(tmp_path / "table", parts.address, stage=at("merged", whole_sweep_around))
    assert swept == [1]
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))
    merged(tmp_path / "table", parts.address)
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


@pytest.mark.parametrize("stage", ["merged", "staged", "proved", "copied"])
def test_two_merges_of_the_same_files_leave_one(parts: Job, tmp_path: Path, stage: str) -> None:
    """Also if the second commit follows the first, which Delta does not treat as a conflict."""
    with pytest.raises(LakeError, match="another maintenance"):
        merged(tmp_path / "table", parts.address, stage=at(stage, lambda: merged(tmp_path / "other" / "x", parts.address)))
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


def test_a_table_with_nothing_to_sweep_gets_no_commit(parts: Job) -> None:
    before = open_table(parts.address).version()
    assert sweep_of(client(), parts.address) == 0
    assert open_table(parts.address).version() == before
