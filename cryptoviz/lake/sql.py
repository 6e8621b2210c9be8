"""SQL over datasets, in a DuckDB that can read only the given relations."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from cryptoviz.errors import QueryError
from cryptoviz.lake.store_errors import store_error

__all__ = ["MEMORY_BYTES", "Parameters", "Query", "Sources", "connect", "run"]

_READ_ONLY = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
MEMORY_BYTES = 10**9  # a query must not exhaust a laptop's memory
_POSITION = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_FROM_STORE = "AWS Error"  # in every error of Arrow's S3 client
_NOT_IN_ARROW = re.compile(r"\b(UHUGEINT|BIGNUM|VARINT|BIT|TIME WITH TIME ZONE)\b")  # DuckDB exports these wrongly
_OF_DUCKDB = re.compile(r"[A-Z][A-Za-z ]* Error: ")

_CTRL_C_S = 0.1
"""Longest time until Ctrl-C is noticed."""
T = TypeVar("T")
Parameters = Mapping[str, Any] | None
"""Values of `$name` in a query."""
Sources = Mapping[str, Callable[[duckdb.DuckDBPyConnection], None]]
"""Functions that define a relation in a connection, by relation name."""


def connect(memory_bytes: int | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory database, UTC, without access to files, network, extensions, settings or Python variables.

    With `memory_bytes` it also writes no temporary files: what needs more memory fails. Without, the limit is 1 GB.
    """
    no_files = {} if memory_bytes is None else {"temp_directory": ""}
    connection = duckdb.connect(":memory:", config={"enable_external_access": "false", "python_enable_replacements": "false", **no_files})
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions"):
        connection.execute(f"SET {name} = false")
    connection.execute(f"SET memory_limit = '{MEMORY_BYTES if memory_bytes is None else memory_bytes}B'")
    connection.execute("SET lock_configuration = true")
    return connection


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT that DuckDB has accepted but not run. `fetch` and `stream` raise QueryError for run-time errors, such as a cast or the memory limit.

    On the main thread Ctrl-C interrupts the query at once.
    """

    sql: str
    connection: duckdb.DuckDBPyConnection
    relation: duckdb.DuckDBPyRelation
    store: str = ""

    def fetch(self) -> pa.Table:
        with _TranslatedErrors(self.sql, self.store):
            return _interruptible(self.connection, self.relation.to_arrow_table)

    def stream(self, rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The result's schema, and a lazy iterator of record batches of about `rows` rows."""
        with _TranslatedErrors(self.sql, self.store):
            reader = _interruptible(self.connection, lambda: self.relation.to_arrow_reader(rows))
        return reader.schema, self._batches(reader)

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        while True:
            with _TranslatedErrors(self.sql, self.store):
                batch = _interruptible(self.connection, lambda: next(reader, None))
            if batch is None:
                return
            if batch.num_rows:
                yield batch


def run(sql: str, sources: Sources, parameters: Parameters = None, store: str = "", memory_bytes: int | None = None) -> Query:
    """Prepare one SELECT; only the sources that it mentions are defined. `store`: endpoint of their object store, for errors.

    `memory_bytes`: as in `connect`.

    Raises:
        QueryError: not a single read-only statement; an error of DuckDB, with its message and the position in `line` and `column`; or a column of a
            type that Arrow lacks.
    """
    connection = connect(memory_bytes)
    with _TranslatedErrors(sql, store):
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READ_ONLY:
            raise QueryError("a query must be one SELECT (or EXPLAIN) statement", sql=sql)
        for name, define in sources.items():
            if re.search(rf"\b{name}\b", sql, re.IGNORECASE):
                define(connection)
        try:
            relation = connection.sql(sql, params=parameters)
        except duckdb.Error:
            connection.execute(sql, parameters)  # fails too, and its message has the position
            raise
        if relation is None:
            raise QueryError("the statement has no result", sql=sql)
        _check_types(relation, sql)
        return Query(sql, connection, relation, store)


def _check_types(relation: duckdb.DuckDBPyRelation, sql: str) -> None:
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if found := _NOT_IN_ARROW.search(str(kind)):
            raise QueryError(f"column {name!r} has type {kind}: a result cannot contain {found[0]}; cast it, for example to VARCHAR", sql=sql)


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Run `work`; on the main thread in a worker thread, because a call inside DuckDB does not notice Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
        future = pool.submit(work)
        try:
            # In pieces: a handler that a library such as Polars has installed does not end a wait without a limit.
            while not wait([future], _CTRL_C_S).done:
                continue
            return future.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


class _TranslatedErrors:
    """Translates DuckDB's errors to QueryError with their position, and errors of the store, raised through DuckDB, to EngineUnavailable."""

    def __init__(self, sql: str, store: str) -> None:
        self._sql = sql
        self._store = store

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, (duckdb.Error, pa.ArrowException, OSError)):
            return
        text = str(error).strip()
        if _FROM_STORE in text:
            raise store_error(self._store, "return a file of the lake", text) from error
        if isinstance(error, OSError) and not _OF_DUCKDB.match(text):  # all errors of a stream are OSErrors
            return
        found = _POSITION.search(text)
        line = column = None
        if found:
            line, shown, indent = int(found[1]), found[2], len(found[3]) - len(f"LINE {found[1]}: ")
            column = _column(self._sql, line, shown, indent)
        raise QueryError(text, sql=self._sql, line=line, column=column) from None


def _column(sql: str, line: int, shown: str, indent: int) -> int:
    """Column (from 1) in the query's line: DuckDB shows only a part of a long line, between dots."""
    whole = sql.split("\n")[line - 1] if line <= len(sql.split("\n")) else shown
    part = shown.removeprefix("...").removesuffix("...")
    start = whole.find(part)
    cut = 3 if shown.startswith("...") else 0
    return max(0, start) + indent - cut + 1
