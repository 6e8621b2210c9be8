"""Runs SQL of the page over the lake, each query in a child process with limits."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from cryptoviz.errors import QueryError, QueueFull
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from dashboard.csv_files import csv_file
from dashboard.sql_child import REFUSED, SqlLimits, SqlRequest

__all__ = ["MAX_SQL", "SqlResult", "SqlRun", "SqlRunner"]

MAX_SQL = 20_000
"""Characters of a query."""
_AT_ONCE = 2  # cores of the smallest supported machine
_WAITING = 8
_COMMAND = (sys.executable, "-m", "dashboard.sql_child")
_CHUNK = 2**16
_MAX_ERROR = 2**16


@dataclass(frozen=True, slots=True)
class SqlResult:
    """Rows of a query; `cut`: it has more rows than the limit."""

    rows: pa.Table
    cut: bool

    def csv(self) -> bytes:
        return csv_file(_as_text(self.rows, _not_in_csv))

    def parquet(self) -> bytes:
        sink = io.BytesIO()
        pa_parquet.write_table(_as_text(self.rows, lambda kind: pa.types.is_interval(kind) or pa.types.is_union(kind)), sink)
        return sink.getvalue()

    def head(self, count: int) -> list[list[object]]:
        """The first rows as values of Python."""
        columns = [_values(column) for column in self.rows.slice(0, count).columns]
        return [list(row) for row in zip(*columns, strict=True)]


class SqlRun:
    """One query. `result` blocks; `cancel` may be called from any thread, at any time, more than once."""

    def __init__(self, settings: Settings, sql: str, limits: SqlLimits) -> None:
        self._settings, self._sql, self._limits = settings, sql, limits
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._why = ""

    def result(self) -> SqlResult:
        """Run the query.

        Raises:
            QueryError: the query is refused, fails, exceeds a limit, or is cancelled.
        """
        file = self._settings.run_dir / "dashboard-sql.json"
        dump_settings_file(self._settings, file)
        with self._lock:
            if self._why:
                raise QueryError(self._why, sql=self._sql)
            child = self._child = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment({SETTINGS_FILE_VARIABLE: str(file)}),
            )
        deadline = threading.Timer(self._limits.seconds, self._end, [f"the query took longer than {self._limits.seconds} s"])
        deadline.start()
        try:
            content, errors = self._exchange(child)
        finally:
            deadline.cancel()
            child.kill()
            child.wait()
            for pipe in (child.stdout, child.stderr, child.stdin):
                if pipe is not None:
                    pipe.close()
        if self._why:
            raise QueryError(self._why, sql=self._sql)
        if child.returncode != 0:
            raise _problem(child.returncode, errors, self._sql)
        return self._table(content)

    def cancel(self) -> None:
        """End the query."""
        self._end("cancelled")

    def _end(self, why: str) -> None:
        with self._lock:
            self._why = self._why or why
            if self._child is not None:
                self._child.kill()

    def _exchange(self, child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        stdin, stdout, stderr = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout), cast("IO[bytes]", child.stderr)
        said: list[bytes] = []
        listener = threading.Thread(target=lambda: said.append(_read(stderr, _MAX_ERROR)[0]), daemon=True)
        listener.start()
        try:
            stdin.write(SqlRequest(self._sql, self._limits).to_json())
            stdin.close()
        except BrokenPipeError:  # it has ended: its status says why
            pass
        content, whole = _read(stdout, self._limits.result_bytes)
        if not whole:
            self._end(f"the result is larger than {self._limits.result_bytes // 2**20} MiB: select fewer columns or rows")
        child.wait()
        listener.join()
        return content, b"".join(said)

    def _table(self, content: bytes) -> SqlResult:
        rows = pa.ipc.open_stream(content).read_all()
        return SqlResult(rows.slice(0, self._limits.rows), rows.num_rows > self._limits.rows)


class SqlRunner:
    """Runs at most two queries at once."""

    def __init__(self, settings: Settings, limits: SqlLimits | None = None) -> None:
        self._settings = settings
        self.limits = limits or SqlLimits()
        self.workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sql")
        self._lock = threading.Lock()
        self._runs: set[SqlRun] = set()

    def prepare(self, sql: str) -> SqlRun:
        """A query that `result` runs; pass it to `run` or `cancel`.

        Raises:
            QueryError: the text is too long.
            QueueFull: too many queries wait.
        """
        if len(sql) > MAX_SQL:
            raise QueryError(f"the query has {len(sql):,} characters: at most {MAX_SQL:,}", sql=sql[:100])
        with self._lock:
            if len(self._runs) >= _AT_ONCE + _WAITING:
                raise QueueFull("other queries are running: try again in a moment", queue="sql", limit=_AT_ONCE + _WAITING)
            run = SqlRun(self._settings, sql, self.limits)
            self._runs.add(run)
        return run

    def run(self, run: SqlRun) -> SqlResult:
        """The result of a prepared query. Blocks."""
        try:
            return run.result()
        finally:
            with self._lock:
                self._runs.discard(run)

    def cancel(self, run: SqlRun) -> None:
        """End a prepared query; also one that is not passed to `run`, which would keep its place."""
        run.cancel()
        with self._lock:
            self._runs.discard(run)

    def close(self) -> None:
        """Cancel all queries."""
        with self._lock:
            runs = list(self._runs)
        for run in runs:
            run.cancel()
        self.workers.shutdown(wait=False, cancel_futures=True)


def _read(pipe: IO[bytes], most: int) -> tuple[bytes, bool]:
    """All bytes until the end, or the first `most`, and whether that is all."""
    found = bytearray()
    while chunk := pipe.read(_CHUNK):
        found += chunk
        if len(found) > most:
            return bytes(found[:most]), False
    return bytes(found), True


def _problem(status: int, errors: bytes, sql: str) -> QueryError:
    if status == REFUSED:
        said = orjson.loads(errors.strip().rpartition(b"\n")[2])
        return QueryError(said["error"], sql=sql, line=said.get("line"), column=said.get("column"))
    if status < 0:
        return QueryError("the query was ended by a limit of its process: memory or processor time", sql=sql)
    last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    return QueryError(f"the query failed: {last}", sql=sql)


def _not_in_csv(kind: pa.DataType) -> bool:
    """Lists, structs, binary and intervals."""
    types = pa.types
    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind) or types.is_interval(kind))


def _as_text(rows: pa.Table, is_text: Callable[[pa.DataType], bool]) -> pa.Table:
    """The table with those columns as text that the format does not have."""
    columns = [
        pa.array([None if value is None else str(value) for value in _values(column)], pa.string()) if is_text(column.type) else column
        for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def _values(column: pa.ChunkedArray) -> list[object]:
    """Of a column; of dates that Python does not have, such as infinity or the year 290000, the number and its unit."""
    try:
        return cast("list[object]", column.to_pylist())
    except (OverflowError, ValueError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return f"{getattr(scalar, 'value', 'out of range')} ({scalar.type})"
