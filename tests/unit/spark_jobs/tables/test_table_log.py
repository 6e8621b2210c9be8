"""Progress survives commits, checkpoints and clean-up of other tools. Real Delta logs in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, Transaction, write_deltalake

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.progress import METADATA_KEY, Progress, kept_offsets, offset_app, read_progress
from cryptoviz.lake.schema import PARTITION_BY
from tests.unit.spark_jobs.folder_store import TOPIC, Job, offsets_in


def foreign_commits(folder: Path, count: int = 1) -> None:
    """Another tool appends rows that are not records of our topics, without our progress."""
    table = DeltaTable(folder)
    row = table.to_pyarrow_table().slice(0, 1).to_pylist()[0]
    for number in range(count):
        rows = pa.Table.from_pylist([row | {"kafka_topic_id": "another", "kafka_offset": number}], pa.schema(table.schema().to_arrow()))
        write_deltalake(folder, rows, mode="append", partition_by=list(PARTITION_BY))


def foreign_clean_up(folder: Path) -> None:
    """Write a checkpoint of the newest version and remove all earlier log entries."""
    table = DeltaTable(folder)
    table.create_checkpoint()
    for entry in (folder / "_delta_log").glob("*.json"):
        if int(entry.stem) < table.version():
            entry.unlink()


def without_transactions(folder: Path) -> None:
    """A log of an earlier version of the lake job: without app transactions of offsets."""
    for entry in (folder / "_delta_log").glob("*.json"):
        kept = [
            line for line in entry.read_text().splitlines() if not json.loads(line).get("txn", {}).get("appId", "").startswith("cryptoviz-offsets/")
        ]
        entry.write_text("\n".join(kept))


@pytest.mark.parametrize("commits", [1, 3])
def test_progress_survives_a_foreign_commit_and_the_clean_up_of_the_log(tmp_path: Path, commits: int) -> None:
    """Offsets 0 to 8 are committed, with progress 12 (the last three offsets have no rows in this table): the next run continues at 12."""
    job = Job(tmp_path, "first").open()
    job.batch(5)
    job.commit(job.put(5, 9), 12)
    foreign_commits(tmp_path, commits)
    foreign_clean_up(tmp_path)
    table = DeltaTable(tmp_path)
    assert read_progress(table) is None
    assert kept_offsets(table, [(TOPIC, 0), (TOPIC, 1)]) == {(TOPIC, 0): 12}
    again = Job(tmp_path, "second").open()
    assert again.log.progress.offsets == {(TOPIC, 0): 12}
    with pytest.raises(EngineUnavailable):  # the entry of its version was removed: it reads again
        job.commit([], 13)
    with pytest.raises(LakeError, match="another lake job"):
        job.commit([], 13)
    again.batch(15)
    foreign_commits(tmp_path)
    foreign_clean_up(tmp_path)
    third = Job(tmp_path, "third").open()
    assert third.log.progress.offsets == {(TOPIC, 0): 15}
    ours = [offset for offset in offsets_in(job.address) if offset >= commits]  # the foreign rows have the offsets below
    assert [offset for offset in ours if offset < 9 or offset >= 12] == ours


def test_progress_of_a_table_of_an_earlier_version_is_taken_from_its_rows(tmp_path: Path) -> None:
    """The log has no progress. The last row has offset 8 and the table nothing after it, so that 9 loses and duplicates nothing."""
    job = Job(tmp_path, "first").open()
    job.batch(5)
    job.commit(job.put(5, 9), 12)
    without_transactions(tmp_path)
    foreign_commits(tmp_path)
    foreign_clean_up(tmp_path)
    assert read_progress(DeltaTable(tmp_path)) is None
    again = Job(tmp_path, "second").open()
    assert again.log.progress.offsets[TOPIC, 0] == 9
    again.batch(14)
    assert [offset for offset in offsets_in(job.address) if offset] == list(range(1, 14))


def test_a_table_without_rows_whose_log_was_cleaned_is_read_from_the_beginning(tmp_path: Path) -> None:
    Job(tmp_path, "first").open()
    without_transactions(tmp_path)
    DeltaTable(tmp_path).alter.set_table_description("of another tool")
    foreign_clean_up(tmp_path)
    assert Job(tmp_path, "second").open().log.progress.offsets == {}


def test_the_later_of_metadata_and_app_transactions_counts(tmp_path: Path) -> None:
    """An earlier version ran after a later one: its commits have progress in their metadata only."""
    job = Job(tmp_path, "first").open()
    job.batch(5)
    table = DeltaTable(tmp_path)
    progress = Progress("older", 3, {(TOPIC, 0): 7})
    table.create_write_transaction(
        [], mode="append", schema=table.schema(), partition_by=list(PARTITION_BY),
        commit_properties=CommitProperties(
            custom_metadata={METADATA_KEY: progress.to_json()}, app_transactions=[Transaction("cryptoviz-lake-prices", 3)]
        ),
    )  # fmt: skip
    again = Job(tmp_path, "second").open()
    assert again.log.progress.offsets == {(TOPIC, 0): 7}
    assert DeltaTable(tmp_path).transaction_version(offset_app(TOPIC, 0)) == 7


def test_a_run_that_was_overtaken_sees_it_before_it_writes(tmp_path: Path) -> None:
    job = Job(tmp_path, "first").open()
    job.log.check_ours()
    job.batch(5)
    job.log.check_ours()
    Job(tmp_path, "second").open()
    with pytest.raises(LakeError, match="run second"):
        job.log.check_ours()
