"""The days of one table: which are merged, marked `_SUCCESS`, or past their retention."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from minio import Minio
from minio.error import S3Error

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress
from cryptoviz.lake.parts import SUCCESS, Part, day_of_path, day_start, folder
from cryptoviz.log import get_logger
from spark_jobs.maintenance.compaction.plan import DayFile, is_compact
from spark_jobs.tables.orphans import remove_objects
from spark_jobs.tables.replace_files import Replaced, file_actions, replace_files

__all__ = ["DayRule", "believed_today", "days_of", "drop_old_days", "mark_days"]

_MARKER_VERSION = 1
_PAUSE_DAYS = 7
_BELIEVED_DAYS = 7
_DAYS_A_ROUND = 7
"""Removed by retention at most: a mistake of whatever kind shows before all is gone."""

log = get_logger("maintenance")


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
        """Whether it may be made one file. A file of a time to come was written under a clock that was ahead: nothing waits until then."""
        now_ms = self.now.timestamp() * 1000
        newest_ms = max((file.modified_ms for file in files if file.fresh and file.modified_ms <= now_ms), default=0)
        return self.over(day) and now_ms - newest_ms >= self.quiet.total_seconds() * 1000


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


def believed_today(days: Iterable[date], today: date) -> date:
    """By what day retention counts: the newest that the table has, but no later than `today`, and only if enough days speak for it.

    A clock that jumps ahead makes ticks of its own time, far after all others. So after each pause, the last one or an earlier one:

    - days that follow a pause of more than a week count when there are seven of them before the next such pause, else not at all;
    - days that follow a shorter pause count when seven days of the table lie behind it, else it is the last day before the pause.

    So days of wrong clocks have no effect as long as there are fewer than seven of them within a week of each other, and without end if they are
    further apart. Where there are never seven days without a pause of more than a week the oldest ones count, and nothing is removed.
    """
    known = sorted(day for day in set(days) if day <= today)
    if not known:
        return today
    begins = [0, *(i for i in range(1, len(known)) if (known[i] - known[i - 1]).days > _PAUSE_DAYS), len(known)]
    groups = [known[begin:end] for begin, end in pairwise(begins)]
    group = next((group for group in reversed(groups) if len(group) >= _BELIEVED_DAYS), groups[0])
    believed, *newer = group[-_BELIEVED_DAYS:]
    for day in newer:
        if (day - believed).days > 1:
            break
        believed = day
    return believed


def drop_old_days(
    client: Minio, address: TableAddress, table: DeltaTable, keep_days: int | None, today: date, check: Callable[[], None] = lambda: None
) -> int:
    """Remove the days that ended more than `keep_days` days before the table's own newest (`believed_today`; None: none), the oldest few of them;
    returns how many files that were. `check` is called before each day's removal and may raise.
    """
    if keep_days is None:
        return 0
    dropped = 0
    days = days_of(table)
    counted = believed_today(days, today)
    old = [day for day in days if (today - day).days > keep_days]
    kept = [day for day in old if (counted - day).days <= keep_days]
    if kept:
        log.warning("old days stay: the newest rows or the clock are not believed yet", table=address.table, days=len(kept), today=str(today),
                    counted_from=str(counted))  # fmt: skip
    for day in [day for day in old if day not in kept][:_DAYS_A_ROUND]:
        files = days[day]
        check()
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
