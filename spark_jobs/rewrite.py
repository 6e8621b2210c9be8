"""One Delta commit that replaces files, made by maintenance beside a running lake job.

It leaves the job's app transaction alone, so the job builds upon it, and it carries the job's progress forward, so that the newest commit always says
how far the lake is, however many commits of maintenance follow each other and however old the job's own have become.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import CommitProperties, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import one_line
from cryptoviz.lake.progress import METADATA_KEY, read_progress

__all__ = ["NewFile", "Replaced", "carried_progress", "file_actions", "paths_of", "replace_files"]

_RETRIES = 50  # commits of the lake job that may come in between: up to ten a second in a backlog


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be added."""

    path: str
    size: int
    stats: str
    partition_values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A file to be removed."""

    path: str
    size: int
    partition_values: Mapping[str, str]


def replace_files(
    table: DeltaTable, added: Sequence[NewFile], removed: Sequence[Replaced], *, data_change: bool, ready: Callable[[], None] = lambda: None
) -> None:
    """Commit on top of `table`'s version, or of the newest when others have committed since; `table` is up to date afterwards.

    `data_change` is False when the rows stay the same. `ready` is called before each try and may raise.

    Raises:
        LakeError: a file to be removed is gone: another maintenance is at work.
        EngineUnavailable: the object store refused the commit.
    """
    for _ in range(_RETRIES):
        ready()
        seen = table.version()
        try:
            table.create_write_transaction(
                _actions(added, removed, data_change=data_change),
                mode="append",
                schema=table.schema(),
                partition_by=list(table.metadata().partition_columns),
                commit_properties=CommitProperties(custom_metadata=carried_progress(table), max_commit_retries=0),
                post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
            )
        except CommitFailedError as error:
            table.update_incremental()
            if table.version() == seen:
                raise EngineUnavailable(
                    f"the object store did not take the commit to {table.table_uri}: {one_line(error)}", engine="object-store"
                ) from error
            if _was_made(table, added, removed):
                return
        else:
            table.update_incremental()
            return
    raise LakeError(f"{table.table_uri}: {_RETRIES} commits by others came in between one of maintenance")


def carried_progress(table: DeltaTable) -> dict[str, str]:
    """The commit metadata that says again what the lake job's last commit said; empty for a table that the job does not write."""
    progress = read_progress(table)
    return {METADATA_KEY: progress.to_json()} if progress else {}


def file_actions(table: DeltaTable) -> pa.Table:
    """The files of the table's version: path, size_bytes, num_records, modification_time, partition.*, min.*, max.*."""
    return pa.table(table.get_add_actions(flatten=True))


def paths_of(table: DeltaTable) -> set[str]:
    """Relative paths of the files of the table's version."""
    return set(file_actions(table).column("path").to_pylist())


def _was_made(table: DeltaTable, added: Sequence[NewFile], removed: Sequence[Replaced]) -> bool:
    present = paths_of(table)
    gone = [file.path for file in removed if file.path not in present]
    if len(gone) == len(removed) and {file.path for file in added} <= present:
        return True
    if not gone:
        return False
    raise LakeError(f"{table.table_uri}: {len(gone)} of {len(removed)} files were replaced by another maintenance")


def _actions(added: Sequence[NewFile], removed: Sequence[Replaced], *, data_change: bool) -> list[AddAction | RemoveAction]:
    now_ms = time.time_ns() // 1_000_000
    adds = [AddAction(file.path, file.size, dict(file.partition_values), now_ms, data_change, file.stats) for file in added]
    removes = [RemoveAction(file.path, data_change, now_ms, file.size, dict(file.partition_values)) for file in removed]
    return [*adds, *removes]
