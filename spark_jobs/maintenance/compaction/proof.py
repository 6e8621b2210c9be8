"""Fingerprint of the rows of a set of files, independent of row order and file layout. Must be equal before and after a merge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryptoviz.errors import LakeError
from cryptoviz.lake.schema import KAFKA_POSITION

__all__ = ["Fingerprint", "fingerprint", "read_batches"]

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 65_536
_BATCH_PIECES = 256
_HASH_MODULUS = 1 << 64
_ROW_OVERHEAD_BYTES = 256  # of a row of prices in Arrow, beyond the size of its dictionary-encoded pages


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Independent of order. `total` and `mixed`: sum (mod 2**64) and exclusive or of a hash over all columns of each row; `keys`: number and digest
    of the sorted offsets for each topic id and partition.
    """

    rows: int
    total: int
    mixed: int
    keys: tuple[tuple[str, int, int, str], ...]


def fingerprint(batches: Iterable[pa.Table], schema: pa.Schema) -> Fingerprint:
    """Fingerprint of all rows in `batches`, which have the columns of `schema`. Memory: one record batch and 8 bytes a row."""
    rows = total = mixed = 0
    offsets: dict[tuple[str, int], list[npt.NDArray[np.int64]]] = {}
    row = ", ".join(f'"{name}"' for name in schema.names)
    sql = f"FROM (FROM batch SELECT hash({row}) AS h) SELECT count(*), sum(h), bit_xor(h)"
    with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"}) as connection:
        for batch in _gathered(batches):
            connection.register("batch", batch)
            count, summed, xored = connection.execute(sql).fetchall()[0]
            connection.unregister("batch")
            rows, total, mixed = rows + count, (total + int(summed)) % _HASH_MODULUS, mixed ^ int(xored)
            for key, found in _offsets(batch):
                offsets.setdefault(key, []).append(found)
    return Fingerprint(rows, total, mixed, tuple(_digests(offsets)))


def read_batches(source: Path | BinaryIO | Any, schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows of a Parquet file in pieces of some megabytes, with the columns of `schema`; missing columns are null.

    Raises:
        LakeError: the file has a column that `schema` lacks, or that has another type, so that its rows would change.
    """
    with pq.ParquetFile(source, pre_buffer=False) as file:
        check_columns(file.schema_arrow, schema)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        row_bytes = _ROW_OVERHEAD_BYTES + size // max(1, file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes)), use_threads=False):
            yield _shaped(pa.Table.from_batches([batch]), schema)


def check_columns(found: pa.Schema, schema: pa.Schema) -> None:
    """Raise LakeError if `found` has a column that `schema` lacks or has with another type."""
    for column in found:
        index = schema.get_field_index(column.name)
        if index < 0 or schema.field(index).type != column.type:
            wanted = "no such column" if index < 0 else str(schema.field(index).type)
            raise LakeError(f"a data file has a column {column.name} of type {column.type}, the table has {wanted}: the file was not merged")


def _shaped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    present = set(rows.column_names)
    columns = [rows.column(field.name) if field.name in present else pa.nulls(rows.num_rows, field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _gathered(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Combine small record batches: the cost of a query exceeds that of a row."""
    held: list[pa.Table] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes  # computed once, because it visits all buffers
        if size >= _BATCH_BYTES or len(held) >= _BATCH_PIECES:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _offsets(batch: pa.Table) -> Iterator[tuple[tuple[str, int], npt.NDArray[np.int64]]]:
    topics, partitions, offsets = (batch.column(name) for name in KAFKA_POSITION)
    for topic in pc.unique(topics).to_pylist():
        of_topic = pc.equal(topics, topic)
        for partition in pc.unique(partitions.filter(of_topic)).to_pylist():
            yield (topic, partition), offsets.filter(pc.and_(of_topic, pc.equal(partitions, partition))).to_numpy().astype(np.int64)


def _digests(offsets: dict[tuple[str, int], list[npt.NDArray[np.int64]]]) -> Iterator[tuple[str, int, int, str]]:
    for (topic, partition), pieces in sorted(offsets.items()):
        ordered = np.sort(np.concatenate(pieces))
        yield topic, partition, len(ordered), hashlib.sha256(ordered.astype("<i8").tobytes()).hexdigest()
