"""The real code in the orders that lost rows: a run or a round is held just before its deletion while another takes over and goes on.

`tests/unit/spark_jobs/model` looks at every order; here are those that it found, against delta-rs and files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from minio import Minio

from cryptoviz.errors import LakeError
from spark_jobs.compact import Compactor
from spark_jobs.daily import days_of
from spark_jobs.maintenance_log import remove_leftovers
from spark_jobs.maintenance_steps import LAYOUTS
from spark_jobs.orphans import Known, remove_orphans
from spark_jobs.plan import BatchPlan
from spark_jobs.sweep import StartSweep
from tests.unit.spark_jobs.folder_store import DAY, SHORT, TOPIC, FolderClient, Job, offsets_in, open_table
from tests.unit.spark_jobs.test_plan import Cell


def client(before: Callable[[str, list[str]], None] = lambda _what, _names: None) -> Minio:
    return cast("Minio", FolderClient(before))


def once(work: Callable[[], object]) -> Callable[..., None]:
    """Does `work` at its first call only."""
    waiting = [work]

    def hook(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    return hook


def part_path(start: int, end: int) -> str:
    return f"year={DAY.year}/month={DAY.month}/day={DAY.day}/part-{SHORT}-0-{start}-{end}.snappy.parquet"


class Starts:
    """Starts of the lake job over one folder and one plan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cell = Cell()

    def run(self, name: str, before: Callable[[str, list[str]], None] = lambda _what, _names: None) -> tuple[Job, BatchPlan]:
        """As `LakeJob.start` up to its first batch, which redoes what was planned."""
        job, plan = Job(self.folder, name).open(), BatchPlan(self.cell, name)
        planned = plan.take()
        job.log.check_ours()
        start = job.log.progress.offsets.get((TOPIC, 0), 0)
        _, end = planned.ranges.get((TOPIC, 0), (0, 0))
        redo = {(TOPIC, 0): end} if end > start else {}
        StartSweep(client(before), plan, redo, lambda: None).run({"prices": job.log})
        if redo:
            self.batch(job, plan, end)
        return job, plan

    def batch(self, job: Job, plan: BatchPlan, end: int) -> list[str]:
        plan.write({(TOPIC, 0): (job.log.progress.offsets.get((TOPIC, 0), 0), end)})
        return job.batch(end, plan.avoid.get("prices", ()))


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "in no plan"])
def test_a_start_that_was_overtaken_in_its_sweep_deletes_nothing_of_its_successor(tmp_path: Path, planned: bool) -> None:
    """The leftover of offsets 5 to 9 has the very name that the successor's batch would get."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    starts.batch(job, plan, 5)
    if planned:
        plan.write({(TOPIC, 0): (5, 10)})
    assert [part.path for part in job.put(5, 10)] == [part_path(5, 9)]  # cut off here

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
    """The overtaken run's tasks were still at work on the batch that it had planned."""
    starts = Starts(tmp_path)
    job, plan = starts.run("first")
    plan.write({(TOPIC, 0): (0, 7)})
    after, its_plan = starts.run("second")  # redoes it
    starts.batch(after, its_plan, 9)
    committed = (tmp_path / part_path(0, 6)).read_bytes()
    job.put(0, 7)
    assert (tmp_path / part_path(0, 6)).read_bytes() == committed
    assert offsets_in(job.address, plain=True) == list(range(9))


def test_leftovers_below_progress_go_and_a_listing_however_old_takes_no_committed_file(tmp_path: Path) -> None:
    job = Job(tmp_path, "first").open()
    job.batch(5)
    job.put(2, 4)  # below progress, in no commit
    job.put(5, 8)  # above it
    old = job.log.known()
    job.batch(8)
    assert remove_orphans(client(), job.address, old) == [part_path(2, 3)]
    assert offsets_in(job.address, plain=True) == list(range(8))
    assert Known.read(open_table(job.address)).ends == {(SHORT, 0): 8}


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
    """One merge of all files."""
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
    """The file is listed before its commit and deleted after it: the commit is refused, or the file is known."""

    def sweep() -> None:
        remove_leftovers(client(), parts.address, open_table(parts.address))

    with pytest.raises(LakeError, match="another maintenance has swept"):
        merged(tmp_path / "table", parts.address, stage=at("copied", sweep))
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


def test_a_sweep_that_is_held_before_its_deletion_takes_nothing_that_is_committed_meanwhile(parts: Job, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):  # a merge is cut off: its copy and its staged file are left
        merged(tmp_path / "table", parts.address, stage=at("copied", lambda: (_ for _ in ()).throw(RuntimeError)))
    assert len(offsets_in(parts.address, plain=True)) == 18
    held = client(once(lambda: merged(tmp_path / "table", parts.address)))
    remove_leftovers(held, parts.address, open_table(parts.address))
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))
    assert remove_leftovers(client(), parts.address, open_table(parts.address)) == 0


def test_a_sweep_that_is_held_before_it_raises_the_epoch_ends_the_merge_that_began_meanwhile(parts: Job, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        merged(tmp_path / "table", parts.address, stage=at("staged", lambda: (_ for _ in ()).throw(RuntimeError)))
    swept: list[int] = []

    def whole_sweep_around(*_: Any) -> None:
        swept.append(remove_leftovers(client(), parts.address, open_table(parts.address)))

    with pytest.raises(LakeError, match="another maintenance has swept"):
        merged(tmp_path / "table", parts.address, stage=at("merged", whole_sweep_around))
    assert swept == [1]
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))
    merged(tmp_path / "table", parts.address)
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


@pytest.mark.parametrize("stage", ["merged", "staged", "proved", "copied"])
def test_two_merges_of_the_same_files_leave_one(parts: Job, tmp_path: Path, stage: str) -> None:
    """Also when the second one's commit comes on top of the first one's, which Delta itself takes for no conflict."""
    with pytest.raises(LakeError, match="another maintenance"):
        merged(tmp_path / "table", parts.address, stage=at(stage, lambda: merged(tmp_path / "other" / "x", parts.address)))
    assert offsets_in(parts.address) == offsets_in(parts.address, plain=True) == list(range(9))


def test_a_table_with_nothing_to_sweep_gets_no_commit(parts: Job) -> None:
    before = open_table(parts.address).version()
    assert remove_leftovers(client(), parts.address, open_table(parts.address)) == 0
    assert open_table(parts.address).version() == before
