"""What a caller hands in and gets back: times, columns, and rows as Arrow, pandas, Polars or DuckDB."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb
import pyarrow as pa

from cryptoviz.errors import InvalidTime, QueryError, UnknownColumn

__all__ = ["As", "When", "check_columns", "check_range", "convert", "moment"]

As = Literal["arrow", "pandas", "polars", "duckdb"]
When = datetime | str | None


def moment(when: When, argument: str) -> datetime | None:
    """An aware datetime, or ISO 8601 text with an offset or `Z`, in UTC.

    Raises:
        InvalidTime: it has no time zone, or is no time.
    """
    if when is None:
        return None
    try:
        parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        raise InvalidTime(f"{argument} is {when!r}: valid is ISO 8601 with an offset, as 2026-01-31T12:00:00Z", argument=argument) from None
    if not isinstance(parsed, datetime):
        raise InvalidTime(f"{argument} is {when!r}: valid are datetime with a time zone and ISO 8601 text", argument=argument)
    if parsed.tzinfo is None:
        raise InvalidTime(
            f"{argument} is {when!r} without a time zone: say which, as 2026-01-31T12:00:00Z or datetime(..., tzinfo=UTC)", argument=argument
        )
    return parsed.astimezone(UTC)


def check_range(start: When, end: When) -> tuple[datetime | None, datetime | None]:
    """Both as `moment`.

    Raises:
        InvalidTime: as `moment`, or start is not before end.
    """
    low, high = moment(start, "start"), moment(end, "end")
    if low is not None and high is not None and low >= high:
        raise InvalidTime(f"start {low.isoformat()} is not before end {high.isoformat()}: start is inclusive, end exclusive", argument="start")
    return low, high


def check_columns(table: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """`wanted` as a list.

    Raises:
        UnknownColumn: one that is not `known`.
        QueryError: none at all.
    """
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UnknownColumn(f"{table} has no column {name!r}{meant}: it has {', '.join(known)}", column=name, table=table, argument="columns")
    if not chosen:
        raise QueryError("columns is empty: name at least one, or leave it out for all", argument="columns")
    return chosen


def convert(rows: pa.Table, as_: As) -> Any:
    """The rows in another library's form.

    Raises:
        QueryError: not one of the four, or Polars has no such type (DuckDB's INTERVAL).
    """
    match as_:
        case "arrow":
            return rows
        case "pandas":
            return rows.to_pandas()
        case "polars":
            import polars as pl  # a second and 40 MB: only when asked for

            try:
                return pl.from_arrow(rows)
            except pl.exceptions.PolarsError as error:
                raise QueryError(
                    f"polars cannot hold the result ({error}): cast the column in the query, or take another form", argument="as_"
                ) from error
        case "duckdb":
            from cryptoviz.lake.sql import connect

            return duckdb.from_arrow(rows, connection=connect())
    raise QueryError(f"as_ is {as_!r}: valid are arrow, pandas, polars, duckdb", argument="as_")
