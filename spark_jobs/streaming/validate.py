"""Validation of one record: its cells in table order, or the reason why it is a dead letter."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import orjson

from cryptoviz.errors import RecordError
from cryptoviz.records import FIRST_TRADE_MS
from cryptoviz.times import DAY_MS
from spark_jobs.tables.record_spec import DECIMAL_TEXT, FieldSpec, JsonType, Reason, RecordSpec

__all__ = ["FUTURE_MS", "check_record"]

FUTURE_MS = DAY_MS
"""Maximum distance of a tick past the Kafka timestamp of its record: one day."""

_DECIMAL = re.compile(DECIMAL_TEXT, re.ASCII)
_SHOWN = 60  # characters of a bad value in a reason: recognizable, but never a whole body


def check_record(value: bytes, stamp_ms: int, spec: RecordSpec) -> list[object]:
    """The cells of a record, in the order of `spec.fields`; times stay epoch numbers, decimals texts, objects become JSON text.

    Raises:
        RecordError: `reason` is a `Reason`; the message begins with it.
    """
    record = _parse(value, spec)
    if spec.schema_version is not None:
        _check_version(record, spec.schema_version)
    cells = [_cell(record, field) for field in spec.fields]
    for name in spec.positive:
        if not Decimal(record[name]) > 0:
            raise _bad(Reason.BAD_PRICE, f"{name} is {record[name]!r}, must be above 0")
    when = next(at for name in spec.times if (at := record.get(name)) is not None)
    if not FIRST_TRADE_MS * spec.per_ms <= when <= (max(stamp_ms, FIRST_TRADE_MS) + FUTURE_MS) * spec.per_ms:
        raise _bad(Reason.BAD_TIME, f"{spec.time} {when} is before 2009 or more than a day after the Kafka timestamp {stamp_ms}")
    return cells


def _parse(value: bytes, spec: RecordSpec) -> dict[str, Any]:
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _bad(Reason.NOT_JSON, str(error)) from None
    if not isinstance(record, dict):
        raise _bad(Reason.NOT_OBJECT, f"the value is a JSON {_json_name(record)}")
    # orjson silently keeps the last of two equal keys.
    try:
        twice = json.loads(value, object_pairs_hook=_repeated) & {field.name for field in spec.fields}
    except RecursionError:
        raise _bad(Reason.NOT_JSON, "nested too deeply") from None
    if twice:
        raise _bad(Reason.DUPLICATE_KEY, f"{', '.join(sorted(twice))} occurs twice")
    return record


def _repeated(pairs: list[tuple[str, Any]]) -> set[str]:
    """Duplicate keys of one object; the last call of a parse is for the outermost object."""
    keys = [key for key, _ in pairs]
    unique = set(keys)
    return set() if len(unique) == len(keys) else {key for key in unique if keys.count(key) > 1}


def _check_version(record: dict[str, Any], known: int) -> None:
    version = record.get("schema_version")
    if type(version) is int and version != known:
        raise _bad(Reason.UNKNOWN_VERSION, f"schema_version is {version}, this job supports {known}")


def _cell(record: dict[str, Any], field: FieldSpec) -> object:
    cell = record.get(field.name)
    if cell is None:
        if field.required:
            state = "null" if field.name in record else "missing"
            raise _bad(Reason.MISSING_FIELD, f"{field.name} is {state}")
        return None
    if not _fits(cell, field):
        raise _bad(Reason.WRONG_TYPE, f"{field.name} is {_shown(cell)}, must be {_valid(field)}")
    if field.json_type is JsonType.OBJECT:
        return orjson.dumps(cell).decode()
    return float(cell) if field.json_type is JsonType.NUMBER else cell


def _fits(cell: object, field: FieldSpec) -> bool:
    match field.json_type:
        case JsonType.STRING:
            return isinstance(cell, str)
        case JsonType.BOOLEAN:
            return isinstance(cell, bool)
        case JsonType.OBJECT:
            return isinstance(cell, dict)
        case JsonType.INTEGER:  # Python's bool is an int, JSON's is not
            return isinstance(cell, int) and not isinstance(cell, bool) and field.low <= cell <= field.high
        case JsonType.DECIMAL:
            return isinstance(cell, str) and _DECIMAL.fullmatch(cell) is not None
        case JsonType.NUMBER:
            return isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell)


def _valid(field: FieldSpec) -> str:
    if field.json_type is JsonType.DECIMAL:
        return "a JSON string with a decimal of at most 20 digits before and 18 after the point"
    return f"a JSON {field.json_type}" + (f" from {field.low} to {field.high}" if field.json_type is JsonType.INTEGER else "")


def _json_name(value: object) -> str:
    names: dict[type, str] = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
    return names.get(type(value), "value")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _bad(reason: Reason, detail: str) -> RecordError:
    return RecordError(f"{reason}: {detail}", reason=reason)
