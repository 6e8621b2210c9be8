"""Executor side of a batch: decode the records, write Parquet files, return their metadata. The driver commits.

Runs in Spark's Python workers, on the records of one topic-partition in offset order. A repeated task writes the same files again, byte for byte,
under the same names.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.lake.objects import S3Access, TableAddress, minio_client
from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.schema import DEAD_LETTERS, DEAD_TABLE, file_schema
from cryptoviz.lake.store_errors import store_errors
from spark_jobs.streaming.decode import BadRecord, decode
from spark_jobs.tables.parquet import TablePart, WrittenPart, encode, split_days, statistics
from spark_jobs.tables.record_spec import RecordSpec

__all__ = ["Put", "TopicSpec", "WriteSpec", "put_with", "write_parts"]

# Approximate maximum of Kafka value bytes in one file; bounds a worker's memory for any batch size.
_CHUNK_BYTES = 96 << 20
TICKS_SHOWN = 16
"""Ticks of a file that the log names. A file has more only in a backlog."""
_TICK_ROWS = 10_000
_DEAD_STATS = ("kafka_ts", "kafka_offset")
_MIN_PART_BYTES = 5 << 20

Put = Callable[[TableAddress, str, pa.Buffer], None]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic of the batch: its UUID and record spec."""

    topic_id: str
    spec: RecordSpec


@dataclass(frozen=True, slots=True)
class WriteSpec:
    """Inputs of a task, sent inside the serialized function, so that the S3 secret appears in no process list and no log.

    `skip_below[table][(topic id, partition)]`: the table's progress; rows below it are already committed. `avoid[table]`: names that no file may get
    (`spark_jobs.streaming.batch_plan`); such a file is split in two. `traced`: return the contexts in the records' headers.
    """

    topics: Mapping[str, TopicSpec]
    tables: Mapping[str, TableAddress]
    access: S3Access
    max_bytes: int
    skip_below: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    avoid: Mapping[str, frozenset[str]] = field(default_factory=dict)
    traced: bool = False


def write_parts(batches: Iterable[pa.RecordBatch], topic: str, partition: int, plan: WriteSpec, put: Put) -> Iterator[TablePart]:
    """Write the records of one topic-partition from `kafka_range_reader.read_range`: one file for each table and day, more for many records.

    Raises:
        EngineUnavailable: the store refuses a file.
    """
    chunk: _Chunk | None = None
    for batch in batches:
        if chunk is None:
            chunk = _Chunk(topic, partition, plan)
        chunk.add(batch)
        if chunk.value_bytes >= _CHUNK_BYTES:
            yield from chunk.flush(put)
            chunk = None
    if chunk is not None:
        yield from chunk.flush(put)


class _Chunk:
    """Decoded records of one topic-partition, to be written as one file for each table and day."""

    def __init__(self, topic: str, partition: int, plan: WriteSpec) -> None:
        self.value_bytes = 0
        self._name = topic
        self._partition = partition
        self._plan = plan
        self._topic = plan.topics[topic]
        self._rows: list[pa.Table] = []
        self._dead: list[pa.Table] = []
        self._start = -1
        self._end = -1

    def add(self, batch: pa.RecordBatch) -> None:
        offsets, values = batch.column("offset"), batch.column("value")
        stamps = batch.column("timestamp").cast(pa.int64())
        done = decode(values, stamps, self._topic.spec, self._plan.max_bytes)
        if self._start < 0:
            self._start = offsets[0].as_py()
        self._end = offsets[-1].as_py()
        self.value_bytes += values.nbytes
        if done.rows.num_rows:
            self._rows.append(self._with_origin(done.rows, offsets.take(done.good)))
        if done.bad:
            self._dead.append(self._dead_rows(batch, done.bad))

    def flush(self, put: Put) -> Iterator[TablePart]:
        spec = self._topic.spec
        yield from self._write(spec.table, self._rows, spec.time, spec.stats_columns, put)
        yield from self._write(DEAD_TABLE, self._dead, "kafka_ts", _DEAD_STATS, put)

    def _write(self, table: str, pieces: list[pa.Table], time_column: str, stats_columns: tuple[str, ...], put: Put) -> Iterator[TablePart]:
        needed = self._plan.skip_below.get(table, {}).get((self._topic.topic_id, self._partition), 0)
        if not pieces or self._end < needed:
            return
        rows = pa.concat_tables(pieces)
        start = self._start
        if start < needed:
            rows, start = rows.filter(pc.greater_equal(rows.column("kafka_offset"), needed)), needed
        if rows.num_rows == 0:
            return
        for day, of_day in split_days(rows, time_column):
            part = Part(short_topic_id(self._topic.topic_id), self._partition, start, self._end, day)
            for named, of_part in self._named(table, part, of_day):
                data = encode(of_part, stats_columns)
                put(self._plan.tables[table], named.path, data)
                yield TablePart(table, WrittenPart(named.path, data.size, of_part.num_rows, statistics(of_part, stats_columns)), _ticks(of_part))

    def _named(self, table: str, part: Part, rows: pa.Table) -> Iterator[tuple[Part, pa.Table]]:
        """The rows with their file name. If that name must be avoided, the rows of the last offset get a separate file."""
        if part.path not in self._plan.avoid.get(table, ()) or part.start == part.end:
            yield part, rows
            return
        earlier = pc.less(rows.column("kafka_offset"), part.end)
        for piece, of_piece in (
            (replace(part, end=part.end - 1), rows.filter(earlier)),
            (replace(part, start=part.end), rows.filter(pc.invert(earlier))),
        ):
            if of_piece.num_rows:
                yield from self._named(table, piece, of_piece)

    def _with_origin(self, rows: pa.Table, offsets: pa.Array) -> pa.Table:
        origin = [
            pa.repeat(pa.scalar(self._topic.topic_id), rows.num_rows),
            pa.repeat(pa.scalar(self._partition, pa.int32()), rows.num_rows),
            offsets,
        ]
        return pa.table([*rows.columns, *origin], schema=self._topic.spec.schema)

    def _dead_rows(self, batch: pa.RecordBatch, bad: tuple[BadRecord, ...]) -> pa.Table:
        taken = batch.take(pa.array([one.index for one in bad], pa.int64()))
        size = taken.num_rows
        return pa.table(
            [
                pa.repeat(pa.scalar(self._name), size),
                taken.column("timestamp").cast(pa.timestamp("us", tz="UTC")),
                taken.column("key"),
                taken.column("value"),
                pa.array([one.reason for one in bad], pa.string()),
                pa.repeat(pa.scalar(self._topic.topic_id), size),
                pa.repeat(pa.scalar(self._partition, pa.int32()), size),
                taken.column("offset"),
            ],
            schema=file_schema(DEAD_LETTERS),
        )


def _ticks(rows: pa.Table) -> tuple[int, ...]:
    if "tick_ts" not in rows.column_names:
        return ()
    stamps = pc.unique(rows.column("tick_ts").slice(0, _TICK_ROWS)).cast(pa.int64())
    return tuple(stamp // 1000 for stamp in stamps[:TICKS_SHOWN].to_pylist())


def put_with(access: S3Access) -> Put:
    """Function that uploads a file. It raises EngineUnavailable if the store refuses it."""

    def put(address: TableAddress, path: str, data: pa.Buffer) -> None:
        # A single PUT for any size: the object exists completely or not at all.
        part_size = max(_MIN_PART_BYTES, data.size)
        with store_errors(access.endpoint, f"accept {path}"):
            minio_client(access).put_object(address.bucket, address.key(path), io.BytesIO(data), data.size, part_size=part_size)

    return put
