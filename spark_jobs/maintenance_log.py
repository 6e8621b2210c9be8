"""A table's Delta log kept short, and its folder free of what no commit knows."""

from __future__ import annotations

import json
from datetime import timedelta

from deltalake import CommitProperties
from deltalake.exceptions import CommitFailedError
from minio import Minio
from minio.error import S3Error

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.progress import read_progress
from spark_jobs.compact import remove_staged
from spark_jobs.orphans import remove_orphans
from spark_jobs.rewrite import carried_progress, paths_of
from spark_jobs.tablelog import CONFIGURATION

__all__ = ["configure", "remove_leftovers", "shorten_log"]

_CHECKPOINT_COMMITS = 100  # opening a table reads every commit since its last checkpoint: about 2 ms each


def remove_leftovers(client: Minio, address: TableAddress, table: DeltaTable) -> int:
    """Remove what killed batches and merges left: staged files, compacted files that no commit knows, and parts below the table's progress that
    none knows, where the running job writes no more. Returns how many. For the one maintenance that runs.
    """
    progress = read_progress(table)
    offsets = progress.offsets if progress else {}
    ends = {(short_topic_id(topic_id), partition): offset for (topic_id, partition), offset in offsets.items()}

    def below_progress(part: Part) -> bool:
        return part.end < ends.get((part.topic, part.partition), 0)

    def committed() -> set[str]:
        table.update_incremental()
        return paths_of(table)

    removed = remove_orphans(client, address, committed, below_progress, compaction_age=timedelta())
    return len(removed) + remove_staged(client, address)


def shorten_log(client: Minio, address: TableAddress, table: DeltaTable) -> bool:
    """After many commits: write a checkpoint and remove log entries past their retention. Whether that was due."""
    configure(table)
    if table.version() - _last_checkpoint(client, address) < _CHECKPOINT_COMMITS:
        return False
    table.create_checkpoint()
    table.cleanup_metadata()
    return True


def configure(table: DeltaTable) -> None:
    """Tables of earlier versions keep a record of each removed file for a week, which would make opening them slow."""
    present = table.metadata().configuration
    missing = {name: value for name, value in CONFIGURATION.items() if present.get(name) != value}
    if not missing:
        return
    try:
        table.alter.set_table_properties(missing, commit_properties=CommitProperties(custom_metadata=carried_progress(table), max_commit_retries=0))
    except CommitFailedError:  # the job committed meanwhile: the next round tries again
        table.update_incremental()


def _last_checkpoint(client: Minio, address: TableAddress) -> int:
    """The version of the table's newest checkpoint, 0 without one."""
    try:
        response = client.get_object(address.bucket, address.key("_delta_log/_last_checkpoint"))
    except S3Error as error:
        if error.code == "NoSuchKey":
            return 0
        raise
    try:
        return int(json.loads(response.read())["version"])
    finally:
        response.close()
        response.release_conn()
