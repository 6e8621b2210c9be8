"""What an executor does with its part of a batch: decode, write the Parquet files, say what it wrote. The driver commits.

Runs in Spark's Python workers; each task holds the records of one topic-partition in offset order. A failed and repeated task writes the same
files again, byte for byte, under the same names.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.objects import STORE_ERRORS, S3Access, TableAddress, minio_client, store_error
from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.schema import DEAD_LETTERS, file_schema
from spark_jobs.decode import Bad, decode
from spark_jobs.parquet import encode, split_days, statistics
from spark_jobs.spec import DEAD_TABLE, RecordSpec

__all__ = ["RESULT_DDL", "SOURCE_COLUMNS", "Put", "TopicPlan", "WritePlan", "make_writer", "write_parts"]

SOURCE_COLUMNS = ("topic", "partition", "offset", "timestamp", "key", "value")
RESULT = pa.schema(
    [
        pa.field("table", pa.string()),
        pa.field("topic_id", pa.string()),
        pa.field("partition", pa.int32()),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("stats", pa.string()),
        pa.field("put_ms", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("largest", pa.int64()),
    ]
)
RESULT_DDL = (
    "table string, topic_id string, partition int, path string, size long, rows long, stats string, put_ms double, error string, largest long"
)

# One file holds about this many bytes of Kafka values at most, so that a worker's memory stays bounded whatever a trigger takes.
_CHUNK_BYTES = 96 << 20
_DEAD_STATS = ("kafka_ts", "kafka_offset")
_MIN_PART_BYTES = 5 << 20

Put = Callable[[TableAddress, str, pa.Buffer], None]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic of the batch: its UUID, and what its records are."""

    topic_id: str
    spec: RecordSpec


@dataclass(frozen=True, slots=True)
class WritePlan:
    """All that a task needs, shipped inside the serialized function: the S3 secret shows in no process list and no log.

    `skip_below[table][(topic id, partition)]` is the first offset that the table still needs: rows below it are there already.
    """

    topics: Mapping[str, TopicPlan]
    tables: Mapping[str, TableAddress]
    access: S3Access
    max_bytes: int
    skip_below: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)


def make_writer(plan: WritePlan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`: record batches of `SOURCE_COLUMNS` in, one row for each written file out (`RESULT_DDL`).

    A store that refuses a file is told in a row too (`error`, and nothing else), because the driver waits for it and tries the batch again; Spark
    would try four times at once and give up.
    """

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        source = iter(batches)
        try:
            yield from write_parts(source, plan, _put_with(plan.access))
        except EngineUnavailable as error:
            yield _failed(str(error))
            for _ in source:  # a worker that leaves input unread is not used again
                pass

    return write


def write_parts(batches: Iterable[pa.RecordBatch], plan: WritePlan, put: Put) -> Iterator[pa.RecordBatch]:
    """As `make_writer`, with the object store as an argument."""
    chunk: _Chunk | None = None
    for batch in batches:
        for piece in _by_topic_partition(batch):
            origin = (piece.column("topic")[0].as_py(), piece.column("partition")[0].as_py())
            if chunk is not None and (chunk.origin != origin or chunk.value_bytes >= _CHUNK_BYTES):
                yield from chunk.flush(put)
                chunk = None
            if chunk is None:
                chunk = _Chunk(origin, plan)
            chunk.add(piece)
    if chunk is not None:
        yield from chunk.flush(put)


def _by_topic_partition(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Runs of one topic-partition; Spark gives one a task unless `minPartitions` is set."""
    if batch.num_rows == 0:
        return
    if len(pc.unique(batch.column("partition"))) == 1 and len(pc.unique(batch.column("topic"))) == 1:
        yield batch
        return
    keys = list(zip(batch.column("topic").to_pylist(), batch.column("partition").to_pylist(), strict=True))
    start = 0
    for index in range(1, len(keys) + 1):
        if index == len(keys) or keys[index] != keys[start]:
            yield batch.slice(start, index - start)
            start = index


class _Chunk:
    """The decoded records of one topic-partition that go into one file a table and day."""

    def __init__(self, origin: tuple[str, int], plan: WritePlan) -> None:
        self.origin = origin
        self.value_bytes = 0
        self._largest = 0
        self._plan = plan
        self._topic = plan.topics[origin[0]]
        self._rows: list[pa.Table] = []
        self._dead: list[pa.Table] = []
        self._start = -1
        self._end = -1

    def add(self, batch: pa.RecordBatch) -> None:
        offsets, values = batch.column("offset"), batch.column("value")
        stamps = batch.column("timestamp").cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
        done = decode(values, stamps, self._topic.spec, self._plan.max_bytes)
        if self._start < 0:
            self._start = offsets[0].as_py()
        self._end = offsets[-1].as_py()
        self.value_bytes += values.nbytes
        self._largest = max(self._largest, pc.max(pc.binary_length(values)).as_py() or 0)
        if done.rows.num_rows:
            self._rows.append(self._with_origin(done.rows, offsets.take(done.good)))
        if done.bad:
            self._dead.append(self._dead_rows(batch, done.bad))

    def flush(self, put: Put) -> Iterator[pa.RecordBatch]:
        spec = self._topic.spec
        yield from self._write(spec.table, self._rows, "tick_ts", spec.stats_columns, put)
        yield from self._write(DEAD_TABLE, self._dead, "kafka_ts", _DEAD_STATS, put)

    def _write(self, table: str, pieces: list[pa.Table], time_column: str, stats_columns: tuple[str, ...], put: Put) -> Iterator[pa.RecordBatch]:
        needed = self._plan.skip_below.get(table, {}).get((self._topic.topic_id, self.origin[1]), 0)
        if not pieces or self._end < needed:
            return
        rows = pa.concat_tables(pieces)
        start = self._start
        if start < needed:
            rows, start = rows.filter(pc.greater_equal(rows.column("kafka_offset"), needed)), needed
        if rows.num_rows == 0:
            return
        for day, of_day in split_days(rows, time_column):
            part = Part(short_topic_id(self._topic.topic_id), self.origin[1], start, self._end, day)
            data = encode(of_day, stats_columns)
            before = time.perf_counter()
            put(self._plan.tables[table], part.path, data)
            took_ms = (time.perf_counter() - before) * 1000
            yield _result(table, self._topic.topic_id, part, data.size, of_day.num_rows, statistics(of_day, stats_columns), took_ms, self._largest)

    def _with_origin(self, rows: pa.Table, offsets: pa.Array) -> pa.Table:
        origin = [
            pa.repeat(pa.scalar(self._topic.topic_id), rows.num_rows),
            pa.repeat(pa.scalar(self.origin[1], pa.int32()), rows.num_rows),
            offsets.cast(pa.int64()),
        ]
        return pa.table([*rows.columns, *origin], schema=self._topic.spec.schema)

    def _dead_rows(self, batch: pa.RecordBatch, bad: tuple[Bad, ...]) -> pa.Table:
        taken = batch.take(pa.array([one.index for one in bad], pa.int64()))
        size = taken.num_rows
        return pa.table(
            [
                taken.column("topic").cast(pa.string()),
                taken.column("timestamp").cast(pa.timestamp("us", tz="UTC")),
                taken.column("key").cast(pa.binary()),
                taken.column("value").cast(pa.binary()),
                pa.array([one.reason for one in bad], pa.string()),
                pa.repeat(pa.scalar(self._topic.topic_id), size),
                taken.column("partition").cast(pa.int32()),
                taken.column("offset").cast(pa.int64()),
            ],
            schema=file_schema(DEAD_LETTERS),
        )


def _result(table: str, topic_id: str, part: Part, size: int, rows: int, stats: str, put_ms: float, largest: int) -> pa.RecordBatch:
    return _row((table, topic_id, part.partition, part.path, size, rows, stats, put_ms, None, largest))


def _failed(reason: str) -> pa.RecordBatch:
    return _row((None, None, None, None, None, None, None, None, reason, None))


def _row(values: tuple[object, ...]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([value], column.type) for value, column in zip(values, RESULT, strict=True)], schema=RESULT)


def _put_with(access: S3Access) -> Put:
    def put(address: TableAddress, path: str, data: pa.Buffer) -> None:
        # One PUT whatever the size: an object is there whole or not at all.
        part_size = max(_MIN_PART_BYTES, data.size)
        try:
            minio_client(access).put_object(address.bucket, address.key(path), io.BytesIO(data), data.size, part_size=part_size)
        except STORE_ERRORS as error:
            raise store_error(error, f"take {path}") from error

    return put
