"""Reads a table's files. Small files are read whole and cached by day (files never change); large files are read as a dataset with pruning.

Footers of large files are cached, so that a second query reads only the column chunks of the row groups that it needs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from cryptoviz.lake.delta import TABLE_ERRORS
from cryptoviz.lake.files import DataFile, Snapshot
from cryptoviz.lake.objects import S3Access, TableAddress, minio_client, read_object
from cryptoviz.lake.progress import Offsets
from cryptoviz.lake.schema import PARTITION_BY
from cryptoviz.lake.store_errors import store_errors

__all__ = ["Scanner"]

_SMALL_BYTES = 256 << 10  # above this size, reading some columns of some row groups is cheaper than caching all rows
_CACHE_BYTES = 384 << 20
_READERS = 16  # threads; small reads wait for the network, not for the CPU
_FOOTERS = 2_000  # cached footers of large files: some 20 KB each

_PARQUET = ds.ParquetFileFormat()


@dataclass(frozen=True, slots=True)
class _Day:
    paths: frozenset[str]
    rows: pa.Table
    size: int
    """Bytes of `rows`: `nbytes` visits each chunk, 0.3 ms for an empty table of prices."""


class Scanner:
    """The rows of a table's files. Thread-safe."""

    def __init__(self, address: TableAddress, access: S3Access) -> None:
        self._address = address
        self._access = access
        self._lock = threading.Lock()
        self._days: OrderedDict[date, _Day] = OrderedDict()
        self._fragments: OrderedDict[str, Any] = OrderedDict()
        self._filesystem: Any = None

    def dataset(self, snapshot: Snapshot, low: datetime | None = None, high: datetime | None = None) -> ds.Dataset:
        """The rows of a version as one dataset. Omits files without rows in `[low, high)`; the caller filters the rows of the others.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        first = low.date() if low else date.min
        last = (high - timedelta(microseconds=1)).date() if high else date.max
        by_day = {day: files for day, files in snapshot.by_day.items() if first <= day <= last}
        small = [self._small_rows(day, files, snapshot.schema) for day, files in by_day.items()]
        large = [file for files in by_day.values() for file in files if file.size >= _SMALL_BYTES and _may_hold(file, low, high)]
        memory = ds.dataset(pa.concat_tables([snapshot.schema.empty_table(), *small]))
        whole = ds.dataset([memory, self._large(large, snapshot.schema)]) if large else memory
        return whole if snapshot.upto is None else whole.filter(_below(snapshot.upto))

    def _small_rows(self, day: date, files: Sequence[DataFile], schema: pa.Schema) -> pa.Table:
        wanted = {file.path: file for file in files if file.size < _SMALL_BYTES}
        with self._lock:
            kept = self._days.get(day) if wanted else self._days.pop(day, None)
        if not wanted:
            return schema.empty_table()
        if kept is not None and kept.rows.schema != schema:
            kept = None  # the table has a new column
        if kept is not None and not kept.paths <= wanted.keys():
            kept = None  # maintenance has replaced files
        have = kept.paths if kept else frozenset()
        new = self._read([file for path, file in wanted.items() if path not in have], schema)
        if kept is not None and not new:
            return kept.rows
        rows = pa.concat_tables([*([kept.rows] if kept else []), *new]) if kept or new else schema.empty_table()
        if rows.column(0).num_chunks > len(have) ** 0.5 + 8:  # many tiny chunks make every later query slow
            rows = rows.combine_chunks()
        self._keep(day, _Day(frozenset(wanted), rows, rows.nbytes))
        return rows

    def _keep(self, day: date, read: _Day) -> None:
        with self._lock:
            self._days[day] = read
            self._days.move_to_end(day)
            while len(self._days) > 1 and sum(one.size for one in self._days.values()) > _CACHE_BYTES:
                self._days.popitem(last=False)

    def _read(self, files: Sequence[DataFile], schema: pa.Schema) -> list[pa.Table]:
        if not files:
            return []
        with (
            store_errors(self._address.endpoint, f"return a file of {self._address.uri}", TABLE_ERRORS),
            ThreadPoolExecutor(min(_READERS, len(files)), thread_name_prefix="lake-read") as pool,
        ):
            return [_shaped(rows, file.day, schema) for rows, file in zip(pool.map(self._read_one, files), files, strict=True)]

    def _read_one(self, file: DataFile) -> pa.Table:
        content = read_object(minio_client(self._access), self._address.bucket, self._address.key(file.path))
        return pq.read_table(pa.BufferReader(content), use_threads=False)

    def _large(self, files: Iterable[DataFile], schema: pa.Schema) -> ds.Dataset:
        with self._lock:
            if self._filesystem is None:
                self._filesystem = self._access.filesystem()
            fragments = [self._fragment(file) for file in files]
        return ds.FileSystemDataset(fragments, schema, _PARQUET, self._filesystem)

    def _fragment(self, file: DataFile) -> Any:
        fragment = self._fragments.pop(file.path, None)
        if fragment is None:
            path = f"{self._address.root}/{file.path}"
            fragment = _PARQUET.make_fragment(path, filesystem=self._filesystem, partition_expression=_of_day(file.day), file_size=file.size)
        self._fragments[file.path] = fragment
        while len(self._fragments) > _FOOTERS:
            self._fragments.popitem(last=False)
        return fragment


def _shaped(rows: pa.Table, day: date, schema: pa.Schema) -> pa.Table:
    """The table's columns in its order: fields missing in an old file are null, partition columns come from the folder."""
    columns = []
    for field in schema:
        if field.name in PARTITION_BY:
            columns.append(pa.repeat(pa.scalar(getattr(day, field.name), field.type), rows.num_rows))
        elif field.name in rows.column_names:
            columns.append(rows.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _may_hold(file: DataFile, low: datetime | None, high: datetime | None) -> bool:
    """Whether the file may have rows in the range, by its bounds in the log; a file without bounds may."""
    return not ((low and file.last and file.last < low) or (high and file.first and file.first >= high))


def _below(upto: Offsets) -> ds.Expression:
    """Rows below these offsets."""
    expression = ds.scalar(False)
    for (topic_id, partition), end in upto.items():
        own = (ds.field("kafka_topic_id") == topic_id) & (ds.field("kafka_partition") == partition)
        expression = expression | (own & (ds.field("kafka_offset") < end))
    return expression


def _of_day(day: date) -> ds.Expression:
    return (ds.field("year") == day.year) & (ds.field("month") == day.month) & (ds.field("day") == day.day)
