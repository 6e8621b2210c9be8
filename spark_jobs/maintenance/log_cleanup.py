"""Cleanup of a table: removes orphaned files, writes checkpoints and removes old log entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from deltalake import CommitProperties
from deltalake.exceptions import CommitFailedError
from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress, find_object
from cryptoviz.lake.parts import Part, parse_name
from spark_jobs.maintenance.compaction.merge import list_staged
from spark_jobs.tables.orphans import LogState, remove_objects
from spark_jobs.tables.replace_files import carried_progress, paths_of, raise_epoch
from spark_jobs.tables.table_log import CONFIGURATION

__all__ = ["configure", "remove_leftovers", "shorten_log"]

_CHECKPOINT_COMMITS = 100  # opening a table reads every commit since the last checkpoint: about 2 ms each


def remove_leftovers(client: Minio, address: TableAddress, listed: Iterable[str], table: DeltaTable, check: Callable[[], None] = lambda: None) -> int:
    """Remove leftovers of killed batches and merges: parts that can never be committed any more, and compacted and staged files, whose commit a
    raised epoch prevents. Returns their number.

    `listed`: paths in the day folders; `table` must have been read after them. `check` is called before the deletion and may raise.

    Raises:
        EngineUnavailable: the object store refused a deletion.
    """
    staged = list_staged(client, address)
    known = paths_of(table)
    unknown = {path: name for path in listed if path not in known and (name := parse_name(path)) is not None}
    if not staged and not unknown:
        return 0
    log_state = LogState.read(table)
    if staged or any(path not in log_state.paths for path, name in unknown.items() if not isinstance(name, Part)):
        check()
        raise_epoch(table)
        log_state = LogState.read(table)
    doomed = [path for path, name in unknown.items() if (log_state.is_orphan(name) if isinstance(name, Part) else path not in log_state.paths)]
    check()
    remove_objects(client, address, sorted(doomed) + staged)
    return len(doomed) + len(staged)


def shorten_log(client: Minio, address: TableAddress, table: DeltaTable, *, clean: bool = True) -> bool:
    """If many commits have accumulated, write a checkpoint and, with `clean`, remove log entries past their retention, by this machine's clock.
    Returns whether it did.
    """
    configure(table)
    if table.version() - _last_checkpoint(client, address) < _CHECKPOINT_COMMITS:
        return False
    table.create_checkpoint()
    if clean:
        table.cleanup_metadata()
    return True


def configure(table: DeltaTable) -> None:
    """Set table properties that earlier versions did not: those tables list removed files for a week, which makes opening them slow."""
    present = table.metadata().configuration
    missing = {name: value for name, value in CONFIGURATION.items() if present.get(name) != value}
    if not missing:
        return
    table.update_incremental()
    try:
        table.alter.set_table_properties(missing, commit_properties=CommitProperties(custom_metadata=carried_progress(table), max_commit_retries=0))
    except CommitFailedError:  # conflict with the lake job; the next round retries
        table.update_incremental()


def _last_checkpoint(client: Minio, address: TableAddress) -> int:
    """Version of the newest checkpoint, 0 without any."""
    content = find_object(client, address.bucket, address.key("_delta_log/_last_checkpoint"))
    return 0 if content is None else int(json.loads(content)["version"])
