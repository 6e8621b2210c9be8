"""Values of a query's result in text formats: exact, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import orjson
import pytest

from cryptoviz.cli.output import write_rows
from cryptoviz.cli.terminal import Format
from cryptoviz.errors import CryptoVizError, QueryError, SettingsError
from cryptoviz.lake.sql import run

TEXT_FORMS = (Format.CSV, Format.JSON, Format.NDJSON)


def written(sql: str, form: Format, path: Path) -> str:
    write_rows(*run(sql, {}).stream(100), form, path)
    return path.read_text()


@pytest.mark.parametrize(
    "value",
    [
        "TIMESTAMP '290000-01-01'", "'infinity'::TIMESTAMP", "'-infinity'::DATE", "DATE '5000-01-01 (BC)'", "TIMESTAMPTZ '10000-01-01 00:00:00+00'",
        "TIMESTAMP_S '20000-01-01'", "TIME '24:00:00'", "[TIME '24:00:00']", "{'a': [DATE '10000-01-01']}", "MAP {'a': 'infinity'::DATE}",
    ],
)  # fmt: skip
def test_a_time_outside_the_calendar_is_refused_and_never_shown_as_another(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for form in TEXT_FORMS:
        with pytest.raises(QueryError):
            written(f"SELECT {value} AS at", form, tmp_path / f"x.{form.value}")
    with pytest.raises(QueryError, match="column 'at' holds a time outside the years 1 to 9999, or 24:00:00"):
        write_rows(*run(f"SELECT {value} AS at", {}).stream(100), Format.TABLE, None)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
    write_rows(*run(f"SELECT {value} AS at", {}).stream(100), Format.PARQUET, tmp_path / "x.parquet")


def test_a_time_with_a_zone_of_its_own_is_refused():
    with pytest.raises(QueryError, match="cast it, for example to VARCHAR"):
        run("SELECT TIMETZ '10:00:00+05' AS at", {})
    run("SELECT TIMESTAMPTZ '2026-01-01 00:00:00+05' AS at", {})


def test_the_ends_of_the_calendar_are_shown(tmp_path: Path):
    sql = "SELECT DATE '0001-01-01' AS a, DATE '9999-12-31' AS b, TIMESTAMP '9999-12-31 23:59:59.999999' AS c, NULL::DATE AS d"
    expected = {"a": "0001-01-01", "b": "9999-12-31", "c": "9999-12-31T23:59:59.999999", "d": None}
    assert orjson.loads(written(sql, Format.NDJSON, tmp_path / "x.ndjson")) == expected


@pytest.mark.parametrize(
    "interval",
    [
        "1 year 2 days 3 seconds",
        "0 seconds",
        "-14 months",
        "25 hours 1 microsecond",
        "-3 seconds",
        "1 month -1 day",
        "2 years",
        "-1 day 10 milliseconds",
    ],
)
def test_an_interval_is_written_as_duckdb_writes_it(interval: str, tmp_path: Path):
    (expected,) = duckdb.connect().execute(f"SELECT (INTERVAL '{interval}')::VARCHAR").fetchone() or ()
    row = orjson.loads(written(f"SELECT INTERVAL '{interval}' AS a, [INTERVAL '{interval}'] AS b", Format.NDJSON, tmp_path / "x.ndjson"))
    assert row == {"a": expected, "b": [expected]}


def test_a_table_shows_lists_and_objects_as_json(capsys: pytest.CaptureFixture[str]):
    sql = "SELECT [1.50::DECIMAL(9,2)] AS a, {'x': DATE '2026-01-01', 'y': INTERVAL '1 day'} AS b"
    write_rows(*run(sql, {}).stream(100), Format.TABLE, None)
    assert capsys.readouterr().out.splitlines()[1].split("  ") == ["[1.50]", '{"x":"2026-01-01","y":"1 day"}']


def test_an_output_that_is_no_file_is_refused_and_a_link_stays_one(tmp_path: Path):
    pipe, target, link = tmp_path / "pipe.csv", tmp_path / "target", tmp_path / "link.csv"
    os.mkfifo(pipe)
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(SettingsError, match="is not a regular file"):
        written("SELECT 1 AS a", Format.CSV, pipe)
    assert pipe.is_fifo()
    assert written("SELECT 1 AS a", Format.CSV, link) == '"a"\n1\n'
    assert link.is_symlink()
    assert target.read_text() == '"a"\n1\n'
    with pytest.raises(CryptoVizError):
        written("SELECT error('x')", Format.CSV, link)
    assert target.read_text() == '"a"\n1\n'
