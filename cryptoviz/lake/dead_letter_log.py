"""Dead letters for display: counts by reason, positions in Kafka, the replay log, and previews of values."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryptoviz.errors import QueryError
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, read_newest
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.schema import DEAD_TABLE
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.lake.topic_reader import read_topic, topic_exists
from cryptoviz.settings import KafkaSettings, Settings

__all__ = ["CHOSEN", "ReasonCounts", "RecordPosition", "origin", "preview", "read_replay_log", "word"]

CHOSEN = (
    f"FROM {DEAD_TABLE} WHERE ($reasons::VARCHAR[] IS NULL OR list_contains($reasons::VARCHAR[], split_part(reason, ':', 1))) "
    "AND ($start::TIMESTAMPTZ IS NULL OR kafka_ts >= $start::TIMESTAMPTZ) AND ($end::TIMESTAMPTZ IS NULL OR kafka_ts < $end::TIMESTAMPTZ)"
)
"""SQL of the dead letters by the first word of their reason and by Kafka timestamp in `[$start, $end)`; null: any."""


@dataclass(frozen=True, slots=True, order=True)
class RecordPosition:
    """Position of a dead letter in Kafka."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> RecordPosition:
        """Parse `topic:partition:offset`.

        Raises:
            QueryError: the text has another format.
        """
        topic, _, rest = text.partition(":")
        partition, _, offset = rest.partition(":")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            raise QueryError(f"invalid position {text!r}: valid is topic:partition:offset, as in crypto-streaming:0:1234", argument="place")
        return cls(topic, int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


def origin(topic_id: str, partition: int, offset: int) -> str:
    """Key of a dead letter in the replay log and in the header of its replayed record; unlike a topic name, the id is unique to one creation of the
    topic.
    """
    return f"{topic_id}:{partition}:{offset}"


def read_replay_log(kafka: KafkaSettings) -> dict[str, dict[str, Any]]:
    """The replay log: published dead letters, by `origin`: `topic`, `identity` of the event, `reason`, `replayed_ms` (UTC epoch ms).

    Raises:
        EngineUnavailable: Kafka does not answer.
    """
    if not topic_exists(kafka, kafka.ledger_topic):
        return {}
    entries = read_topic(kafka, kafka.ledger_topic)
    return {entry.key().decode(): orjson.loads(entry.value()) for entry in entries}


def word(reason: str) -> str:
    """The first word of a reason: its category."""
    return reason.partition(":")[0]


def preview(value: bytes | None, limit: int = 60) -> str:
    """The first bytes as one printable line; invalid UTF-8 is shown as escapes."""
    if value is None:
        return "(null)"
    text = value[: limit * 4].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown[:limit] + ("…" if len(shown) > limit or len(value) > limit * 4 else "")


class ReasonCounts:
    """Counts the dead letters of the whole table by reason. Caches the counts of each file, so that only new files are read. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._address = table_address(settings.s3, DEAD_TABLE)
        self._options = settings.s3.storage_options()
        self._access = S3Access.of(settings.s3)
        self._lock = threading.Lock()
        self._by_file: dict[str, Counter[str]] = {}

    def look(self) -> Mapping[str, int]:
        """Read the current counts; empty without a table.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        with self._lock, store_errors(self._address.endpoint, f"return {self._address.uri}", TABLE_ERRORS):
            return read_newest(self._address.uri, self._options, self._look) or {}

    def _look(self, table: DeltaTable) -> Mapping[str, int]:
        paths: set[str] = set(table.get_add_actions().column("path").to_pylist())
        for gone in self._by_file.keys() - paths:
            del self._by_file[gone]
        filesystem = self._access.filesystem() if paths - self._by_file.keys() else None
        for path in sorted(paths - self._by_file.keys()):
            reasons = pq.read_table(f"{self._address.root}/{path}", columns=["reason"], filesystem=filesystem, use_threads=False).column("reason")
            counted = pc.value_counts(pc.list_element(pc.split_pattern(reasons, ":", max_splits=1), 0)).to_pylist()
            self._by_file[path] = Counter({one["values"]: one["counts"] for one in counted})
        total: Counter[str] = Counter()
        for counts in self._by_file.values():
            total.update(counts)
        return dict(sorted(total.items()))
