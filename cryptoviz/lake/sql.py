"""SQL over datasets: a DuckDB that can read what it is given and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from cryptoviz.errors import EngineUnavailable, QueryError

__all__ = ["Parameters", "Sources", "connect", "fetch", "run", "stream"]

_READ_ONLY = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_MEMORY_LIMIT = "1GB"  # a page's query must not take the laptop's memory
_POSITION = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_FROM_STORE = "AWS Error"  # in every error of Arrow's S3 client
_OF_DUCKDB = re.compile(r"[A-Z][A-Za-z ]* Error: ")

Parameters = Mapping[str, Any] | None
"""Values of `$name` in a query."""
Sources = Mapping[str, Callable[[duckdb.DuckDBPyConnection], None]]
"""By the name that a query uses: what defines it in a connection."""


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, UTC, without access to files, network, settings or Python's variables."""
    connection = duckdb.connect(":memory:", config={"enable_external_access": "false", "python_enable_replacements": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
    connection.execute("SET lock_configuration = true")
    return connection


def run(sql: str, sources: Sources, parameters: Parameters = None) -> duckdb.DuckDBPyRelation:
    """The relation that one SELECT describes; only the sources that it mentions are defined.

    Raises:
        QueryError: not one read-only statement, or DuckDB refuses it: the message is DuckDB's, `line` and `column` say where.
    """
    connection = connect()
    with _Told(sql):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READ_ONLY:
            raise QueryError("a query is one SELECT (or EXPLAIN) statement", sql=sql)
        for name, define in sources.items():
            if re.search(rf"\b{name}\b", sql, re.IGNORECASE):
                define(connection)
        try:
            relation = connection.sql(sql, params=parameters)
        except duckdb.Error:
            connection.execute(sql, parameters)  # fails too, and its message says where
            raise
        if relation is None:
            raise QueryError("the statement has no result", sql=sql)
        return relation


def fetch(relation: duckdb.DuckDBPyRelation, sql: str) -> pa.Table:
    """All rows. Raises QueryError for what only shows while it runs: a cast, memory."""
    with _Told(sql):
        return relation.to_arrow_table()


def stream(relation: duckdb.DuckDBPyRelation, sql: str, rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The result's schema and its rows in batches of about `rows`, made as they are taken. Raises as `fetch`."""
    with _Told(sql):
        reader = relation.to_arrow_reader(rows)

    def batches() -> Iterator[pa.RecordBatch]:
        while True:
            with _Told(sql):
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            if batch.num_rows:
                yield batch

    return reader.schema, batches()


class _Told:
    """Turns DuckDB's errors into QueryError with the place they name; the store's, which reach us through DuckDB, into EngineUnavailable."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, (duckdb.Error, pa.ArrowException, OSError)):
            return
        text = str(error).strip()
        if _FROM_STORE in text:
            raise EngineUnavailable(f"the object store did not give a file of the lake: {text}", engine="object-store") from error
        if isinstance(error, OSError) and not _OF_DUCKDB.match(text):  # a stream's errors are OSErrors, whoever made them
            return
        found = _POSITION.search(text)
        place: dict[str, int] = {}
        if found:
            line, shown, indent = int(found[1]), found[2], len(found[3]) - len(f"LINE {found[1]}: ")
            place = {"line": line, "column": _column(self._sql, line, shown, indent)}
        raise QueryError(text, sql=self._sql, **place) from None


def _column(sql: str, line: int, shown: str, indent: int) -> int:
    """The column (from 1) in the query's line: DuckDB shows a part of a long line, between dots."""
    whole = sql.split("\n")[line - 1] if line <= len(sql.split("\n")) else shown
    part = shown.removeprefix("...").removesuffix("...")
    start = whole.find(part)
    cut = 3 if shown.startswith("...") else 0
    return max(0, start) + indent - cut + 1
