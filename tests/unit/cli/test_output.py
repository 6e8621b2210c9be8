"""The format in which a result is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptoviz.cli.output import chosen_format
from cryptoviz.cli.terminal import Format
from cryptoviz.errors import SettingsError


@pytest.mark.parametrize(
    ("form", "output", "chosen"),
    [
        (None, None, Format.TABLE),
        (Format.CSV, None, Format.CSV),
        (None, "x.parquet", Format.PARQUET),
        (None, "x.JSON", Format.JSON),
        (None, "x.jsonl", Format.NDJSON),
        (None, "a.b/x.csv", Format.CSV),
        (Format.CSV, "x.dat", Format.CSV),
        (Format.PARQUET, "x.parquet", Format.PARQUET),
    ],
)
def test_the_ending_says_the_form(form: Format | None, output: str | None, chosen: Format) -> None:
    assert chosen_format(form, Path(output) if output else None) is chosen


@pytest.mark.parametrize("output", ["x", "x.xlsx", "x.parquet.gz", "parquet"])
def test_an_unknown_ending_is_refused(output: str) -> None:
    with pytest.raises(SettingsError, match=r"valid extensions are \.csv, \.json, \.ndjson, \.jsonl, \.parquet; or use --format"):
        chosen_format(None, Path(output))


def test_an_ending_that_contradicts_the_form_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ends in \.parquet, but --format is csv"):
        chosen_format(Format.CSV, Path("x.parquet"))


@pytest.mark.parametrize("form", [Format.CSV, Format.TABLE, Format.NDJSON, Format.PARQUET])
def test_json_beside_another_form_is_refused(form: Format) -> None:
    with pytest.raises(SettingsError) as caught:
        chosen_format(form, None, as_json=True)
    assert caught.value.message == f"--json and --format {form} contradict each other: valid is one of them"
    assert caught.value.setting == "--format"


def test_json_alone_and_beside_json() -> None:
    assert chosen_format(None, None, as_json=True) is Format.JSON
    assert chosen_format(Format.JSON, Path("x.json"), as_json=True) is Format.JSON
    with pytest.raises(SettingsError, match=r"ends in \.csv"):
        chosen_format(None, Path("x.csv"), as_json=True)
