"""`Rows`: the result of a read, in the format of the library that the caller uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from cryptoviz.errors import QueryError
from cryptoviz.extras import require_extra

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Rows"]

_NAMES_SHOWN = 20


class Rows:
    """Rows of a read. They are in memory already; each method converts them, without a further request.

    Libraries that take Arrow's C stream interface (`__arrow_c_stream__`), such as Polars and pyarrow, take it as it is.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def arrow(self) -> pa.Table:
        return self._table

    def pandas(self) -> pd.DataFrame:
        """A pandas frame. Integers with nulls become floats, which are exact up to 2**53: `.arrow()` and the others keep them.

        Raises:
            QueryError: pandas cannot represent the rows, such as a date after the year 9999.
        """
        with _conversion("pandas", ()):
            return self._table.to_pandas()

    def polars(self) -> pl.DataFrame:
        """A Polars frame.

        Raises:
            QueryError: Polars cannot represent the rows, such as DuckDB's INTERVAL, or two columns of the same name.
            MissingExtra: Polars is not installed.
        """
        require_extra("polars", "polars()")
        import polars as pl  # local import: takes a second and 40 MB

        with _conversion("Polars", (pl.exceptions.PolarsError, pl.exceptions.PanicException)):
            frame = pl.from_arrow(self._table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (of a table, not of a column)
        return frame

    def duckdb(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation for use by one thread, on a connection of its own, without access to files and network. It may outlive the `Rows`.

        Raises:
            QueryError: DuckDB cannot represent the rows, such as rows without columns.
        """
        from cryptoviz.lake.sql import connect

        with _conversion("DuckDB", (duckdb.Error,)):
            return duckdb.from_arrow(self._table, connection=connect())

    @property
    def columns(self) -> list[str]:
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        # A name in SQL may be any text, also a terminal's escapes.
        names = [name if name.isprintable() and name else repr(name) for name in self.columns[:_NAMES_SHOWN]]
        more = len(self.columns) - len(names)
        shown = ", ".join([*names, *([f"{more} more"] if more else [])]) or "no columns"
        return f"<{len(self)} rows of {shown}: .arrow(), .pandas(), .polars() or .duckdb() converts them>"


@contextmanager
def _conversion(library: str, errors: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Translates the errors of a library that cannot represent the rows."""
    try:
        yield
    except MemoryError:
        raise
    except (*errors, pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        text = f"{library} cannot represent the result ({error}): cast or rename the column in the query, or use another format"
        raise QueryError(text) from error
