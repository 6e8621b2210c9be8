"""The SQL box of a page: whatever a query returns is shown and saved, and no query outlives its page."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bokeh.document import Document
from tornado.ioloop import IOLoop

from cryptoviz.lake.sql import run as run_sql
from dashboard.feeds.sql_runner import SqlResult
from dashboard.page_session import Session
from dashboard.pages.sql_part import SqlPart
from dashboard.views.lake_rows import result_table
from tests.support.dashboard_server import new_app_context
from tests.support.waiting import eventually


def result(expression: str) -> SqlResult:
    schema, batches = run_sql(f"SELECT {expression} AS x", {}).stream(10)
    return SqlResult(pa.Table.from_batches(list(batches), schema), False)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("DATE 'infinity'", "2147483647 (date32[day])"),
        ("TIMESTAMP '290000-01-01'", "9089348860800000000 (timestamp[us])"),
        ("TIMESTAMPTZ '-290000-01-01 00:00+00'", "-9213683299200000000 (timestamp[us, tz=UTC])"),
        ("[TIMESTAMP 'infinity']", "out of range"),
        ("INTERVAL 1 DAY", "days=1"),
        ("union_value(a := 7)", "7"),
        ("MAP {'a': 1}", "a"),
        ("'x'::BLOB", "x"),
        ("'NaN'::DOUBLE", "nan"),
    ],
)
def test_a_value_of_any_type_is_shown_and_saved(expression: str, shown: str) -> None:
    found = result(expression)
    assert shown in result_table(found.rows.column_names, found.head(10))
    assert len(list(csv.reader(io.StringIO(found.csv().decode())))) == 2
    assert pq.read_table(io.BytesIO(found.parquet())).num_rows == 1


class Run:
    """A query that ends when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[tuple[Session, Run]]:
    run = Run()
    workers = ThreadPoolExecutor(1)

    def wait(_run: Any) -> SqlResult:
        run.cancelled.wait(60)
        return result("1")

    with new_app_context(tmp_path) as app_context:
        app_context.inspection.__dict__["sql"] = SimpleNamespace(
            prepare=lambda _sql: run, run=wait, cancel=Run.cancel, workers=workers, close=workers.shutdown
        )
        yield Session(app_context, Document(), "en", Mock(IOLoop)), run


def test_a_query_ends_with_its_page(session: tuple[Session, Run]) -> None:
    page, run = session
    part = SqlPart(page)
    part.run("SELECT count(*) FROM range(1000000) a, range(1000000) b")
    assert not run.cancelled.is_set()
    page.close()
    assert run.cancelled.is_set()


def test_a_result_that_cannot_be_shown_is_an_error_and_no_query_that_runs_for_ever(
    session: tuple[Session, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, run = session
    part = SqlPart(page)
    monkeypatch.setattr(SqlResult, "head", lambda *_: 1 / 0)
    part.run("SELECT 1")
    run.cancel()
    monkeypatch.setattr(page, "_on_loop", lambda call: call())
    page._begin()

    def said() -> str:
        part.refresh()
        return str(page.out.take()[0].get("lake.result", ""))

    eventually(lambda: "The query failed" in said() or None)


def test_a_query_that_a_busy_page_may_not_run_keeps_no_place(tmp_path: Path) -> None:
    go = threading.Event()
    with new_app_context(tmp_path) as app_context:
        runner = app_context.inspection.sql
        page = Session(app_context, Document(), "en", Mock(IOLoop))
        part = SqlPart(page)
        for _ in range(16):
            page.in_background(go.wait, Mock(), Mock(), runner.workers)
        for _ in range(12):  # more than there are places
            part.run("SELECT 1")
        part.refresh()
        assert "this page already waits for 16 answers" in page.out.take()[0]["lake.result"]
        assert runner.prepare("SELECT 2") is not None
        go.set()


def test_queries_that_are_replaced_before_they_have_begun_leave_their_places_to_others(tmp_path: Path) -> None:
    go = threading.Event()
    with new_app_context(tmp_path) as app_context:
        runner = app_context.inspection.sql
        for _ in range(2):
            runner.workers.submit(go.wait)
        part = SqlPart(Session(app_context, Document(), "en", Mock(IOLoop)))
        for number in range(12):
            part.run(f"SELECT {number}")
        assert runner.prepare("SELECT 2") is not None
        part.cancel()
        go.set()


def test_a_query_of_any_length_reaches_the_page_that_refuses_it(tmp_path: Path) -> None:
    with new_app_context(tmp_path) as app_context:
        page = Session(app_context, Document(), "en", Mock(IOLoop))
        part = SqlPart(page)
        page._act = lambda _page, _verb, values: part.run(values["sql"])
        message = {"page": "lake", "act": "run_sql", "values": {"sql": "x" * 20_001}}
        page.delivery._received(message)
        part.refresh()
        assert "The query has 20,001 characters: at most 20,000 are allowed." in page.out.take()[0]["lake.result"]
        page.close()
