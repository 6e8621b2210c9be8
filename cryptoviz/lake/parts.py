"""File names of the lake's data files. The name of a part identifies its Kafka records, and its content is a pure function of the name.

`year=Y/month=M/day=D/part-<topic id, 8 hex>-<partition>-<start offset>-<end offset>.snappy.parquet`, offsets inclusive, UTC date without leading
zeros. Compaction replaces files of a day by `part-compacted-<16 hex over the names of its inputs and the attempt>.zstd.parquet`, a name unique to
the attempt (`.snappy.parquet` until ADR 21). Until it is proved, the file is stored as `_staging/<name>.tmp`, which readers ignore.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from cryptoviz.times import DAY_MS

__all__ = [
    "STAGING", "SUCCESS", "Compacted", "DataFileName", "Part", "date_of_ms", "day_of_path", "day_start", "folder", "parse_compacted", "parse_name",
    "parse_part", "short_topic_id", "topic_uuid",
]  # fmt: skip

STAGING = "_staging/"
"""Folder, relative to the table, of files not yet proved. Readers ignore names that begin with `_`."""
SUCCESS = "_SUCCESS"
"""Marker file in the folder of a closed and compacted day."""

_FOLDER = r"year=(?P<year>[1-9]\d{3})/month=(?P<month>[1-9]|1[0-2])/day=(?P<day>[1-9]|[12]\d|3[01])/"
_NAME = re.compile(_FOLDER + r"part-(?P<topic>[0-9a-f]{8})-(?P<partition>\d{1,10})-(?P<start>\d{1,19})-(?P<end>\d{1,19})\.snappy\.parquet")
_COMPACTED = re.compile(_FOLDER + r"part-compacted-(?P<digest>[0-9a-f]{16})\.(?P<codec>snappy|zstd)\.parquet")
_IN_DAY = re.compile(_FOLDER + r"[^/]+")
_LAYOUT = "1"
"""Layout version of compacted files, hashed into their names, so that another row order gets another name."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A data file with the records of `[start, end]` of a topic-partition whose day is `day` (UTC)."""

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
    """A data file with the sorted rows of several files of a day."""

    digest: str
    day: date
    codec: str = "zstd"

    @classmethod
    def of(cls, inputs: Iterable[str], day: date, attempt: str = "") -> Compacted:
        """The file that `inputs` (paths relative to the table, of one day) are merged into; `attempt` is unique."""
        text = "\n".join((_LAYOUT, attempt, *sorted(inputs)))
        return cls(hashlib.sha256(text.encode()).hexdigest()[:16], day)

    @property
    def path(self) -> str:
        """Relative to the table's root."""
        return f"{folder(self.day)}/part-compacted-{self.digest}.{self.codec}.parquet"

    @property
    def staged_path(self) -> str:
        """Path until the file is proved."""
        return f"{STAGING}{self.path.replace('/', '.')}.tmp"

    @property
    def partition_values(self) -> dict[str, str]:
        """The partition columns as the Delta log writes them."""
        return _partition_values(self.day)


DataFileName = Part | Compacted


def folder(day: date) -> str:
    """Folder of a UTC day."""
    return f"year={day.year}/month={day.month}/day={day.day}"


def parse_part(path: str) -> Part | None:
    """Parse a path relative to the table's root; None if it is not a part of the lake job."""
    found = _NAME.fullmatch(path)
    day = _day(found)
    if found is None or day is None:
        return None
    return Part(found["topic"], int(found["partition"]), int(found["start"]), int(found["end"]), day)


def parse_compacted(path: str) -> Compacted | None:
    """Parse a path relative to the table's root; None if it is not a compacted file."""
    found = _COMPACTED.fullmatch(path)
    day = _day(found)
    return None if found is None or day is None else Compacted(found["digest"], day, found["codec"])


def parse_name(path: str) -> DataFileName | None:
    """Parse a path to either kind of data file; None for other paths."""
    return parse_part(path) or parse_compacted(path)


def day_of_path(path: str) -> date | None:
    """UTC day of the folder of any path relative to the table's root; None outside the day folders."""
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
    """UTC date of an epoch time in ms; times before 1970 give 1970-01-01 (Kafka writes -1 for a missing timestamp)."""
    return _EPOCH + timedelta(days=max(0, ms // DAY_MS))


def day_start(day: date) -> datetime:
    """Midnight UTC at the start of `day`."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def topic_uuid(text: str) -> str:
    """Canonical UUID of a topic id, which Kafka encodes as URL-safe base64 without padding."""
    return str(uuid.UUID(bytes=urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def short_topic_id(topic_id: str) -> str:
    """The first 8 hex digits of a topic UUID, used in file names."""
    return topic_id.replace("-", "")[:8]
