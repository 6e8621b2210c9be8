"""Data files that no commit knows: left by a batch that was cut off. A plain reader of the folder would see their rows twice, so they go.

Only names of our own pattern inside the `year=` folders are looked at; the bucket may hold a user's files.
"""

from __future__ import annotations

from collections.abc import Callable

from minio import Minio
from minio.deleteobjects import DeleteObject

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import Part, parse_part

__all__ = ["list_parts", "remove_orphans"]


def list_parts(client: Minio, address: TableAddress) -> dict[str, Part]:
    """Every data file of ours under the table's `year=` folders, by its path relative to the table."""
    found = {}
    for item in client.list_objects(address.bucket, prefix=f"{address.prefix}year=", recursive=True):
        path = item.object_name.removeprefix(address.prefix)
        part = parse_part(path)
        if part is not None:
            found[path] = part
    return found


def remove_orphans(
    client: Minio, address: TableAddress, known: Callable[[], set[str]], eligible: Callable[[Part], bool] = lambda _: True
) -> list[str]:
    """Delete the parts that are in no commit and `eligible`; returns their paths.

    The folder is listed before `known` is asked, so that a file committed in between counts as known. Without `eligible` the caller must be
    sure that nobody is writing.

    Raises:
        EngineUnavailable: the store refused a deletion.
    """
    parts = list_parts(client, address)
    committed = known()
    orphans = sorted(path for path, part in parts.items() if path not in committed and eligible(part))
    refused = list(client.remove_objects(address.bucket, [DeleteObject(address.key(path)) for path in orphans])) if orphans else []
    if refused:
        raise EngineUnavailable(f"the object store kept {len(refused)} orphans of {address.uri}: {refused[0].message}", engine="object-store")
    return orphans
