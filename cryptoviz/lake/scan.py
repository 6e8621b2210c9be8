"""Reads a table's files: small ones whole and kept in memory by day (they never change), large ones as a dataset that prunes for itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.files import DataFile
from cryptoviz.lake.objects import S3Access, TableAddress, minio_client
from cryptoviz.lake.schema import PARTITION_BY

__all__ = ["Scanner"]

_SMALL_BYTES = 1 << 20
_CACHE_BYTES = 384 << 20
_READERS = 16  # small reads wait for the network, not for a core


@dataclass(frozen=True, slots=True)
class _Day:
    paths: frozenset[str]
    rows: pa.Table


class Scanner:
    """The rows of a table's files. Thread-safe."""

    def __init__(self, address: TableAddress, schema: pa.Schema, access: S3Access) -> None:
        self._address = address
        self._schema = schema
        self._access = access
        self._lock = threading.Lock()
        self._days: OrderedDict[date, _Day] = OrderedDict()

    def dataset(self, by_day: Mapping[date, Sequence[DataFile]]) -> ds.Dataset:
        """The rows of all these files as one dataset.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        small = [self._small_rows(day, files) for day, files in by_day.items()]
        large = [file for files in by_day.values() for file in files if file.size >= _SMALL_BYTES]
        memory = ds.dataset(pa.concat_tables([self._schema.empty_table(), *small]))
        return ds.dataset([memory, self._large(large)]) if large else memory

    def _small_rows(self, day: date, files: Sequence[DataFile]) -> pa.Table:
        wanted = {file.path: file for file in files if file.size < _SMALL_BYTES}
        with self._lock:
            kept = self._days.get(day)
        if kept is not None and not kept.paths <= wanted.keys():
            kept = None  # maintenance has replaced files
        have = kept.paths if kept else frozenset()
        new = self._read([file for path, file in wanted.items() if path not in have])
        if kept is not None and not new:
            return kept.rows
        rows = pa.concat_tables([*([kept.rows] if kept else []), *new]) if kept or new else self._schema.empty_table()
        if rows.column(0).num_chunks > len(have) ** 0.5 + 8:  # many tiny chunks make every later query slow
            rows = rows.combine_chunks()
        self._keep(day, _Day(frozenset(wanted), rows))
        return rows

    def _keep(self, day: date, read: _Day) -> None:
        with self._lock:
            self._days[day] = read
            self._days.move_to_end(day)
            while len(self._days) > 1 and sum(one.rows.nbytes for one in self._days.values()) > _CACHE_BYTES:
                self._days.popitem(last=False)

    def _read(self, files: Sequence[DataFile]) -> list[pa.Table]:
        if not files:
            return []
        try:
            with ThreadPoolExecutor(min(_READERS, len(files)), thread_name_prefix="lake-read") as pool:
                return list(pool.map(self._read_one, files))
        except (S3Error, HTTPError, OSError) as error:
            raise EngineUnavailable(f"the object store did not give a file of {self._address.uri}: {error}", engine="object-store") from error

    def _read_one(self, file: DataFile) -> pa.Table:
        response = minio_client(self._access).get_object(self._address.bucket, self._address.key(file.path))
        try:
            rows = pq.read_table(pa.BufferReader(response.read()), use_threads=False)
        finally:
            response.close()
            response.release_conn()
        return self._shaped(rows, file.day)

    def _shaped(self, rows: pa.Table, day: date) -> pa.Table:
        """The table's columns in its order: a field that an old file lacks is null, the partition columns come from the folder."""
        columns = []
        for field in self._schema:
            if field.name in PARTITION_BY:
                columns.append(pa.repeat(pa.scalar(getattr(day, field.name), field.type), rows.num_rows))
            elif field.name in rows.column_names:
                columns.append(rows.column(field.name).cast(field.type))
            else:
                columns.append(pa.nulls(rows.num_rows, field.type))
        return pa.table(columns, schema=self._schema)

    def _large(self, files: Iterable[DataFile]) -> ds.Dataset:
        filesystem = self._access.filesystem()
        kind = ds.ParquetFileFormat()
        fragments = [
            kind.make_fragment(f"{self._address.root}/{file.path}", filesystem=filesystem, partition_expression=_of_day(file.day)) for file in files
        ]
        return ds.FileSystemDataset(fragments, self._schema, kind, filesystem)


def _of_day(day: date) -> ds.Expression:
    return (ds.field("year") == day.year) & (ds.field("month") == day.month) & (ds.field("day") == day.day)
