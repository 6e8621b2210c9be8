"""CSV downloads: a text from outside is no formula of the spreadsheet that opens them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pytest

from dashboard.csv_files import csv_file
from dashboard.feeds.sql_runner import SqlResult


def cells(rows: pa.Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(csv_file(rows).decode(), newline="")))


WRITTEN = {
    '=HYPERLINK("http://evil.example","x")': '\'=HYPERLINK("http://evil.example","x")', "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
    "-2+3": "'-2+3", "@SUM(1)": "'@SUM(1)", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n=1": "'\n=1", "＝1+1": "'＝1+1", "-": "'-", "--1": "'--1",
    "-1.5x": "'-1.5x", "-1\n=1": "'-1\n=1",
    "-1.5": "-1.5", "+.5e-3": "+.5e-3", "-7": "-7", "a=1": "a=1", " =1": " =1", "'=1": "'=1", "": "", "Bitcoin": "Bitcoin",
}  # fmt: skip


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_a_text_that_a_spreadsheet_would_run_is_quoted(kind: pa.DataType) -> None:
    texts = pa.array(WRITTEN, pa.string()).cast(kind)
    expected = [["name", "count"], *([text, str(i)] for i, text in enumerate(WRITTEN.values()))]
    assert cells(pa.table({"name": texts, "count": range(len(texts))})) == expected


def test_numbers_times_and_missing_values_are_as_they_are() -> None:
    values: dict[str, Any] = {"price": [-1.5, None], "count": [-3, 4], "name": [None, "=1"]}
    assert csv_file(pa.table(values)) == b'"price","count","name"\n-1.5,-3,\n,4,"\'=1"\n'


def test_names_of_columns_are_texts_too() -> None:
    """A pivot makes them from values."""
    assert cells(pa.table([[1]], names=["=1+1"])) == [["'=1+1"], ["1"]]


def test_the_download_of_a_query_is_such_a_file() -> None:
    rows = pa.table({"name": ["=1"], "tags": [["=1", "b"]]})
    assert list(csv.reader(io.StringIO(SqlResult(rows, False).csv().decode()))) == [["name", "tags"], ["'=1", "['=1', 'b']"]]
