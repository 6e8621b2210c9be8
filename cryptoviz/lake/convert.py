"""Checks requested columns and converts rows to pandas, Polars or DuckDB."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import pyarrow as pa

from cryptoviz.errors import QueryError, UnknownColumn

__all__ = ["As", "check_columns", "convert"]

As = Literal["arrow", "pandas", "polars", "duckdb"]


def check_columns(table: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """`wanted` as a list.

    Raises:
        UnknownColumn: a name is not in `known`.
        QueryError: `wanted` is empty.
    """
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UnknownColumn(f"{table} has no column {name!r}{meant}: valid are {', '.join(known)}", column=name, table=table, argument="columns")
    if not chosen:
        raise QueryError("columns is empty: name at least one column, or omit the argument for all", argument="columns")
    return chosen


def convert(rows: pa.Table, as_: As) -> Any:
    """The rows in the format of another library.

    Raises:
        QueryError: `as_` is invalid, or Polars lacks a type of the rows (DuckDB's INTERVAL).
    """
    match as_:
        case "arrow":
            return rows
        case "pandas":
            return rows.to_pandas()
        case "polars":
            import polars as pl  # local import: takes a second and 40 MB

            try:
                return pl.from_arrow(rows)
            except pl.exceptions.PolarsError as error:
                raise QueryError(
                    f"Polars cannot represent the result ({error}): cast the column in the query, or use another `as_`", argument="as_"
                ) from error
        case "duckdb":
            from cryptoviz.lake.sql import connect

            return duckdb.from_arrow(rows, connection=connect())
    raise QueryError(f"as_ is {as_!r}: valid are arrow, pandas, polars, duckdb", argument="as_")
