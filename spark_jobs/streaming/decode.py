"""Decoding of Kafka values to table columns. Valid records become rows; every other record becomes a dead letter with its reason. Nothing is coerced.

The fast path passes the Arrow buffer of newline-terminated values to `pyarrow.json` as NDJSON, without a copy. It is used only if the bytes prove
that each value is one flat object on one line. Everything else goes through `check_record`, record by record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from cryptoviz.errors import RecordError
from cryptoviz.records import FIRST_TRADE_MS
from spark_jobs.streaming.validate import FUTURE_MS, check_record
from spark_jobs.tables.record_spec import DECIMAL_TEXT, FieldSpec, JsonType, Reason, RecordSpec

__all__ = ["BadRecord", "Decoded", "decode", "ndjson_schema"]

_NEWLINE, _OPEN, _CLOSE = 0x0A, 0x7B, 0x7D
_BLOCK_BYTES = 1 << 20  # Arrow's parse block: 64 KiB takes a third longer, 8 MiB is no faster and takes more memory
# No threads: Spark already runs a Python worker for each core.
_READ = pj.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
_NDJSON_TYPES = {
    JsonType.STRING: pa.string(),
    JsonType.NUMBER: pa.float64(),
    JsonType.BOOLEAN: pa.bool_(),
    JsonType.INTEGER: pa.int64(),
    JsonType.DECIMAL: pa.string(),
}


@dataclass(frozen=True, slots=True)
class BadRecord:
    """An invalid record: its index in the input and the reason (`<reason>: <detail>`)."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """`rows` has the record's fields and the derived columns in table order; row i is input record `good[i]`."""

    rows: pa.Table
    good: pa.Array
    bad: tuple[BadRecord, ...]


def decode(values: pa.Array, stamps_ms: pa.Array, spec: RecordSpec, max_bytes: int) -> Decoded:
    """Split a batch of Kafka values into rows and dead letters.

    Args:
        values: binary, null for a tombstone.
        stamps_ms: int64, Kafka timestamp of each record; a `spec.time` more than a day later is implausible. (Not the wall clock: a retry must give
            the same result.)
        spec: the expected record.
        max_bytes: longer values are dead letters.
    """
    rows = _fast(values, stamps_ms, spec, max_bytes)
    if rows is not None:
        return Decoded(rows, pa.array(np.arange(len(values))), ())
    return _slow(values, stamps_ms, spec, max_bytes)


def _fast(values: pa.Array, stamps_ms: pa.Array, spec: RecordSpec, max_bytes: int) -> pa.Table | None:
    """All records as rows, or None if any may be invalid."""
    if not spec.flat or len(values) == 0 or values.null_count:
        return None
    buffer = _ndjson(values, max_bytes)
    if buffer is None:
        return None
    try:
        rows = _parsed(buffer, values, spec)
    except (pa.ArrowInvalid, orjson.JSONDecodeError):
        return None
    if rows.num_rows != len(values) or not _plausible(rows, stamps_ms, spec):
        return None
    try:
        return _table([rows.column(field.name) for field in spec.fields], spec)
    except pa.ArrowInvalid:
        return None


def _parsed(buffer: pa.Buffer, values: pa.Array, spec: RecordSpec) -> pa.Table:
    """The record's fields, null where a record lacks them. Raises ArrowInvalid or JSONDecodeError.

    A column costs pyarrow.json as much without values as with them, so only the fields of the first record are parsed. A record with another field
    is an error to that parse, and all fields are parsed instead.
    """
    schema = ndjson_schema(spec)
    known = set(schema.names)
    found = set(orjson.loads(values[0].as_py()))
    for names in [found, known] if found < known else [known]:
        try:
            rows = _read_json(buffer, pa.schema([field for field in schema if field.name in names]), "error")
        except pa.ArrowInvalid:
            continue
        columns = [rows.column(field.name) if field.name in names else pa.nulls(rows.num_rows, field.type) for field in schema]
        return pa.table(columns, schema=schema)
    # pyarrow.json accepts literals that are not JSON, as NaN, in the fields that it ignores.
    for value in values.to_pylist():
        orjson.loads(value)
    return _read_json(buffer, schema, "ignore")


def _read_json(buffer: pa.Buffer, schema: pa.Schema, unexpected: str) -> pa.Table:
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    return pj.read_json(pa.BufferReader(buffer), read_options=_READ, parse_options=parse)


def _ndjson(values: pa.Array, max_bytes: int) -> pa.Buffer | None:
    """The values' own buffer if each value is `{...}` and a newline, with no other brace or newline inside; None otherwise.

    This also keeps a bare `null` away from pyarrow.json, which crashes on it.
    """
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    lengths = np.diff(offsets)
    if lengths.min() < 3 or lengths.max() > max_bytes:
        return None
    first, last = int(offsets[0]), int(offsets[-1])
    buffer = values.buffers()[2].slice(first, last - first)
    text = np.frombuffer(buffer, dtype=np.uint8)
    ends = offsets[1:] - first
    shape_holds = bool(
        np.array_equal(np.flatnonzero(text == _NEWLINE), ends - 1)
        and (text[offsets[:-1] - first] == _OPEN).all()
        and (text[ends - 2] == _CLOSE).all()
        and np.count_nonzero(text == _CLOSE) == len(values)
        and np.count_nonzero(text == _OPEN) == len(values)
    )
    return buffer if shape_holds and _is_utf8(values) else None


def _is_utf8(values: pa.Array) -> bool:
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def ndjson_schema(spec: RecordSpec) -> pa.Schema:
    """The record's fields with the types for `pyarrow.json`; times stay epoch numbers, decimals texts."""
    return pa.schema([pa.field(field.name, _NDJSON_TYPES[field.json_type]) for field in spec.fields])


def _plausible(rows: pa.Table, stamps_ms: pa.Array, spec: RecordSpec) -> bool:
    """The checks of `check_record` beyond the JSON types."""
    for field in spec.fields:
        column = rows.column(field.name)
        if field.required and column.null_count:
            return False
        if field.json_type is JsonType.NUMBER and not _all(pc.is_finite(column)):
            return False
        if field.json_type is JsonType.DECIMAL and not _all(pc.match_substring_regex(column, DECIMAL_TEXT)):
            return False
        if field.json_type is JsonType.INTEGER and not _all(pc.and_(pc.greater_equal(column, field.low), pc.less_equal(column, field.high))):
            return False
    if spec.schema_version is not None and not _all(pc.equal(rows.column("schema_version"), spec.schema_version)):
        return False
    for name in spec.positive:
        # The least decimal is 1e-18, so that no positive one is 0 as a double.
        if not _all(pc.greater(rows.column(name).cast(pa.float64()), 0.0)):
            return False
    times = pc.coalesce(*(rows.column(name) for name in spec.times))
    latest = pc.multiply(pc.add(pc.max_element_wise(stamps_ms, FIRST_TRADE_MS), FUTURE_MS), spec.per_ms)
    return _all(pc.greater_equal(times, FIRST_TRADE_MS * spec.per_ms)) and _all(pc.less_equal(times, latest))


def _all(mask: pa.ChunkedArray) -> bool:
    """True if no value is false; nulls are ignored."""
    return pc.all(mask, min_count=0).as_py() is not False


def _table(columns: list[pa.ChunkedArray], spec: RecordSpec) -> pa.Table:
    """The columns of a data file from those of the fields, as `pyarrow.json` returns them."""
    by_name = {field.name: column for field, column in zip(spec.fields, columns, strict=True)}
    found = {field.name: _cast(by_name[field.name], field) for field in spec.fields}
    if spec.time not in found:
        found[spec.time] = pc.coalesce(*(found[name] for name in spec.times))
    found |= {name: by_name[source].cast(pa.float64()) for name, source in spec.doubles.items()}  # of the text: the nearest double
    return pa.table(found, schema=pa.schema([spec.schema.field(name) for name in found]))


def _cast(column: pa.ChunkedArray, field: FieldSpec) -> pa.ChunkedArray:
    return column.cast(pa.timestamp(field.unit, tz="UTC")).cast(field.column.type) if field.is_time else column.cast(field.column.type)


def _slow(values: pa.Array, stamps_ms: pa.Array, spec: RecordSpec, max_bytes: int) -> Decoded:
    good: list[int] = []
    bad: list[BadRecord] = []
    columns: list[list[object]] = [[] for _ in spec.fields]
    for index, (value, stamp) in enumerate(zip(values.to_pylist(), stamps_ms.to_pylist(), strict=True)):
        try:
            row = _checked(value, stamp, spec, max_bytes)
        except RecordError as error:
            bad.append(BadRecord(index, str(error)))
            continue
        good.append(index)
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    arrays = [pa.chunked_array([_array(cells, field)]) for cells, field in zip(columns, spec.fields, strict=True)]
    return Decoded(_table(arrays, spec), pa.array(good, pa.int64()), tuple(bad))


def _checked(value: bytes | None, stamp_ms: int, spec: RecordSpec, max_bytes: int) -> list[object]:
    if value is None:
        raise RecordError(f"{Reason.TOMBSTONE}: the value is null", reason=Reason.TOMBSTONE)
    if len(value) > max_bytes:
        raise RecordError(f"{Reason.TOO_LARGE}: {len(value)} bytes, the limit is {max_bytes}", reason=Reason.TOO_LARGE)
    return check_record(value, stamp_ms, spec)


def _array(cells: list[object], field: FieldSpec) -> pa.Array:
    # Objects are JSON text by now.
    return pa.array(cells, _NDJSON_TYPES.get(field.json_type, pa.string()))
