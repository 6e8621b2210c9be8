"""Task and result of a contender: JSON files between two processes. Standard library only, because a contender may run in another environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["TIMED", "Done", "Task"]

TIMED = "timed"
"""The file that `Task.begin` makes."""


@dataclass(frozen=True, slots=True)
class Task:
    """Read the committed records of `topic` from `starts` to `ends` (exclusive; by partition) and leave them as Parquet under `bucket/prefix`.

    `warm_records` lie below `starts` and are for the warm-up; their output is discarded. The secrets make the file 0600.
    `librdkafka` and `java` are the connection settings of Kafka clients.
    """

    librdkafka: dict[str, Any]
    java: dict[str, str]
    topic: str
    starts: dict[str, int]
    ends: dict[str, int]
    warm_records: int
    per_trigger: int
    endpoint: str
    region: str
    access_key: str
    secret_key: str
    bucket: str
    prefix: str
    folder: str
    jars: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """For `read`."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """What `write` wrote."""
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**data)

    def begin(self) -> None:
        """Signal the other process that the warm-up is over and the measurement begins."""
        (Path(self.folder) / TIMED).touch()

    @property
    def records(self) -> int:
        """Offsets to read: at most this many records, since a transaction marker takes one."""
        return sum(end - self.starts[partition] for partition, end in self.ends.items())


@dataclass(frozen=True, slots=True)
class Done:
    """Seconds from the first read to the last file in place, and the records counted."""

    seconds: float
    records: int

    def write(self, path: Path) -> None:
        """For `read`."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Done:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
