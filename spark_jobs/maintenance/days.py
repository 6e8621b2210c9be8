"""Day folders of a table: closing rule, `_SUCCESS` markers and retention."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import TableAddress, find_object
from cryptoviz.lake.parts import SUCCESS, Part, day_of_path, day_start, folder
from cryptoviz.log import get_logger
from cryptoviz.times import epoch_ms
from spark_jobs.maintenance.compaction.plan import DayFile, is_compact
from spark_jobs.tables.orphans import remove_objects
from spark_jobs.tables.replace_files import ReplacedFile, file_actions, replace_files

__all__ = ["DayRule", "days_of", "drop_old_days", "mark_days", "retention_today"]

_LAST = "max.tick_ts"
_MARKER_VERSION = 1
_PAUSE_DAYS = 7
_BELIEVED_DAYS = 7
_DAYS_A_ROUND = 7
"""Maximum of days that retention removes in a round, so that any mistake shows before all rows are lost."""

log = get_logger("maintenance")


@dataclass(frozen=True, slots=True)
class DayRule:
    """A day is closed `close_after` past its end (UTC) and after no new file for `quiet`, so that late rows are merged together."""

    now: datetime
    close_after: timedelta
    quiet: timedelta

    def over(self, day: date) -> bool:
        """Whether `close_after` has passed since the day's end, regardless of late rows."""
        return self.now >= day_start(day) + timedelta(days=1) + self.close_after

    def closed(self, day: date, files: list[DayFile]) -> bool:
        """Whether the day may be merged into one file. Files with a modification time in the future were written while the clock was ahead; they are
        ignored, so that nothing waits until that time.
        """
        now_ms = epoch_ms(self.now)
        newest_ms = max((file.modified_ms for file in files if file.fresh and file.modified_ms <= now_ms), default=0)
        return self.over(day) and now_ms - newest_ms >= self.quiet.total_seconds() * 1000


def days_of(table: DeltaTable) -> dict[date, list[DayFile]]:
    """Files of the loaded version by UTC day, oldest day first."""
    actions = file_actions(table)
    if actions.num_rows == 0:
        return {}
    names = ("path", "size_bytes", "num_records", "modification_time", "partition.year", "partition.month", "partition.day")
    last = actions.column(_LAST).to_pylist() if _LAST in actions.column_names else [None] * actions.num_rows
    found: dict[date, list[DayFile]] = {}
    columns = (actions.column(name).to_pylist() for name in names)
    for path, size, rows, modified, year, month, day, tick in zip(*columns, last, strict=True):
        modified_ms = int(modified)
        when = date(year, month, day)
        found.setdefault(when, []).append(DayFile(path, size, rows or 0, modified_ms, when, tick and epoch_ms(tick)))
    return dict(sorted(found.items()))


def mark_days(client: Minio, address: TableAddress, table: DeltaTable, rule: DayRule, listed: Mapping[str, str]) -> tuple[int, int]:
    """Add `_SUCCESS` to each closed and compacted day, and remove it from days with late rows. Returns the numbers added and removed.

    The marker lists the day's files, which defines the rows that it covers. `listed`: path and ETag of the objects in the day folders.
    """
    days = days_of(table)
    done = {day: _marker(files) for day, files in days.items() if rule.over(day) and is_compact(files)}
    there = {day: etag for path, etag in listed.items() if (day := day_of_path(path)) is not None and path == _path(day)}
    stale = [day for day, tag in there.items() if day not in done or (tag != _tag(done[day]) and _read(client, address, day) != done[day])]
    remove_objects(client, address, [_path(day) for day in stale])
    missing = [day for day in done if day not in there or day in stale]
    for day in missing:
        client.put_object(address.bucket, address.key(_path(day)), io.BytesIO(done[day]), len(done[day]), content_type="application/json")
    return len(missing), len([day for day in stale if day not in done])


def retention_today(days: Iterable[date], today: date) -> date:
    """Reference day of retention: the newest day of the table, at most `today`, and only if enough days confirm it.

    A clock that jumps ahead produces ticks far after all others. So two rules apply to each pause, the last one or an earlier one:

    - Days that follow a pause of more than a week count if there are at least seven of them before the next such pause, otherwise not at all.
    - Days that follow a shorter pause count once there are seven days of the table after the pause. Until then the reference is the last day before
      the pause.

    So days of wrong clocks have no effect as long as fewer than seven of them lie within a week of each other; if they are further apart, they never
    have an effect. If the table never has seven days without a pause of more than a week, the oldest ones count and nothing is removed.
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
    """Remove the oldest days more than `keep_days` before the reference day (`retention_today`), at most seven; None removes none. Returns the number
    of files. `check` is called before each day's removal and may raise.
    """
    if keep_days is None:
        return 0
    dropped = 0
    days = days_of(table)
    counted = retention_today(days, today)
    old = [day for day in days if (today - day).days > keep_days]
    kept = [day for day in old if (counted - day).days <= keep_days]
    if kept:
        log.warning("old_days_kept_until_clock_is_trusted", table=address.table, days=len(kept), today=str(today),
                    counted_from=str(counted))  # fmt: skip
    for day in [day for day in old if day not in kept][:_DAYS_A_ROUND]:
        files = days[day]
        check()
        values = Part("", 0, 0, 0, day).partition_values
        replace_files(table, [], [ReplacedFile(file.path, file.size, values) for file in files], data_change=True)
        remove_objects(client, address, [_path(day), *(file.path for file in files)])
        dropped += len(files)
    return dropped


def _marker(files: list[DayFile]) -> bytes:
    names = sorted(file.path.rpartition("/")[2] for file in files)
    text = {"version": _MARKER_VERSION, "rows": sum(file.rows for file in files), "files": names}
    return json.dumps(text, separators=(",", ":")).encode() + b"\n"


def _tag(content: bytes) -> str:
    """ETag of an object uploaded in one piece to a store without encryption; saves reading each marker in each round."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read(client: Minio, address: TableAddress, day: date) -> bytes:
    return find_object(client, address.bucket, address.key(_path(day))) or b""


def _path(day: date) -> str:
    return f"{folder(day)}/{SUCCESS}"
