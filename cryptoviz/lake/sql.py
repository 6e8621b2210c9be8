"""SQL over datasets: a DuckDB that can read what it is given and nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from cryptoviz.errors import EngineUnavailable, QueryError

__all__ = ["Parameters", "Query", "Sources", "connect", "run"]

_READ_ONLY = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_MEMORY_LIMIT = "1GB"  # a page's query must not take the laptop's memory
_POSITION = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_FROM_STORE = "AWS Error"  # in every error of Arrow's S3 client
_NOT_IN_ARROW = re.compile(r"\b(UHUGEINT|BIGNUM|VARINT|BIT|TIME WITH TIME ZONE)\b")  # DuckDB exports their storage, a wrapped number, no zone
_OF_DUCKDB = re.compile(r"[A-Z][A-Za-z ]* Error: ")

T = TypeVar("T")
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


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT that DuckDB has accepted and not yet run. Both ways of running it raise QueryError for what only shows then: a cast, memory.

    On the main thread Ctrl-C ends the query at once.
    """

    sql: str
    connection: duckdb.DuckDBPyConnection
    relation: duckdb.DuckDBPyRelation

    def fetch(self) -> pa.Table:
        """All rows."""
        with _Told(self.sql):
            return _interruptible(self.connection, self.relation.to_arrow_table)

    def stream(self, rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The result's schema and its rows in batches of about `rows`, made as they are taken."""
        with _Told(self.sql):
            reader = _interruptible(self.connection, lambda: self.relation.to_arrow_reader(rows))
        return reader.schema, self._batches(reader)

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        while True:
            with _Told(self.sql):
                batch = _interruptible(self.connection, lambda: next(reader, None))
            if batch is None:
                return
            if batch.num_rows:
                yield batch


def run(sql: str, sources: Sources, parameters: Parameters = None) -> Query:
    """One SELECT; only the sources that it mentions are defined.

    Raises:
        QueryError: not one read-only statement, or DuckDB refuses it: the message is DuckDB's, `line` and `column` say where. Or a column of a
            type that Arrow does not hold.
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
        _check_types(relation, sql)
        return Query(sql, connection, relation)


def _check_types(relation: duckdb.DuckDBPyRelation, sql: str) -> None:
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if found := _NOT_IN_ARROW.search(str(kind)):
            raise QueryError(f"column {name!r} is {kind}: the result cannot hold {found[0]}; cast it, for example to VARCHAR", sql=sql)


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """`work` in a thread when called on the main thread, which then waits where Ctrl-C is noticed: inside DuckDB it is not."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


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
