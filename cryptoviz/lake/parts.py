"""Names of the lake's data files. A name says which Kafka records a file holds, and its content is a pure function of it.

`year=Y/month=M/day=D/part-<topic id, 8 hex>-<partition>-<start offset>-<end offset>.snappy.parquet`, offsets inclusive, UTC date without leading
zeros.
"""

from __future__ import annotations

import re
import uuid
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = ["Part", "date_of_ms", "folder", "parse_part", "short_topic_id", "topic_uuid"]

_NAME = re.compile(
    r"year=(?P<year>[1-9]\d{3})/month=(?P<month>[1-9]|1[0-2])/day=(?P<day>[1-9]|[12]\d|3[01])/"
    r"part-(?P<topic>[0-9a-f]{8})-(?P<partition>\d{1,10})-(?P<start>\d{1,19})-(?P<end>\d{1,19})\.snappy\.parquet"
)
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
        return {"year": str(self.day.year), "month": str(self.day.month), "day": str(self.day.day)}


def folder(day: date) -> str:
    """The folder of a UTC day, in the layout of the predecessor."""
    return f"year={day.year}/month={day.month}/day={day.day}"


def parse_part(path: str) -> Part | None:
    """The part that a path relative to the table's root names, or None when it is not one of ours."""
    found = _NAME.fullmatch(path)
    if found is None:
        return None
    try:
        day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None
    return Part(found["topic"], int(found["partition"]), int(found["start"]), int(found["end"]), day)


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
