"""Parquet encoding of a data file and its Delta statistics. Deterministic: the same rows give the same bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.parts import date_of_ms
from cryptoviz.times import DAY_MS

__all__ = ["TablePart", "WrittenPart", "encode", "parquet_file", "repeats", "split_days", "stat_value", "statistics"]

_ROW_GROUP_ROWS = 122_880  # a multiple of DuckDB's vector size, and its own default
_DICTIONARY_ROWS = 256  # below it the dictionary pages cost more bytes than they save
_UNIQUE_TEXTS = frozenset({"event_id", "body", "key", "value"})  # their dictionaries grow too large and are discarded
_MAX_STAT_CHARS = 64  # longer minima and maxima are left out rather than cut
_WHOLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A data file: path in the table, bytes, rows, and its Delta statistics as JSON."""

    path: str
    size: int
    rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class TablePart:
    """A written file and its table. `ticks`: the first different `tick_ts` of its rows, for the log (UTC epoch ms)."""

    table: str
    part: WrittenPart
    ticks: tuple[int, ...] = ()


def encode(rows: pa.Table, stats_columns: tuple[str, ...]) -> pa.Buffer:
    """Snappy Parquet. Column statistics only where readers prune, and no copy of the Arrow schema: half the size for a few rows.

    Dictionary encoding for repeating columns, delta encoding for rising ones: half the time and a seventh fewer bytes than pyarrow's default, a
    dictionary for every column.
    """
    steady = [field.name for field in rows.schema if pa.types.is_timestamp(field.type) or field.name == "kafka_offset"]
    # Snappy cannot compress plain hashes with their lengths, and the attempt takes a fifth of the encoding; it skips hashes alone.
    hashes = [name for name in rows.column_names if name == "event_id"]
    repeating = [field.name for field in rows.schema if repeats(field)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        compression="snappy",
        row_group_size=_ROW_GROUP_ROWS,
        use_dictionary=repeating if rows.num_rows >= _DICTIONARY_ROWS else False,
        column_encoding=dict.fromkeys(steady, "DELTA_BINARY_PACKED") | dict.fromkeys(hashes, "DELTA_LENGTH_BYTE_ARRAY"),
        write_statistics=list(stats_columns),
        store_schema=False,
    )
    return sink.getvalue()


def parquet_file(table: DeltaTable, path: str, size: int) -> pq.ParquetFile:
    """Open a data file of `size` bytes. A small file is read in one request; pyarrow's own file system makes five for a few columns of it."""
    file = table.open_file(path, size)
    return pq.ParquetFile(pa.BufferReader(file.read(size)) if size <= _WHOLE_BYTES else file, pre_buffer=False)


def repeats(field: pa.Field) -> bool:
    """Whether the column gets a dictionary. Floats do not: most differ from row to row, and snappy compresses the others."""
    return field.name not in _UNIQUE_TEXTS and (pa.types.is_string(field.type) or pa.types.is_int32(field.type))


def statistics(rows: pa.Table, columns: tuple[str, ...]) -> str:
    """`stats` JSON of an AddAction: row count, and minimum, maximum and null count of `columns`."""
    stats: dict[str, Any] = {"numRecords": rows.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    for name in columns:
        column = rows.column(name)
        stats["nullCount"][name] = column.null_count
        extremes = pc.min_max(column).as_py()
        low, high = stat_value(extremes["min"]), stat_value(extremes["max"])
        if low is not None and high is not None:
            stats["minValues"][name], stats["maxValues"][name] = low, high
    return json.dumps(stats, separators=(",", ":"))


def stat_value(value: Any) -> Any:
    """A minimum or maximum in the format of the Delta log; None if it is too long."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, str) and len(value) > _MAX_STAT_CHARS:
        return None
    return value


def split_days(rows: pa.Table, time_column: str) -> list[tuple[date, pa.Table]]:
    """Split rows by UTC day of `time_column`, in day order; the order of rows within a day stays."""
    days = np.floor_divide(rows.column(time_column).cast(pa.int64()).to_numpy(), DAY_MS * 1000)
    found = np.unique(days)
    if len(found) == 1:
        return [(date_of_ms(int(found[0]) * DAY_MS), rows)]
    return [(date_of_ms(int(day) * DAY_MS), rows.filter(pa.array(days == day))) for day in found]
