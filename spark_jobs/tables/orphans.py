"""Orphans: data files that no commit references, left by an interrupted or superseded batch, or replaced and not yet deleted. A plain reader of the
folder would see their rows twice, so they are deleted.

The deleting process may have been paused for any time after it listed the folder, while others committed. So only files that can never be committed
are deleted: a part that ends below the progress of some version of the table's log which does not contain it. Progress only grows, each commit adds
files above it, and no commit restores a removed file. The rule needs neither a clock nor a check just before the deletion.

Only file names of our pattern inside the `year=` folders are considered; the bucket may contain a user's files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from minio import Minio
from minio.deleteobjects import DeleteObject

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import DataFileName, Part, parse_name, short_topic_id
from cryptoviz.lake.progress import Offsets, read_progress
from cryptoviz.lake.store_errors import store_error, store_errors
from spark_jobs.tables.replace_files import paths_of

__all__ = ["LogState", "day_objects", "list_data_files", "remove_objects", "remove_orphans"]


@dataclass(frozen=True)
class LogState:
    """A version of a table's log: its files, and the next offset by topic (8 hex) and partition, from that version or an earlier one."""

    paths: frozenset[str]
    ends: Mapping[tuple[str, int], int]

    @classmethod
    def of(cls, paths: Iterable[str], progress: Offsets) -> LogState:
        """`progress` must not be newer than `paths`: a file committed in between would count as an orphan."""
        return cls(frozenset(paths), {(short_topic_id(topic_id), partition): offset for (topic_id, partition), offset in progress.items()})

    @classmethod
    def read(cls, table: DeltaTable) -> LogState:
        progress = read_progress(table)
        table.update_incremental()
        return cls.of(paths_of(table), progress.offsets if progress else {})

    def is_orphan(self, part: Part) -> bool:
        """Whether the part is uncommitted and can never be committed any more."""
        return part.path not in self.paths and part.end < self.ends.get((part.topic, part.partition), 0)


def day_objects(client: Minio, address: TableAddress) -> Iterator[tuple[str, str]]:
    """Path relative to the table, and etag, of each object under the table's `year=` folders. Raises EngineUnavailable."""
    with store_errors(address.endpoint, f"list {address.uri}"):
        listed = list(client.list_objects(address.bucket, prefix=f"{address.prefix}year=", recursive=True))
    for item in listed:
        yield item.object_name.removeprefix(address.prefix), (item.etag or "").strip('"')


def list_data_files(client: Minio, address: TableAddress) -> dict[str, DataFileName]:
    """Data files under the table's `year=` folders, by path relative to the table. Raises EngineUnavailable if the store does not answer."""
    return {path: name for path, _ in day_objects(client, address) if (name := parse_name(path)) is not None}


def remove_orphans(client: Minio, address: TableAddress, log_state: LogState) -> list[str]:
    """Delete orphaned parts and return their paths. Safe at any time in any process, however old `log_state` is.

    Raises:
        EngineUnavailable: the store does not answer or refused a deletion.
    """
    orphans = sorted(path for path, name in list_data_files(client, address).items() if isinstance(name, Part) and log_state.is_orphan(name))
    remove_objects(client, address, orphans)
    return orphans


def remove_objects(client: Minio, address: TableAddress, paths: list[str]) -> None:
    """Delete objects of a table, a thousand in each request; missing objects are ignored.

    Raises:
        EngineUnavailable: the store does not answer or refused a deletion.
    """
    if not paths:
        return
    with store_errors(address.endpoint, f"delete {len(paths)} files of {address.uri}"):
        refused = list(client.remove_objects(address.bucket, [DeleteObject(address.key(path)) for path in paths]))
    if refused:
        raise store_error(address.endpoint, f"delete {len(refused)} files of {address.uri}", refused[0].message or "")
