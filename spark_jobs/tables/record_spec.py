"""Expected record of each topic, derived from the table's Arrow schema so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import pyarrow as pa

from cryptoviz.lake.schema import AMOUNT, DOUBLES, KAFKA_COLUMNS, PRICES, QUOTES, RAW, TRADE_GAPS, TRADES, VENUE_CANDLES, file_schema
from cryptoviz.lake.table_specs import topic_tables
from cryptoviz.records import SCHEMA_VERSION
from cryptoviz.settings import Settings

__all__ = [
    "DECIMAL_TEXT",
    "PRICES_SPEC",
    "QUOTES_SPEC",
    "RAW_SPEC",
    "TRADES_SPEC",
    "TRADE_GAPS_SPEC",
    "VENUE_CANDLES_SPEC",
    "FieldSpec",
    "JsonType",
    "Reason",
    "RecordSpec",
    "topic_specs",
]

DECIMAL_TEXT = r"^[0-9]{1,20}(\.[0-9]{1,18})?$"
"""Text of a `decimal` field: what `decimal128(38, 18)` holds exactly, without sign and exponent."""


class JsonType(StrEnum):
    """JSON type of a field. A `number` may be written as an integer, an `integer` never with a fraction or exponent."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    """Stored as JSON text."""
    DECIMAL = "decimal"
    """A string: `DECIMAL_TEXT`."""


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
    """A field: JSON type, whether it is required (present and not null), file column, and integer range of that column. Times are epoch `unit`."""

    name: str
    json_type: JsonType
    required: bool
    column: pa.Field
    is_time: bool
    low: int = 0
    high: int = 0
    unit: Literal["ms", "us"] = "ms"


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """A topic's record and its table.

    Attributes:
        fields: of the record, in the order of the table's columns.
        schema: of a data file: the fields, the derived columns (`time` if it is not a field, `doubles`), Kafka's columns.
        flat: no nested object, so that Arrow can parse the records directly.
        time: the column whose UTC date is the day of the row.
        times: the fields that it is taken from, the first that is not null.
        positive: fields that must be above 0.
        doubles: for columns that repeat a decimal as a double, the field by column.
    """

    table: str
    fields: tuple[FieldSpec, ...]
    schema: pa.Schema
    schema_version: int | None
    flat: bool
    stats_columns: tuple[str, ...]
    time: str = "tick_ts"
    times: tuple[str, ...] = ("tick_ts",)
    positive: tuple[str, ...] = ("price",)
    doubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def per_ms(self) -> int:
        """Units of `times` in a millisecond."""
        return next(_PER_MS[field.unit] for field in self.fields if field.name == self.times[0])


_INT_RANGES = {pa.int32(): (-(2**31), 2**31 - 1), pa.int64(): (-(2**63), 2**63 - 1)}
# 0001-01-01 to 9999-12-31T23:59:59.999Z: the range that Python, Delta and Parquet readers share; `tick_ts` has a narrower range.
_TIME_RANGE_MS = (-62_135_596_800_000, 253_402_300_799_999)


_PER_MS = {"ms": 1, "us": 1000}


def _field(column: pa.Field, objects: frozenset[str], unit: Literal["ms", "us"]) -> FieldSpec:
    required = not column.nullable
    if column.name in objects:
        return FieldSpec(column.name, JsonType.OBJECT, required, column, is_time=False)
    if pa.types.is_timestamp(column.type):
        low, high = (bound * _PER_MS[unit] for bound in _TIME_RANGE_MS)
        return FieldSpec(column.name, JsonType.INTEGER, required, column, True, low, high, unit)
    if column.type in _INT_RANGES:
        return FieldSpec(column.name, JsonType.INTEGER, required, column, False, *_INT_RANGES[column.type])
    kinds = {pa.string(): JsonType.STRING, pa.float64(): JsonType.NUMBER, pa.bool_(): JsonType.BOOLEAN, AMOUNT: JsonType.DECIMAL}
    return FieldSpec(column.name, kinds[column.type], required, column, is_time=False)


def _spec(
    table: str,
    schema: pa.Schema,
    *,
    version: int | None,
    stats: tuple[str, ...],
    objects: frozenset[str] = frozenset(),
    time: str = "tick_ts",
    times: tuple[str, ...] = (),
    unit: Literal["ms", "us"] = "ms",
    positive: tuple[str, ...] = (),
) -> RecordSpec:
    origin = {column.name for column in KAFKA_COLUMNS}
    own = file_schema(schema)
    doubles = {name: source for name, source in DOUBLES.items() if name in own.names}
    derived = origin | doubles.keys() | ({time} if times else set())
    fields = tuple(_field(column, objects, unit) for column in own if column.name not in derived)
    return RecordSpec(table, fields, own, version, not objects, stats, time, times or (time,), positive, doubles)


PRICES_SPEC = _spec("prices", PRICES, version=SCHEMA_VERSION, stats=("tick_ts", "asset_id", "price", "kafka_offset"), positive=("price",))
RAW_SPEC = _spec("raw", RAW, version=None, stats=("tick_ts", "provider", "kafka_offset"), objects=frozenset({"rate_limit_headers"}))
TRADES_SPEC = _spec(
    "trades",
    TRADES,
    version=None,
    stats=("ts", "venue_symbol", "kafka_offset"),
    time="ts",
    times=("venue_ts", "ingest_ts"),
    unit="us",
    positive=("price", "size"),
)
TRADE_GAPS_SPEC = _spec("trade_gaps", TRADE_GAPS, version=None, stats=("opened_ts", "venue_symbol", "kafka_offset"), time="opened_ts", unit="us")
VENUE_CANDLES_SPEC = _spec("venue_candles", VENUE_CANDLES, version=None, stats=("ts", "venue_symbol", "kafka_offset"), time="ts", unit="us")
QUOTES_SPEC = _spec(
    "quotes",
    QUOTES,
    version=None,
    stats=("ts", "venue_symbol", "kafka_offset"),
    time="ts",
    times=("venue_ts", "ingest_ts"),
    unit="us",
    positive=("bid", "bid_size", "ask", "ask_size"),
)
_SPECS = {spec.table: spec for spec in (PRICES_SPEC, RAW_SPEC, TRADES_SPEC, TRADE_GAPS_SPEC, VENUE_CANDLES_SPEC, QUOTES_SPEC)}


def topic_specs(settings: Settings) -> dict[str, RecordSpec]:
    """The topics that the lake job reads, with their records."""
    return {topic: _SPECS[table] for topic, table in topic_tables(settings).items()}
