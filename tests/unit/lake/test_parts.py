"""Names of data files."""

from __future__ import annotations

from datetime import date

import pytest

from cryptoviz.lake.parts import Compacted, Part, date_of_ms, parse_compacted, parse_part, short_topic_id, topic_uuid

PATH = "year=2026/month=1/day=5/part-0a1b2c3d-12-0-9223372036854775807.snappy.parquet"


def test_name_and_back() -> None:
    part = Part("0a1b2c3d", 12, 0, 2**63 - 1, date(2026, 1, 5))
    assert part.path == PATH
    assert parse_part(PATH) == part
    assert part.partition_values == {"year": "2026", "month": "1", "day": "5"}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/" + PATH,
        "x/" + PATH,
        PATH + ".crc",
        PATH + "\n",
        PATH.replace("month=1", "month=01"),
        PATH.replace("month=1", "month=13"),
        PATH.replace("month=1/day=5", "month=2/day=30"),
        PATH.replace("0a1b2c3d", "0A1B2C3D"),
        PATH.replace("part-", "mine-"),
        "year=2026/month=1/day=5/../../../_delta_log/00000000000000000000.json",
        "year=2026/month=1/day=5/_SUCCESS",
        "year=2026/month=1/day=5/part-00000-abc.snappy.parquet",
        "_delta_log/00000000000000000000.json",
    ],
)
def test_what_is_not_ours_is_not_taken_for_ours(path: str) -> None:
    assert parse_part(path) is None


def test_compacted_files_of_earlier_versions_keep_their_names() -> None:
    folder = "year=2026/month=1/day=5/part-compacted-0123456789abcdef"
    for codec in ("snappy", "zstd"):
        path = f"{folder}.{codec}.parquet"
        found = parse_compacted(path)
        assert found == Compacted("0123456789abcdef", date(2026, 1, 5), codec)
        assert found.path == path
    assert parse_compacted(f"{folder}.gzip.parquet") is None
    assert Compacted.of(["a"], date(2026, 1, 5)).path.endswith(".zstd.parquet")


def test_day_of_a_moment() -> None:
    assert date_of_ms(1_764_028_799_999) == date(2025, 11, 24)
    assert date_of_ms(1_764_028_800_000) == date(2025, 11, 25)
    assert date_of_ms(-1) == date(1970, 1, 1)


def test_topic_id_from_kafkas_base64() -> None:
    assert topic_uuid("ASNFZ4mrze8BI0VniavN7w") == "01234567-89ab-cdef-0123-456789abcdef"
    assert short_topic_id("01234567-89ab-cdef-0123-456789abcdef") == "01234567"
