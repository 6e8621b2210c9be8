"""Arguments that the reader accepts and refuses before a request."""

from __future__ import annotations

import copy as copying
import gc
import math
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from cryptoviz.errors import InvalidTime, QueryError, UnknownColumn
from cryptoviz.lake.dead_letter_log import RecordPosition, preview, word
from cryptoviz.lake.reader import check_columns
from cryptoviz.lake.rows import Rows
from cryptoviz.lake.sql import run
from cryptoviz.times import check_range, moment


@pytest.mark.parametrize(
    ("when", "utc"),
    [
        (None, None),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00+05:30", datetime(2026, 1, 31, 6, 30, tzinfo=UTC)),
        (datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=-3))), datetime(2026, 1, 31, 15, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(when: datetime | str | None, utc: datetime | None) -> None:
    assert moment(when, "start") == utc


@pytest.mark.parametrize("when", ["2026-01-31", "2026-01-31T12:00:00", "noon", "", 1_764_000_000])
def test_what_is_no_moment(when: Any) -> None:
    with pytest.raises(InvalidTime, match="end is") as error:
        moment(when, "end")
    assert error.value.argument == "end"


def test_ranges_and_columns() -> None:
    assert check_range("2026-01-01T00:00Z", None) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    with pytest.raises(InvalidTime, match="is not before end"):
        check_range("2026-01-01T02:00+02:00", "2026-01-01T00:00Z")
    assert check_columns("prices", "price", ["price", "rank"]) == ["price"]
    with pytest.raises(UnknownColumn, match=r"no column 'rnak' \(did you mean rank\?\)"):
        check_columns("prices", ["rnak"], ["price", "rank"])
    with pytest.raises(QueryError, match="columns is empty"):
        check_columns("prices", [], ["price"])


def test_rows_are_what_the_caller_works_with() -> None:
    table = pa.table({"asset_id": ["bitcoin", "ethereum"], "price": [2.5, None]})
    rows = Rows(table)
    assert rows.arrow() is table
    assert (len(rows), rows.columns) == (2, ["asset_id", "price"])
    assert rows.pandas().asset_id.tolist() == ["bitcoin", "ethereum"]
    assert rows.polars().to_dicts() == table.to_pylist()
    assert rows.duckdb().aggregate("max(price)").fetchall() == [(2.5,)]
    # What takes Arrow's C stream takes them as they are.
    assert pa.table(rows) == table
    assert pl.DataFrame(rows).to_dicts() == table.to_pylist()
    assert repr(rows) == "<2 rows of asset_id, price: .arrow(), .pandas(), .polars() or .duckdb() converts them>"
    days = duckdb.connect().sql("SELECT INTERVAL 1 DAY AS d")
    assert days is not None
    with pytest.raises(QueryError, match="Polars cannot represent"):
        Rows(days.to_arrow_table()).polars()


@pytest.mark.parametrize(
    ("sql", "method", "words"),
    [
        ("SELECT TIME '24:00:00' AS t", "pandas", "pandas cannot represent the result (hour must be in 0..23)"),
        ("SELECT DATE '10000-01-01' AS d", "pandas", "pandas cannot represent the result (year 10000 is out of range)"),
        ("SELECT union_value(n := 1) AS u", "pandas", "pandas cannot represent the result (No known equivalent"),
        ("SELECT union_value(n := 1) AS u", "polars", "Polars cannot represent the result (cannot create series from Union"),
        ("SELECT INTERVAL 1 DAY AS d", "polars", "Polars cannot represent the result"),
        ("SELECT 1 AS a, 2 AS a", "polars", "Polars cannot represent the result (column appears more than once"),
        ("", "duckdb", "DuckDB cannot represent the result (Invalid Input Error: Provided table/dataframe must have at least one column)"),
    ],
)
def test_rows_that_a_library_cannot_hold_are_a_typed_error(sql: str, method: str, words: str) -> None:
    rows = Rows(run(sql, {}).fetch() if sql else pa.table({}))
    with pytest.raises(QueryError) as refused:
        getattr(rows, method)()
    assert words in refused.value.message
    assert refused.value.message.endswith(": cast or rename the column in the query, or use another format")


def test_rows_of_sql_keep_their_values_in_every_library() -> None:
    sql = (
        "SELECT 9007199254740993::BIGINT AS offset, 1.10::DECIMAL(38, 10) AS price, TIMESTAMPTZ '2026-01-31 12:00:00+02' AS at, "
        "'NaN'::DOUBLE AS nan, NULL::BIGINT AS none, [1, NULL] AS list, {'a': {'b': 'x'}} AS nested, "
        "18446744073709551615::UBIGINT AS most, 'a'::ENUM('a', 'b') AS kind"
    )
    rows = Rows(run(sql, {}).fetch())
    at = datetime(2026, 1, 31, 10, tzinfo=UTC)
    expected = (9007199254740993, Decimal("1.1"), at, None, [1, None], {"a": {"b": "x"}}, 2**64 - 1, "a")
    pandas, polars = rows.pandas().iloc[0].to_dict(), rows.polars().to_dicts()[0]
    (found,) = rows.duckdb().fetchall()
    for row in (polars, dict(zip(rows.columns, found, strict=True))):
        assert math.isnan(row.pop("nan"))
        assert tuple(row.values()) == expected
        assert row["at"].utcoffset() == timedelta(0)
    assert math.isnan(pandas["nan"])
    assert math.isnan(pandas["none"])
    assert (pandas["offset"], pandas["price"], pandas["at"], pandas["nested"], pandas["most"]) == (*expected[:3], *expected[5:7])


def test_rows_can_be_sent_consumed_again_and_outlived() -> None:
    rows = Rows(pa.table({"n": range(10)}))
    for copy in (pickle.loads(pickle.dumps(rows)), copying.copy(rows), copying.deepcopy(rows)):
        assert copy.arrow() == rows.arrow()
    assert pa.table(rows) == pa.table(rows) == rows.arrow()
    frame = rows.pandas()
    frame.loc[0, "n"] = 99
    rows.columns.append("m")
    assert (rows.arrow().column("n")[0].as_py(), rows.columns) == (0, ["n"])
    relation = rows.duckdb().filter("n > 1").aggregate("sum(n)")
    del rows, frame
    gc.collect()
    assert relation.fetchall() == relation.fetchall() == [(44,)]


def test_rows_are_converted_in_several_threads_at_once() -> None:
    rows = Rows(pa.table({"n": range(1_000), "text": ["x"] * 1_000}))

    def convert(_: int) -> tuple[Any, ...]:
        return rows.pandas().n.sum(), rows.polars()["n"].sum(), rows.duckdb().aggregate("sum(n)").fetchall()[0][0], pa.table(rows).num_rows

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(convert, range(64))) == {(499_500, 499_500, 499_500, 1_000)}


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], "no columns"),
        (["a", "b"], "a, b"),
        ([f"c{n}" for n in range(21)], f"{', '.join(f'c{n}' for n in range(20))}, 1 more"),
        (["\x1b[31m", "", "a\nb"], r"'\x1b[31m', '', 'a\nb'"),
    ],
)
def test_rows_show_their_columns_in_one_short_line(names: list[str], shown: str) -> None:
    table = pa.table([pa.array([1])] * len(names), names=names)
    assert repr(Rows(table)) == f"<{table.num_rows} rows of {shown}: .arrow(), .pandas(), .polars() or .duckdb() converts them>"


def test_only_what_a_query_mentions_is_looked_up() -> None:
    def never(_: object) -> None:
        raise AssertionError("looked up")

    sources = {"prices": lambda connection: connection.register("prices", pa.table({"n": [1, 2]})), "raw": never}
    assert run("SELECT sum(n) AS n FROM Prices", sources).fetch().to_pylist() == [{"n": 3}]


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("SELECT n,\n\n   m FROM prices", 3, 4),
        ("SELECT n FROM prices GROUP", 1, 22),
        ("SELECT " + "n, " * 60 + "m FROM prices", 1, 188),
        ("SELECT n FROM nowhere", 1, 15),
        ("SELECT 'é', 'x'::INT FROM prices", 1, 16),
    ],
)
def test_mistakes_have_a_place(sql: str, line: int, column: int) -> None:
    def register(connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("prices", pa.table({"n": [1]}))

    with pytest.raises(QueryError) as error:
        run(sql, {"prices": register}).fetch()
    assert (error.value.line, error.value.column) == (line, column), str(error.value)


def test_a_stream_reports_a_late_error() -> None:
    sql = "SELECT CAST(CASE WHEN range = 90000 THEN 'x' ELSE '1' END AS INTEGER) AS n FROM range(100000)"
    with pytest.raises(QueryError, match="Could not convert"):
        list(run(sql, {}).stream(1000)[1])


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT 340282366920938463463374607431768211455::UHUGEINT AS u", "UHUGEINT"),  # 2^128 - 1, which overflows to -1 in DuckDB's export
        ("SELECT [1::UHUGEINT] AS u", "UHUGEINT"),
        ("SELECT bitstring '0101' AS u", "BIT"),
        ("SELECT 12345678901234567890123456789::BIGNUM AS u", "BIGNUM"),
    ],
)
def test_a_type_that_the_result_cannot_hold_is_refused(sql: str, word: str) -> None:
    with pytest.raises(QueryError, match=rf"column 'u' has type .*: a result cannot contain {word}; cast it"):
        run(sql, {})


def test_ctrl_c_ends_a_query_that_is_at_work() -> None:
    """The signal arrives during an endless count in DuckDB: the main thread raises KeyboardInterrupt and no thread continues.

    Polars, which this module imports, installs a handler after which an unlimited wait never ended.
    """
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t"
    query = run(endless, {})
    threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        query.fetch()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("query")]


def test_places_and_previews_of_dead_letters() -> None:
    assert str(RecordPosition.parse("crypto-streaming:0:17")) == "crypto-streaming:0:17"
    for text in ("crypto-streaming", "a:b:c", ":0:1", "a:0", "a:-1:2"):
        with pytest.raises(QueryError, match="topic:partition:offset"):
            RecordPosition.parse(text)
    assert preview(None) == "(null)"
    assert preview(b'{"a": 1}\n') == '{"a": 1}\\n'
    assert preview(b"\xff\x1b[31m") == "\\xff\\x1b[31m"
    assert preview(b"x" * 100, 10) == "xxxxxxxxxx…"
    assert word("not_json: expected value at line 1") == "not_json"
