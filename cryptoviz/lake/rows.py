"""`Rows`: the result of a read, in the format of the library that the caller uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from cryptoviz.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Rows"]


class Rows:
    """Rows of a read. They are in memory already; each method converts them, without a further request.

    Libraries that take Arrow's C stream interface (`__arrow_c_stream__`), such as Polars and pyarrow, take it as it is.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def arrow(self) -> pa.Table:
        """An Arrow table."""
        return self._table

    def pandas(self) -> pd.DataFrame:
        """A pandas frame."""
        return self._table.to_pandas()

    def polars(self) -> pl.DataFrame:
        """A Polars frame.

        Raises:
            QueryError: Polars lacks a type of the rows (DuckDB's INTERVAL).
        """
        import polars as pl  # local import: takes a second and 40 MB

        try:
            frame = pl.from_arrow(self._table)
        except pl.exceptions.PolarsError as error:
            raise QueryError(f"Polars cannot represent the result ({error}): cast the column in the query, or use another format") from error
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (of a table, not of a column)
        return frame

    def duckdb(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation, on a connection of its own."""
        from cryptoviz.lake.sql import connect

        return duckdb.from_arrow(self._table, connection=connect())

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self.columns)}: .arrow(), .pandas(), .polars() or .duckdb() converts them>"
