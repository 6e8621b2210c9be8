"""The days of one table: which are merged, marked `_SUCCESS`, or past their retention."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from minio import Minio
from minio.error import S3Error

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import SUCCESS, Part, day_of_path, day_start, folder
from spark_jobs.compact_plan import DayFile, is_compact
from spark_jobs.orphans import remove_objects
from spark_jobs.rewrite import Replaced, file_actions, replace_files

__all__ = ["DayRule", "days_of", "drop_old_days", "mark_days"]

_MARKER_VERSION = 1


@dataclass(frozen=True, slots=True)
class DayRule:
    """When a day is closed: `close_after` past its end (UTC), and nothing new for `quiet`, so that late rows are taken together."""

    now: datetime
    close_after: timedelta
    quiet: timedelta

    def over(self, day: date) -> bool:
        """Whether its time is over, late rows or not."""
        return self.now >= day_start(day) + timedelta(days=1) + self.close_after

    def closed(self, day: date, files: list[DayFile]) -> bool:
        """Whether it may be made one file."""
        newest_ms = max((file.modified_ms for file in files if file.fresh), default=0)
        return self.over(day) and self.now.timestamp() * 1000 - newest_ms >= self.quiet.total_seconds() * 1000


def days_of(table: DeltaTable) -> dict[date, list[DayFile]]:
    """The files of the table's version by UTC day, oldest day first."""
    actions = file_actions(table)
    if actions.num_rows == 0:
        return {}
    names = ("path", "size_bytes", "num_records", "modification_time", "partition.year", "partition.month", "partition.day")
    found: dict[date, list[DayFile]] = {}
    for path, size, rows, modified, year, month, day in zip(*(actions.column(name).to_pylist() for name in names), strict=True):
        modified_ms = round(modified.timestamp() * 1000) if isinstance(modified, datetime) else int(modified)
        when = date(year, month, day)
        found.setdefault(when, []).append(DayFile(path, size, rows or 0, modified_ms, when))
    return dict(sorted(found.items()))


def mark_days(client: Minio, address: TableAddress, table: DeltaTable, rule: DayRule) -> tuple[int, int]:
    """Put `_SUCCESS` into each closed and compacted day, take it away where late rows have come; returns how many of each.

    The marker names the day's files, so that a look at it says which rows it vouches for.
    """
    days = days_of(table)
    done = {day: _marker(files) for day, files in days.items() if rule.over(day) and is_compact(files)}
    there = dict(_markers(client, address))
    stale = [day for day, tag in there.items() if day not in done or (tag != _tag(done[day]) and _read(client, address, day) != done[day])]
    remove_objects(client, address, [_path(day) for day in stale])
    missing = [day for day in done if day not in there or day in stale]
    for day in missing:
        client.put_object(address.bucket, address.key(_path(day)), io.BytesIO(done[day]), len(done[day]), content_type="application/json")
    return len(missing), len([day for day in stale if day not in done])


def drop_old_days(client: Minio, address: TableAddress, table: DeltaTable, keep_days: int | None, today: date) -> int:
    """Remove the days that ended more than `keep_days` days before `today` (None: none); returns how many files that were."""
    if keep_days is None:
        return 0
    dropped = 0
    for day, files in days_of(table).items():
        if (today - day).days <= keep_days:
            continue
        values = Part("", 0, 0, 0, day).partition_values
        replace_files(table, [], [Replaced(file.path, file.size, values) for file in files], data_change=True)
        remove_objects(client, address, [_path(day), *(file.path for file in files)])
        dropped += len(files)
    return dropped


def _marker(files: list[DayFile]) -> bytes:
    names = sorted(file.path.rpartition("/")[2] for file in files)
    text = {"version": _MARKER_VERSION, "rows": sum(file.rows for file in files), "files": names}
    return json.dumps(text, separators=(",", ":")).encode() + b"\n"


def _tag(content: bytes) -> str:
    """The store's tag of an object put in one piece, where it does not encrypt: saves reading each marker in each round."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _markers(client: Minio, address: TableAddress) -> Iterator[tuple[date, str]]:
    for item in client.list_objects(address.bucket, prefix=f"{address.prefix}year=", recursive=True):
        path = item.object_name.removeprefix(address.prefix)
        day = day_of_path(path)
        if day is not None and path == _path(day):
            yield day, (item.etag or "").strip('"')


def _read(client: Minio, address: TableAddress, day: date) -> bytes:
    try:
        response = client.get_object(address.bucket, address.key(_path(day)))
    except S3Error as error:
        if error.code == "NoSuchKey":
            return b""
        raise
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()


def _path(day: date) -> str:
    return f"{folder(day)}/{SUCCESS}"
