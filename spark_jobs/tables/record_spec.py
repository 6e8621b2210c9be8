"""Expected record of each topic, derived from the table's Arrow schema so that the two cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from cryptoviz.lake.schema import KAFKA_COLUMNS, PRICES, RAW, file_schema
from cryptoviz.records import SCHEMA_VERSION

__all__ = ["PRICES_SPEC", "RAW_SPEC", "FieldSpec", "JsonType", "Reason", "RecordSpec"]


class JsonType(StrEnum):
    """JSON type of a field. A `number` may be written as an integer, an `integer` never with a fraction or exponent."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    """Stored as JSON text."""


class Reason(StrEnum):
    """Why a record is a dead letter: the first word of the `reason` column."""

    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_PRICE = "bad_price"
    BAD_TIME = "bad_time"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field: JSON type, whether it is required (present and not null), file column, and integer range of that column."""

    name: str
    json_type: JsonType
    required: bool
    column: pa.Field
    is_time: bool
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """A topic's record and its table. `flat`: no nested object, so that Arrow can parse the records directly."""

    table: str
    fields: tuple[FieldSpec, ...]
    schema: pa.Schema
    schema_version: int | None
    flat: bool
    stats_columns: tuple[str, ...]


_INT_RANGES = {pa.int32(): (-(2**31), 2**31 - 1), pa.int64(): (-(2**63), 2**63 - 1)}
# 0001-01-01 to 9999-12-31T23:59:59.999Z: the range that Python, Delta and Parquet readers share; `tick_ts` has a narrower range.
_TIME_RANGE_MS = (-62_135_596_800_000, 253_402_300_799_999)


def _field(column: pa.Field, objects: frozenset[str]) -> FieldSpec:
    required = not column.nullable
    if column.name in objects:
        return FieldSpec(column.name, JsonType.OBJECT, required, column, is_time=False)
    if pa.types.is_timestamp(column.type):
        return FieldSpec(column.name, JsonType.INTEGER, required, column, True, *_TIME_RANGE_MS)
    if column.type in _INT_RANGES:
        return FieldSpec(column.name, JsonType.INTEGER, required, column, False, *_INT_RANGES[column.type])
    kinds = {pa.string(): JsonType.STRING, pa.float64(): JsonType.NUMBER, pa.bool_(): JsonType.BOOLEAN}
    return FieldSpec(column.name, kinds[column.type], required, column, is_time=False)


def _spec(table: str, schema: pa.Schema, *, version: int | None, stats: tuple[str, ...], objects: frozenset[str] = frozenset()) -> RecordSpec:
    origin = {column.name for column in KAFKA_COLUMNS}
    own = file_schema(schema)
    fields = tuple(_field(column, objects) for column in own if column.name not in origin)
    return RecordSpec(table, fields, own, version, not objects, stats)


PRICES_SPEC = _spec("prices", PRICES, version=SCHEMA_VERSION, stats=("tick_ts", "asset_id", "price", "kafka_offset"))
RAW_SPEC = _spec("raw", RAW, version=None, stats=("tick_ts", "provider", "kafka_offset"), objects=frozenset({"rate_limit_headers"}))
