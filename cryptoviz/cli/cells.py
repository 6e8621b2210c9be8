"""Values of a query result as text. A value that a text format would change is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.errors import QueryError

__all__ = ["as_json", "as_text", "sayable"]

_UNIX_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date.min.toordinal() - _UNIX_DAY, date.max.toordinal() - _UNIX_DAY
_PER_DAY = {unit: 86_400 * 1000**power for power, unit in enumerate(("s", "ms", "us", "ns"))}


def sayable(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The record batches, unchanged. Raises QueryError at a time outside Python's calendar, which a text format would show wrongly."""
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not _in_calendar(column):
                raise QueryError(f"column {name!r} holds a time outside the years 1 to 9999, or 24:00:00; cast it, for example to VARCHAR")
        yield batch


def as_json(value: Any) -> Any:
    """Default encoder for orjson. A decimal (also DuckDB's HUGEINT) becomes a number with all its digits."""
    return orjson.Fragment(format(value, "f")) if isinstance(value, Decimal) else as_text(value)


def as_text(value: Any) -> str:
    """Bytes as UTF-8 with escapes for invalid bytes, intervals as DuckDB writes them, lists and objects as JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, pa.MonthDayNano):
        return _interval(*value)
    return orjson.dumps(value, default=as_json).decode() if isinstance(value, (list, dict)) else str(value)


def _interval(months: int, days: int, nanoseconds: int) -> str:
    years, months = (abs(months) // 12, abs(months) % 12) if months >= 0 else (-(-months // 12), -(-months % 12))
    parts = [f"{n} {unit}{'' if abs(n) == 1 else 's'}" for n, unit in ((years, "year"), (months, "month"), (days, "day")) if n]
    if nanoseconds or not parts:
        seconds, rest = divmod(abs(nanoseconds) // 1000, 1_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{rest:06}".rstrip("0") if rest else "")
        parts.append(("-" if nanoseconds < 0 else "") + clock)
    return " ".join(parts)


def _in_calendar(column: pa.Array) -> bool:
    kind = column.type
    if pa.types.is_struct(kind):
        return all(_in_calendar(child) for child in column.flatten())
    if pa.types.is_map(kind):
        return _in_calendar(column.keys) and _in_calendar(column.items)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _in_calendar(column.flatten())
    is_date = pa.types.is_date32(kind)
    if not (is_date or pa.types.is_timestamp(kind) or pa.types.is_time64(kind)):
        return True
    found = pc.min_max(column.view(pa.int32() if is_date else pa.int64()))
    lowest, highest = found["min"].as_py(), found["max"].as_py()
    if lowest is None:
        return True
    per_day = 1 if is_date else _PER_DAY[kind.unit]
    if pa.types.is_time64(kind):
        return bool(lowest >= 0 and highest < per_day)
    return bool(lowest >= _FIRST_DAY * per_day and highest < (_LAST_DAY + 1) * per_day)
