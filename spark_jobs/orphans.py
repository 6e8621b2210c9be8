"""Data files that no commit knows: left by a batch or a compaction that was cut off, or replaced and not yet deleted. A plain reader of the folder
would see their rows twice, so they go.

Only names of our own pattern inside the `year=` folders are looked at; the bucket may hold a user's files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from minio import Minio
from minio.deleteobjects import DeleteObject

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import DataFileName, Part, parse_name

__all__ = ["COMPACTION_AGE", "list_data_files", "remove_objects", "remove_orphans"]

COMPACTION_AGE = timedelta(minutes=10)
"""A compacted file is committed within a second of its appearance: one this old that no commit knows belongs to a compaction that died."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A data file as the store lists it."""

    name: DataFileName
    modified: datetime


def list_data_files(client: Minio, address: TableAddress) -> dict[str, Stored]:
    """Every data file of ours under the table's `year=` folders, by its path relative to the table."""
    found = {}
    for item in client.list_objects(address.bucket, prefix=f"{address.prefix}year=", recursive=True):
        path = item.object_name.removeprefix(address.prefix)
        name = parse_name(path)
        if name is not None:
            found[path] = Stored(name, item.last_modified or datetime.now(UTC))
    return found


def remove_orphans(
    client: Minio,
    address: TableAddress,
    known: Callable[[], set[str]],
    eligible: Callable[[Part], bool] = lambda _: True,
    compaction_age: timedelta = COMPACTION_AGE,
) -> list[str]:
    """Delete the files that are in no commit: parts that are `eligible`, compacted files of at least `compaction_age`; returns their paths.

    The folder is listed before `known` is asked, so that a file committed in between counts as known. Without `eligible` the caller must be
    sure that no lake job is writing, and with a `compaction_age` of zero that no maintenance but its own is.

    Raises:
        EngineUnavailable: the store refused a deletion.
    """
    stored = list_data_files(client, address)
    committed = known()
    newest = datetime.now(UTC) - compaction_age

    def goes(file: Stored) -> bool:
        return eligible(file.name) if isinstance(file.name, Part) else file.modified <= newest

    orphans = sorted(path for path, file in stored.items() if path not in committed and goes(file))
    remove_objects(client, address, orphans)
    return orphans


def remove_objects(client: Minio, address: TableAddress, paths: list[str]) -> None:
    """Delete objects of a table, a thousand a request; those that are gone already are no fault.

    Raises:
        EngineUnavailable: the store refused a deletion.
    """
    refused = list(client.remove_objects(address.bucket, [DeleteObject(address.key(path)) for path in paths])) if paths else []
    if refused:
        raise EngineUnavailable(f"the object store kept {len(refused)} files of {address.uri}: {refused[0].message}", engine="object-store")
