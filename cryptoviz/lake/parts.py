"""Names of the lake's data files. A name says which Kafka records a file holds, and its content is a pure function of it.

`year=Y/month=M/day=D/part-<topic id, 8 hex>-<partition>-<start offset>-<end offset>.snappy.parquet`, offsets inclusive, UTC date without leading
zeros. Compaction replaces files of a day by `part-compacted-<16 hex over the names of its inputs and the attempt>.snappy.parquet`: no other attempt
uses the name again. While it is being made and proved it lies at `_staging/<name>.tmp`, which no reader takes for data.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = [
    "STAGING", "SUCCESS", "Compacted", "DataFileName", "Part", "date_of_ms", "day_of_path", "day_start", "folder", "parse_compacted", "parse_name",
    "parse_part", "short_topic_id", "topic_uuid",
]  # fmt: skip

STAGING = "_staging/"
"""Where files lie, relative to the table, until they are proved. Readers pass over names that begin with `_`."""
SUCCESS = "_SUCCESS"
"""The marker in the folder of a closed and compacted day."""

_FOLDER = r"year=(?P<year>[1-9]\d{3})/month=(?P<month>[1-9]|1[0-2])/day=(?P<day>[1-9]|[12]\d|3[01])/"
_NAME = re.compile(
    _FOLDER + r"part-(?P<topic>[0-9a-f]{8})-(?P<partition>\d{1,10})-(?P<start>\d{1,19})-(?P<end>\d{1,19})\.snappy\.parquet",
)
_COMPACTED = re.compile(_FOLDER + r"part-compacted-(?P<digest>[0-9a-f]{16})\.snappy\.parquet")
_IN_DAY = re.compile(_FOLDER + r"[^/]+")
_LAYOUT = "1"
"""Of compacted files; part of their names, so that another order of rows gets another name."""
_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One data file: the records of `[start, end]` of one topic-partition whose day is `day` (UTC)."""

    topic: str
    partition: int
    start: int
    end: int
    day: date

    @property
    def path(self) -> str:
        """Relative to the table's root."""
        return f"{folder(self.day)}/part-{self.topic}-{self.partition}-{self.start}-{self.end}.snappy.parquet"

    @property
    def partition_values(self) -> dict[str, str]:
        """The partition columns as the Delta log writes them."""
        return _partition_values(self.day)


@dataclass(frozen=True, slots=True, order=True)
class Compacted:
    """A file that holds the rows of others of one day, sorted."""

    digest: str
    day: date

    @classmethod
    def of(cls, inputs: Iterable[str], day: date, attempt: str = "") -> Compacted:
        """The file that `inputs` (paths relative to the table, of one day) are merged into; `attempt` is used once."""
        text = "\n".join((_LAYOUT, attempt, *sorted(inputs)))
        return cls(hashlib.sha256(text.encode()).hexdigest()[:16], day)

    @property
    def path(self) -> str:
        """Relative to the table's root."""
        return f"{folder(self.day)}/part-compacted-{self.digest}.snappy.parquet"

    @property
    def staged_path(self) -> str:
        """Where it lies until it is proved."""
        return f"{STAGING}{self.path.replace('/', '.')}.tmp"

    @property
    def partition_values(self) -> dict[str, str]:
        """The partition columns as the Delta log writes them."""
        return _partition_values(self.day)


DataFileName = Part | Compacted


def folder(day: date) -> str:
    """The folder of a UTC day, in the layout of the predecessor."""
    return f"year={day.year}/month={day.month}/day={day.day}"


def parse_part(path: str) -> Part | None:
    """The part that a path relative to the table's root names, or None when it is not one that the lake job writes."""
    found = _NAME.fullmatch(path)
    day = _day(found)
    if found is None or day is None:
        return None
    return Part(found["topic"], int(found["partition"]), int(found["start"]), int(found["end"]), day)


def parse_compacted(path: str) -> Compacted | None:
    """The compacted file that a path relative to the table's root names, or None."""
    found = _COMPACTED.fullmatch(path)
    day = _day(found)
    return None if found is None or day is None else Compacted(found["digest"], day)


def parse_name(path: str) -> DataFileName | None:
    """Either kind of data file, or None when the path names none of ours."""
    return parse_part(path) or parse_compacted(path)


def day_of_path(path: str) -> date | None:
    """The UTC day in whose folder a path relative to the table's root lies, whatever its name; None outside of the day folders."""
    return _day(_IN_DAY.fullmatch(path))


def _day(found: re.Match[str] | None) -> date | None:
    if found is None:
        return None
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None


def _partition_values(day: date) -> dict[str, str]:
    return {"year": str(day.year), "month": str(day.month), "day": str(day.day)}


def date_of_ms(ms: int) -> date:
    """The UTC date of an epoch time in ms; days before 1970 count as 1970-01-01 (Kafka says -1 for no time)."""
    return _EPOCH + timedelta(days=max(0, ms // _DAY_MS))


def day_start(day: date) -> datetime:
    """Midnight UTC at the start of `day`."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def topic_uuid(text: str) -> str:
    """The canonical UUID of a topic id, which Kafka writes as url-safe base64 without padding."""
    return str(uuid.UUID(bytes=urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def short_topic_id(topic_id: str) -> str:
    """The 8 hex digits of a topic UUID that file names carry."""
    return topic_id.replace("-", "")[:8]
