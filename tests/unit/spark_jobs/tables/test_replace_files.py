"""Commits of maintenance concurrent with a lake job's, on a real Delta log in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, Transaction, write_deltalake

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.progress import METADATA_KEY, Progress, read_progress
from spark_jobs.maintenance import log_cleanup
from spark_jobs.tables.replace_files import NewFile, ReplacedFile, carried_progress, file_actions, paths_of, replace_files
from spark_jobs.tables.table_log import CONFIGURATION

APP = "cryptoviz-lake-test"


def job_commits(folder: Path, sequence: int) -> None:
    """A commit like the lake job's: rows, an app transaction, and progress."""
    progress = Progress("run", sequence, {("topic", 0): sequence * 10})
    write_deltalake(
        folder, pa.table({"a": [sequence]}), mode="append",
        commit_properties=CommitProperties(custom_metadata={METADATA_KEY: progress.to_json()}, app_transactions=[Transaction(APP, sequence)]),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    job_commits(tmp_path, 1)
    job_commits(tmp_path, 2)
    return tmp_path


def files(table: DeltaTable) -> list[ReplacedFile]:
    actions = file_actions(table)
    return [ReplacedFile(path, size, {}) for path, size in zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True)]


def merged(folder: Path, rows: list[int]) -> NewFile:
    pq.write_table(pa.table({"a": rows}), folder / "merged.parquet")
    return NewFile("merged.parquet", (folder / "merged.parquet").stat().st_size, f'{{"numRecords":{len(rows)}}}', {})


def rows_of(folder: Path) -> list[int]:
    found: list[int] = sorted(DeltaTable(folder).to_pyarrow_table()["a"].to_pylist())
    return found


def interrupted(work: Callable[[], None]) -> Callable[[], None]:
    """A `ready` that calls a function before the first attempt."""
    waiting = [work]

    def ready() -> None:
        if waiting:
            waiting.pop()()

    return ready


def test_job_that_commits_in_between_loses_nothing_and_its_progress_is_carried_on(folder: Path) -> None:
    table = DeltaTable(folder)
    replace_files(table, [merged(folder, [1, 2])], files(table), data_change=False, ready=interrupted(lambda: job_commits(folder, 3)))
    newest = DeltaTable(folder)
    assert rows_of(folder) == [1, 2, 3]
    assert newest.transaction_version(APP) == 3
    progress = read_progress(newest)
    assert progress is not None
    assert (progress.sequence, progress.offsets) == (3, {("topic", 0): 30})
    assert METADATA_KEY in newest.history(1)[0]


def test_file_that_another_maintenance_has_replaced_ends_it(folder: Path) -> None:
    table, other = DeltaTable(folder), DeltaTable(folder)
    old = files(table)

    def take_one() -> None:
        (folder / "other.parquet").write_bytes((folder / old[0].path).read_bytes())
        replace_files(other, [NewFile("other.parquet", old[0].size, '{"numRecords":1}', {})], old[:1], data_change=False)

    with pytest.raises(LakeError, match="another maintenance"):
        replace_files(table, [merged(folder, [1, 2])], old, data_change=False, ready=interrupted(take_one))
    assert rows_of(folder) == [1, 2]


def test_commit_whose_answer_was_lost_counts(folder: Path) -> None:
    table, same = DeltaTable(folder), DeltaTable(folder)
    old, new = files(table), merged(folder, [1, 2])
    replace_files(table, [new], old, data_change=False, ready=interrupted(lambda: replace_files(same, [new], old, data_change=False)))
    assert paths_of(table) == {"merged.parquet"}
    assert DeltaTable(folder).version() == 2


def test_older_tables_are_configured_once_beside_the_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def after_the_job(table: DeltaTable) -> dict[str, str]:
        job_commits(folder, 3)
        return carried_progress(table)

    stale = DeltaTable(folder)
    with monkeypatch.context() as patched:
        patched.setattr(log_cleanup, "carried_progress", after_the_job)
        log_cleanup.configure(stale)  # refused: the job was first
    assert DeltaTable(folder).metadata().configuration == {}
    job_commits(folder, 4)
    log_cleanup.configure(stale)
    log_cleanup.configure(DeltaTable(folder))
    table = DeltaTable(folder)
    assert (table.metadata().configuration, table.version()) == (CONFIGURATION, 4)
    progress = read_progress(table)
    assert progress is not None
    assert progress.sequence == 4
