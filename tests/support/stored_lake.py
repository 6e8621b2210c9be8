"""A small lake in a real MinIO, written by the lake job's code without Kafka, Ray or Spark, for tests of readers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.lake.objects import S3Access, TableAddress, minio_client, table_address
from cryptoviz.lake.schema import DEAD_LETTERS, PRICES, RAW
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.settings import Settings
from spark_jobs.streaming.write import TopicSpec, WriteSpec, write_parts
from spark_jobs.tables.parquet import WrittenPart
from spark_jobs.tables.record_spec import PRICES_SPEC, RAW_SPEC, RecordSpec
from spark_jobs.tables.table_log import TableLog
from tests.support.records import TICK, exchange, record

STREAM_ID, RAW_ID = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
SCHEMAS = {"prices": PRICES, "raw": RAW, "dead_letters": DEAD_LETTERS}


class StoredLake:
    """Commits records as if read from Kafka, one batch per call, with the schemas of a version of the code."""

    def __init__(self, settings: Settings, run: str = "stored", spec: RecordSpec = PRICES_SPEC, **schemas: pa.Schema) -> None:
        self.settings = settings
        self._access = S3Access.of(settings.s3)
        self._specs = {settings.kafka.stream_topic: spec, settings.kafka.raw_topic: RAW_SPEC}
        options = settings.s3.storage_options()
        self.logs = {name: TableLog(table_address(settings.s3, name), schemas.get(name, schema), options, run) for name, schema in SCHEMAS.items()}
        for log in self.logs.values():
            log.open()

    def next(self, topic: str, topic_id: str, partition: int = 0) -> int:
        """First offset after the progress of the topic's table."""
        return self.logs[self._specs[topic].table].progress.offsets.get((topic_id, partition), 0)

    def stream(self, values: Sequence[bytes | None], stamp_ms: int = TICK) -> None:
        """One batch of the stream topic's partition 0."""
        self._take(self.settings.kafka.stream_topic, STREAM_ID, values, stamp_ms)

    def raw(self, values: Sequence[bytes | None], stamp_ms: int = TICK) -> None:
        """One batch of the raw topic."""
        self._take(self.settings.kafka.raw_topic, RAW_ID, values, stamp_ms)

    def ticks(self, count: int, first: int = TICK, every_ms: int = 60_000, per_batch: int = 60, **changes: Any) -> None:
        """This number of ticks of all assets, each with a raw exchange."""
        for start in range(0, count, per_batch):
            stamps = [first + i * every_ms for i in range(start, min(count, start + per_batch))]
            self.stream([record(stamp, asset, **changes).to_json() for stamp in stamps for asset in DEFAULT_ASSETS], stamps[-1])
            self.raw([exchange(stamp).to_json() for stamp in stamps], stamps[-1])

    def take_from_kafka(self) -> int:
        """Take all records of a real Kafka after the tables' progress; returns their number."""
        taken = 0
        kafka = self.settings.kafka
        for topic in self._specs:
            topic_id, ends = topic_ends(kafka, topic)
            spans = {partition: (max(first, self.next(topic, topic_id, partition)), end) for partition, (first, end) in ends.items()}
            found: dict[int, list[Any]] = {partition: [] for partition in spans}
            for message in read_topic(kafka, topic, spans):
                found[message.partition()].append(message)
            for partition, messages in found.items():
                if messages:
                    rows = [(one.offset(), one.timestamp()[1], one.key(), one.value()) for one in messages]
                    self._commit(topic, topic_id, partition, rows, spans[partition][1])
                    taken += len(messages)
        return taken

    def _take(self, topic: str, topic_id: str, values: Sequence[bytes | None], stamp_ms: int) -> None:
        first = self.next(topic, topic_id)
        self._commit(topic, topic_id, 0, [(first + i, stamp_ms, b"key", value) for i, value in enumerate(values)], first + len(values))

    def _commit(self, topic: str, topic_id: str, partition: int, rows: Sequence[tuple[int, int, bytes | None, bytes | None]], end: int) -> None:
        offsets, stamps, keys, values = zip(*rows, strict=True)
        batch = pa.record_batch(
            {
                "offset": pa.array(offsets, pa.int64()),
                "timestamp": pa.array(stamps, pa.timestamp("ms", tz="UTC")),
                "key": pa.array(keys, pa.binary()),
                "value": pa.array(values, pa.binary()),
            }
        )
        spec = self._specs[topic]
        plan = WriteSpec(
            topics={topic: TopicSpec(topic_id, spec)},
            tables={name: log.address for name, log in self.logs.items()},
            access=self._access,
            max_bytes=self.settings.kafka.max_record_bytes,
        )
        written: dict[str, list[WrittenPart]] = {}
        for found in write_parts([batch], topic, partition, plan, self._put):
            written.setdefault(found.table, []).append(found.part)
        for table in ("dead_letters", spec.table):
            if table in written or table != "dead_letters":
                self.logs[table].commit(written.get(table, []), {(topic_id, partition): end})

    def _put(self, address: TableAddress, path: str, data: pa.Buffer) -> None:
        minio_client(self._access).put_object(address.bucket, address.key(path), io.BytesIO(data), data.size)
