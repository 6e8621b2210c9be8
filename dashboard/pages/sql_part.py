"""The SQL box of the lake page: one query of this browser at a time, its result, its downloads."""

from __future__ import annotations

from dashboard.feeds.sql_runner import MAX_SQL, SqlResult, SqlRun, SqlRunner
from dashboard.page_session import Session
from dashboard.views.lake_rows import result_table
from dashboard.views.markup import element, text
from dashboard.views.numbers import format_count, format_number
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say

__all__ = ["SqlPart"]

_SHOWN_ROWS = 200
_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


class SqlPart:
    """A new query cancels the one before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run: SqlRun | None = None
        self._result: SqlResult | None = None
        self._since_ms = 0
        self._markup = ""
        session.when_closed(self.cancel)  # else it would keep its place to its end, though nobody waits for it

    def run(self, sql: str) -> None:
        """Untrusted."""
        self.cancel()
        runner = self._session.app_context.inspection.sql
        if not sql.strip():
            self._markup = state_markup("empty", "No query", "Write a SELECT, or choose an example.")
            return
        if len(sql) > MAX_SQL:
            count, limit = format_count(len(sql)), format_count(MAX_SQL)
            words = say("The query has {count} characters: at most {limit} are allowed.", count=count, limit=limit)
            self._run, self._result, self._markup = None, None, state_markup("error", "Not run", words)
            return
        try:
            run = runner.prepare(sql)
        except Exception as error:  # noqa: BLE001 (shown)
            self._markup = state_markup("error", "Not run", str(error))
            return
        self._run, self._result, self._since_ms = run, None, self._session.now_ms()
        self._markup = state_markup("loading", "Running")
        self._session.in_background(
            lambda: _ran(runner, run), lambda found: self._done(run, *found), lambda error: self._failed(run, error), runner.workers
        )

    def cancel(self) -> None:
        if self._run is not None:
            self._session.app_context.inspection.sql.cancel(self._run)

    def download(self, kind: str) -> None:
        result = self._result
        if result is None or kind not in _TYPES:
            return
        self._session.in_background(
            result.csv if kind == "csv" else result.parquet,
            lambda content: self._session.download(f"query.{kind}", _TYPES[kind], content),
            lambda error: self._session.notify("error", say("Download failed: {error}", error=error)),
            self._session.app_context.inspection.sql.workers,
        )

    def refresh(self) -> None:
        running = (
            element("button", text(say("Cancel")), "cv-button cv-cancel-sql", type="button", data_act="cancel_sql") if self._run is not None else ""
        )
        self._session.out.put("lake.sql", running)
        self._session.out.put("lake.result", self._markup)

    def _done(self, run: SqlRun, result: SqlResult, table: str) -> None:
        if run is not self._run:
            return
        self._run, self._result = None, result
        count = result.rows.num_rows
        took = (self._session.now_ms() - self._since_ms) / 1000
        limit = say(", cut at {count}", count=format_count(self._session.app_context.inspection.sql.limits.rows)) if result.cut else ""
        shown = say(", first {count} shown", count=_SHOWN_ROWS) if count > _SHOWN_ROWS else ""
        rows_word = say("row" if count == 1 else "rows")
        note = element("span", text(f"{format_count(count)} {rows_word}{limit}{shown}, {format_number(took, 1)} s"), "cv-note cv-sql-note")
        buttons = "".join(
            element("button", f"{kind.upper() if kind == 'csv' else 'Parquet'}", "cv-button", type="button", data_act="download_sql", data_kind=kind)
            for kind in _TYPES
        )
        self._markup = element("div", note + buttons, "cv-bar") + (table or state_markup("empty", "No rows"))

    def _failed(self, run: SqlRun, error: Exception) -> None:
        self._session.app_context.inspection.sql.cancel(run)  # the page may have been refused a worker for it
        if run is not self._run:
            return
        self._run = None
        line, column = getattr(error, "line", None), getattr(error, "column", None)
        place = say(" (line {line}, column {column})", line=line, column=column) if line is not None else ""
        self._markup = state_markup("error", f"{say('The query failed')}{place}", str(error))


def _ran(runner: SqlRunner, run: SqlRun) -> tuple[SqlResult, str]:
    """The result, and the markup of its first rows: a cell may be a list of millions, which must not block the pages."""
    result = runner.run(run)
    return result, result_table(result.rows.column_names, result.head(_SHOWN_ROWS)) if result.rows.num_rows else ""
