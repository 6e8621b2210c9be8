"""Topics of the pipeline: partitions, watermarks, lag of the lake, rates, and records by offset, time and key. Bounded in records and time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from cryptoviz.errors import EngineUnavailable, QueryError
from cryptoviz.kafka import consumer
from cryptoviz.lake.delta import open_table
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.table_specs import topic_tables
from cryptoviz.settings import Settings
from dashboard.views.topic_rows import Browse, Found, KafkaRecord, PartitionStatus, Start, TopicStatus

__all__ = ["TopicBrowser"]

_CALL_S = 5.0
_BROWSE_S = 8.0
"""Deadline of one browse; what was found until then is shown."""
_SCANNED = 20_000
"""Records read to find those of a key."""
_MAX_VALUE = 2**16
_POLL_S = 0.2
_BATCH = 500


class TopicBrowser:
    """All calls block for at most some seconds and raise EngineUnavailable if Kafka does not answer. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        kafka = settings.kafka
        self.topics: tuple[str, ...] = tuple(
            str(getattr(kafka, name)) for name in type(kafka).model_fields if name.endswith("_topic") and getattr(kafka, name)
        )
        self._tables = topic_tables(settings)
        self._lock = threading.Lock()
        self._ends: dict[tuple[str, int], tuple[float, int]] = {}

    def overview(self) -> list[TopicStatus]:
        """Status of each topic that exists. Rates are those since the last call, at least a second ago."""
        with self._reading() as reader:
            known = reader.list_topics(timeout=_CALL_S).topics
            found = []
            for topic in self.topics:
                if topic in known and known[topic].error is None:
                    progress = self._progress(topic)
                    partitions = [self._partition(reader, topic, number, progress) for number in sorted(known[topic].partitions)]
                    found.append(TopicStatus(topic, self._tables.get(topic), tuple(partitions)))
            return found

    def browse(self, asked: Browse) -> Found:
        """Records from the requested start, newest first if it is the newest; committed records only.

        Raises:
            QueryError: not a topic of the pipeline.
        """
        if asked.topic not in self.topics:
            raise QueryError(f"no topic {asked.topic[:80]!r}: valid are {', '.join(self.topics)}", argument="topic")
        with self._reading() as reader:
            metadata = reader.list_topics(asked.topic, timeout=_CALL_S).topics[asked.topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            numbers = [number for number in sorted(metadata.partitions) if asked.partition in (None, number)]
            spans = {number: self._span(reader, asked, number, len(numbers)) for number in numbers}
            return self._read(reader, asked, {number: span for number, span in spans.items() if span[1] > span[0]})

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        reader = self._reader()
        try:
            yield reader
        except KafkaException as error:
            raise self._unavailable(error) from error
        finally:
            reader.close()

    def _reader(self) -> Any:
        return consumer(self._settings.kafka, {"enable.partition.eof": True, "auto.offset.reset": "earliest", "queued.max.messages.kbytes": 8192})

    def _partition(self, reader: Any, topic: str, number: int, progress: Mapping[int, int]) -> PartitionStatus:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_S)
        now_s, rate = time.monotonic(), None
        with self._lock:
            before = self._ends.get((topic, number))
            if before is not None and now_s - before[0] >= 1:
                rate = max(0.0, (high - before[1]) / (now_s - before[0]))
            if before is None or now_s - before[0] >= 1:
                self._ends[topic, number] = (now_s, high)
        lag = max(0, high - max(low, progress[number])) if number in progress else None
        return PartitionStatus(number, low, high, lag, rate)

    def _progress(self, topic: str) -> Mapping[int, int]:
        """Next offset of the lake by partition; empty if the lake does not read the topic, or does not answer: the topics are shown all the same."""
        table = self._tables.get(topic)
        if table is None:
            return {}
        try:
            opened = open_table(table_address(self._settings.s3, table).uri, self._settings.s3.storage_options())
            last = None if opened is None else read_progress(opened)
        except Exception:  # noqa: BLE001 (of several libraries; the lake page shows the reason)
            return {}
        return {} if last is None else {partition: offset for (_, partition), offset in last.offsets.items()}

    def _span(self, reader: Any, asked: Browse, number: int, partitions: int) -> tuple[int, int]:
        """`[first, end)` to read of a partition."""
        low, high = reader.get_watermark_offsets(TopicPartition(asked.topic, number), timeout=_CALL_S)
        if asked.start is Start.OFFSET:
            return max(low, asked.value), high
        if asked.start is Start.TIME:
            (at,) = reader.offsets_for_times([TopicPartition(asked.topic, number, asked.value)], timeout=_CALL_S)
            return (at.offset if at.offset >= 0 else high), high
        if asked.start is Start.OLDEST:
            return low, high
        # Transaction markers take offsets too: twice as many leaves enough records.
        wanted = _SCANNED // partitions if asked.key else asked.limit * 2 + 2
        return max(low, high - wanted), high

    def _read(self, reader: Any, asked: Browse, spans: Mapping[int, tuple[int, int]]) -> Found:
        reader.assign([TopicPartition(asked.topic, number, first) for number, (first, _) in spans.items()])
        gathered, deadline_s = _Gathered(asked, spans), time.monotonic() + _BROWSE_S
        while not gathered.enough:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            for message in reader.consume(_BATCH, timeout=min(_POLL_S, left_s)):
                problem = message.error()
                if problem is None:
                    gathered.take(message)
                elif problem.code() == KafkaError._PARTITION_EOF:
                    gathered.open_in.discard(message.partition())
                else:
                    raise KafkaException(problem)
        return gathered.found()

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        address = self._settings.kafka.bootstrap_servers
        return EngineUnavailable(f"Kafka at {address} (CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS) does not answer: {error}", engine="kafka", address=address)


class _Gathered:
    """Records of a browse as they arrive: partition by partition, or mixed. `open_in`: partitions of which more are wanted."""

    def __init__(self, asked: Browse, spans: Mapping[int, tuple[int, int]]) -> None:
        self._asked, self._spans, self._key = asked, spans, asked.key.encode()
        self._newest = asked.start is Start.NEWEST
        self._since_ms = asked.value if asked.start is Start.TIME else 0  # records after the first of a time may be older
        self.open_in = set(spans)
        self._records: list[KafkaRecord] = []
        self._of_partition: Counter[int] = Counter()
        self._scanned = 0

    @property
    def enough(self) -> bool:
        """Records of a key are in one partition; without a key the first ones are those of all partitions."""
        has_all = bool(self._key) and not self._newest and len(self._records) >= self._asked.limit
        return not self.open_in or self._scanned >= _SCANNED or has_all

    def take(self, message: Any) -> None:
        number, limit = message.partition(), self._asked.limit
        if number not in self.open_in:
            return
        self._scanned += 1
        if message.offset() >= self._spans[number][1] - 1:
            self.open_in.discard(number)
        if (self._key and message.key() != self._key) or int(message.timestamp()[1]) < self._since_ms:
            return
        self._records.append(_record(message))
        self._of_partition[number] += 1
        if self._newest and len(self._records) > limit * max(2, len(self._spans)) * 2:
            self._records = _newest(self._records, limit)
        elif not self._newest and self._of_partition[number] >= limit:
            self.open_in.discard(number)

    def found(self) -> Found:
        records, limit = self._records, self._asked.limit
        shown = _newest(records, limit) if self._newest else sorted(records, key=lambda one: (one.time_ms, one.partition, one.offset))[:limit]
        return Found(tuple(shown), self._scanned, complete=not self.open_in or len(records) >= limit)


def _newest(records: list[KafkaRecord], count: int) -> list[KafkaRecord]:
    return sorted(records, key=lambda one: (one.time_ms, one.offset), reverse=True)[:count]


def _record(message: Any) -> KafkaRecord:
    value, key = message.value(), message.key()
    headers = tuple((str(name), (content or b"").decode("utf-8", "backslashreplace")[:200]) for name, content in message.headers() or ())
    return KafkaRecord(
        partition=message.partition(),
        offset=message.offset(),
        time_ms=int(message.timestamp()[1]),
        key=None if key is None else key.decode("utf-8", "backslashreplace")[:200],
        value=None if value is None else bytes(value[:_MAX_VALUE]),
        size=0 if value is None else len(value),
        headers=headers,
    )
