"""Creates price tables without Kafka and Spark: the rows, files and commits that the job and its maintenance would write."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.lake.records import START_MS, records
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.parts import Part as FilePart
from cryptoviz.lake.parts import date_of_ms, short_topic_id
from cryptoviz.lake.schema import PRICES
from cryptoviz.settings import Settings
from cryptoviz.times import DAY_MS
from spark_jobs.maintenance.compaction.sorted_merge import Layout, merge
from spark_jobs.streaming.decode import decode
from spark_jobs.tables.parquet import WrittenPart, encode, statistics
from spark_jobs.tables.record_spec import PRICES_SPEC
from spark_jobs.tables.table_log import TableLog

__all__ = ["TOPIC_ID", "day_of_rows", "day_rows", "days_of_rows", "open_log", "put_parts", "table_bytes"]

TOPIC_ID = "6d1a9f3c-52a1-4d5e-9a7b-0c1d2e3f4a5b"
"""Id of a topic that does not exist: no job can continue these tables."""
_WRITERS = 8
_MIN_PART_BYTES = 5 << 20


def open_log(settings: Settings) -> TableLog:
    """Create the prices table."""
    log = TableLog(table_address(settings.s3, "prices"), PRICES, settings.s3.storage_options(), "bench")
    log.open()
    return log


def day_rows(tick_ms: int, days: int, seed: int = 11) -> pa.Table:
    """The rows of `days` days of all assets, in Kafka order, as the job's tasks decode them."""
    per_day = DAY_MS // tick_ms * 17
    found = [value for _, value in records(per_day * days, "full", tick_ms=tick_ms, seed=seed)]
    values = pa.array(found, pa.binary())
    done = decode(values, pa.array([START_MS + days * DAY_MS] * len(values), pa.int64()), PRICES_SPEC, 1 << 20)
    if done.bad:
        raise SystemExit(f"the generator made a bad record: {done.bad[0].reason}")
    size = done.rows.num_rows
    origin = [pa.repeat(pa.scalar(TOPIC_ID), size), pa.repeat(pa.scalar(0, pa.int32()), size), pa.array(range(size), pa.int64())]
    return pa.table([*done.rows.columns, *origin], schema=PRICES_SPEC.schema)


def day_of_rows(rows: pa.Table, shift_days: int, first_offset: int) -> pa.Table:
    """The same rows on another day, with other offsets."""
    shifted = rows
    for name in ("tick_ts", "source_ts", "ingest_ts"):
        moved = pc.add(rows.column(name), pa.scalar(shift_days * DAY_MS * 1000, pa.duration("us")))
        shifted = shifted.set_column(shifted.column_names.index(name), rows.schema.field(name), moved)
    offsets = pc.add(rows.column("kafka_offset"), first_offset)
    return shifted.set_column(shifted.column_names.index("kafka_offset"), rows.schema.field("kafka_offset"), offsets)


def days_of_rows(rows: pa.Table, days: range, shift_days: int = 0) -> Iterator[pa.Table]:
    """The rows on each of the days, moved by `shift_days`, with offsets that continue from day to day."""
    for number in days:
        yield day_of_rows(rows, shift_days + number, number * rows.num_rows)


def put_parts(settings: Settings, pieces: Iterator[pa.Table], layout: Layout | None = None) -> list[WrittenPart]:
    """Write one file for each piece (rows of one day): like a task, or, with a `layout`, like a compacted file."""
    access, address = S3Access.of(settings.s3), table_address(settings.s3, "prices")

    def put(rows: pa.Table) -> WrittenPart:
        offsets = pc.min_max(rows.column("kafka_offset")).as_py()
        day = date_of_ms(rows.column("tick_ts")[0].cast(pa.int64()).as_py() // 1000)
        part = FilePart(short_topic_id(TOPIC_ID), 0, offsets["min"], offsets["max"], day)
        data = encode(rows, PRICES_SPEC.stats_columns) if layout is None else _compacted(rows, layout)
        minio_client(access).put_object(
            address.bucket, address.key(part.path), io.BytesIO(data), data.size, part_size=max(_MIN_PART_BYTES, data.size)
        )
        return WrittenPart(part.path, data.size, rows.num_rows, statistics(rows, PRICES_SPEC.stats_columns))

    with ThreadPoolExecutor(_WRITERS) as pool:
        return list(pool.map(put, pieces))


def _compacted(rows: pa.Table, layout: Layout) -> pa.Buffer:
    with tempfile.TemporaryDirectory(prefix="cv-bench-") as folder:
        source, target = Path(folder) / "source.parquet", Path(folder) / "target.parquet"
        pq.write_table(rows, source)
        merge([source], target, layout)
        return pa.py_buffer(target.read_bytes())


def table_bytes(settings: Settings) -> tuple[int, int]:
    """Bytes and number of the prices table's data files, from its log."""
    address = table_address(settings.s3, "prices")
    actions = pa.table(DeltaTable(address.uri, storage_options=settings.s3.storage_options()).get_add_actions())
    return int(pc.sum(actions.column("size_bytes")).as_py() or 0), actions.num_rows
