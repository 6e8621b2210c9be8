"""Delta commits of maintenance that replace files while the lake job runs.

Such a commit does not change the job's app transaction, so the job commits on top of it. It repeats the job's progress, so that the newest commit
always carries it, however many commits of maintenance follow the job's last one.

A round that was paused and superseded must not delete files that another commits, nor commit files that another has deleted. So the log carries an
epoch, the version of an app transaction. A sweep lists the folder, raises the epoch, reads the log, and then deletes listed files that are not in the
log. A commit that adds a file succeeds only at the epoch at which its work began (`tests/unit/spark_jobs/model` checks every order of these steps).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import CommitProperties, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.progress import METADATA_KEY, read_progress
from cryptoviz.lake.store_errors import store_error

__all__ = ["NewFile", "ReplacedFile", "carried_progress", "epoch_of", "file_actions", "paths_of", "raise_epoch", "replace_files"]

_RETRIES = 50  # conflicting commits of the lake job: up to ten a second in a backlog
_EPOCH = "cryptoviz-maintenance"


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be added."""

    path: str
    size: int
    stats: str
    partition_values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReplacedFile:
    """A file to be removed."""

    path: str
    size: int
    partition_values: Mapping[str, str]


def epoch_of(table: DeltaTable) -> int:
    """The epoch in the loaded version of the table."""
    return table.transaction_version(_EPOCH) or 0


def raise_epoch(table: DeltaTable, *, with_progress: bool = True) -> None:
    """Fence commits of work that others began earlier. `table` is up to date afterwards. `with_progress`: False for a table that the lake job does
    not write.

    Raises:
        EngineUnavailable: the object store refused the commit.
    """
    table.update_incremental()
    for _ in range(_RETRIES):
        if _try_commit(table, [], [Transaction(_EPOCH, epoch_of(table) + 1)], with_progress=with_progress):
            return
    raise LakeError(f"{table.table_uri}: the epoch was not raised after {_RETRIES} conflicting commits")


def replace_files(
    table: DeltaTable,
    added: Sequence[NewFile],
    removed: Sequence[ReplacedFile],
    *,
    data_change: bool,
    epoch: int | None = None,
    ready: Callable[[], None] = lambda: None,
    with_progress: bool = True,
) -> None:
    """Commit on top of `table`'s version, or of the newest if others have committed since. `table` is up to date afterwards.

    `data_change`: False if the rows stay the same. `epoch`: the table's epoch before the first of `added` was uploaded; required with `added`.
    `ready` is called before each try and may raise. `with_progress`: False for a table that the lake job does not write.

    Raises:
        LakeError: a file to be removed is missing, or another maintenance round has swept the table since.
        EngineUnavailable: the object store refused the commit.
    """
    for _ in range(_RETRIES):
        ready()
        if epoch is not None and epoch_of(table) != epoch:
            raise LakeError(f"{table.table_uri}: another maintenance round has swept the table; nothing was changed")
        # For Delta the removal of a missing file is no conflict, but the new file would then duplicate rows of other files.
        _check_there(table, removed)
        actions = _actions(added, removed, data_change=data_change)
        if _try_commit(table, actions, with_progress=with_progress) or _was_made(table, added, removed):
            return
        if not removed:  # this commit may have succeeded and its file been replaced since, which the log would not show
            raise LakeError(f"{table.table_uri}: another maintenance round committed first")
    raise LakeError(f"{table.table_uri}: files were not replaced after {_RETRIES} conflicting commits")


def _try_commit(table: DeltaTable, actions: list[AddAction | RemoveAction], transactions: Sequence[Transaction] = (), *, with_progress: bool) -> bool:
    """Returns False if another process has committed first. `table` is up to date afterwards."""
    seen = table.version()
    try:
        table.create_write_transaction(
            actions,
            mode="append",
            schema=table.schema(),
            partition_by=list(table.metadata().partition_columns),
            commit_properties=CommitProperties(
                custom_metadata=carried_progress(table) if with_progress else {},
                max_commit_retries=0,
                app_transactions=list(transactions) or None,
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )
    except CommitFailedError as error:
        table.update_incremental()
        if table.version() == seen:
            raise store_error(table.endpoint, f"accept the commit to {table.table_uri}", error) from error
        return False
    table.update_incremental()
    return True


def carried_progress(table: DeltaTable) -> dict[str, str]:
    """Commit metadata that repeats the progress of the lake job's last commit; empty for a table that the job does not write."""
    progress = read_progress(table)
    return {METADATA_KEY: progress.to_json()} if progress else {}


def file_actions(table: DeltaTable) -> pa.Table:
    """Files of the loaded version: path, size_bytes, num_records, modification_time, partition.*, min.*, max.*."""
    return pa.table(table.get_add_actions(flatten=True))


def paths_of(table: DeltaTable) -> set[str]:
    """Relative paths of the files of the loaded version."""
    return set(file_actions(table).column("path").to_pylist())


def _was_made(table: DeltaTable, added: Sequence[NewFile], removed: Sequence[ReplacedFile]) -> bool:
    present = paths_of(table)
    return not any(file.path in present for file in removed) and {file.path for file in added} <= present


def _check_there(table: DeltaTable, removed: Sequence[ReplacedFile]) -> None:
    present = paths_of(table)
    gone = sum(file.path not in present for file in removed)
    if gone:
        raise LakeError(f"{table.table_uri}: {gone} of {len(removed)} files were replaced by another maintenance round")


def _actions(added: Sequence[NewFile], removed: Sequence[ReplacedFile], *, data_change: bool) -> list[AddAction | RemoveAction]:
    now_ms = time.time_ns() // 1_000_000
    adds = [AddAction(file.path, file.size, dict(file.partition_values), now_ms, data_change, file.stats) for file in added]
    removes = [RemoveAction(file.path, data_change, now_ms, file.size, dict(file.partition_values)) for file in removed]
    return [*adds, *removes]
