"""The topics page: what a form asks for, topics, records."""

from __future__ import annotations

import pytest

from dashboard.views.topic_rows import (
    Browse,
    Found,
    KafkaRecord,
    PartitionStatus,
    Start,
    TopicStatus,
    found_markup,
    parse_browse,
    pretty,
    topic_table,
)

TOPICS = ("crypto-streaming", "crypto-raw-data")
MOMENT_MS = 1_769_860_800_000  # 2026-01-31T12:00:00Z


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ({}, Browse("crypto-streaming")),
        (
            {"start": "offset", "at": "1234", "partition": "2", "key": "bitcoin", "limit": "5"},
            Browse("crypto-streaming", Start.OFFSET, 1234, 2, "bitcoin", 5),
        ),
        ({"start": "time", "at": "2026-01-31T12:00:00Z"}, Browse("crypto-streaming", Start.TIME, MOMENT_MS)),
        ({"start": "time", "at": "2026-01-31 13:00+01:00"}, Browse("crypto-streaming", Start.TIME, MOMENT_MS)),
        ({"start": "time", "at": "2026-01-31T12:00"}, Browse("crypto-streaming", Start.TIME, MOMENT_MS)),
        ({"start": "oldest", "at": "ignored"}, Browse("crypto-streaming", Start.OLDEST)),
    ],
)
def test_a_form_asks_for_records(form: dict[str, str], asked: Browse) -> None:
    assert parse_browse({"topic": "crypto-streaming", **form}, TOPICS) == asked


@pytest.mark.parametrize(
    "form",
    [
        {"topic": "__consumer_offsets"}, {"topic": ""}, {"start": "everything"}, {"start": "offset", "at": "-1"}, {"start": "offset", "at": "1e9"},
        {"start": "offset"}, {"start": "offset", "at": "9" * 20}, {"start": "time", "at": "yesterday"}, {"start": "time", "at": ""}, {"limit": "0"},
        {"limit": "101"}, {"limit": "x"}, {"partition": "-1"}, {"partition": "٣"},
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_form_is_said(form: dict[str, str]) -> None:
    assert isinstance(parse_browse({"topic": "crypto-streaming", **form}, TOPICS), str)


def test_a_topic_shows_its_sums_and_the_chosen_one_its_partitions() -> None:
    parts = (PartitionStatus(0, 10, 110, lag=5, rate=1.25), PartitionStatus(1, 0, 1000, lag=None, rate=None))
    table = topic_table(
        [TopicStatus("crypto-streaming", "prices", parts), TopicStatus("ledger", None, (PartitionStatus(0, 0, 0),))], "crypto-streaming"
    )
    assert 'data-value="1100"' in table
    assert "10 – 110" in table
    assert 'data-lag="5"' in table
    assert "1.3/s" in table
    assert table.count("cv-partition") == 2
    assert table.count("—") == 4  # no rate and no lag of partition 1 and of the ledger


def record(value: bytes | None, key: str = "bitcoin", headers: tuple[tuple[str, str], ...] = ()) -> KafkaRecord:
    return KafkaRecord(1, 42, MOMENT_MS, key, value, len(value or b""), headers)


def test_a_records_json_is_indented_and_other_content_is_shown_as_it_is() -> None:
    assert pretty(b'{"a":1,"b":["\xc3\xa9"]}', 17) == '{\n  "a": 1,\n  "b": [\n    "é"\n  ]\n}'
    assert pretty(b"\xff\x00garbage", 9) == "\\xff\x00garbage"
    assert pretty(None, 0) == "(null)"
    assert pretty(b'{"a":', 900_000) == '{"a":\n… 900,000 bytes in all'
    assert pretty(b"[" * 100_000, 100_000).startswith("[[[")


def test_nothing_of_a_record_is_markup() -> None:
    hostile = "</pre><script>alert(1)</script>"
    made = found_markup(Found((record(hostile.encode(), key=hostile, headers=((hostile, hostile),)),), 10, complete=False), Browse(TOPICS[0]))
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 5  # key, preview, whole value, header's name and value
    assert "10 read, stopped by the limit" in made
    assert "1:42" in made


@pytest.mark.parametrize(
    ("complete", "key", "words"),
    [
        (True, "", "12 read, none from there on."),
        (True, "cosmos", "12 read, none of the key &#x27;cosmos&#x27; from there on."),
        (False, "cosmos", "12 read, stopped by the limit of time or records."),
    ],
)
def test_no_records_are_not_claimed_before_the_end_was_reached(complete: bool, key: str, words: str) -> None:
    assert words in found_markup(Found((), 12, complete), Browse(TOPICS[0], key=key))


def test_a_key_that_is_too_long_is_refused_and_not_cut_to_another() -> None:
    asked = {"topic": TOPICS[0], "key": "k" * 200}
    assert parse_browse(asked, TOPICS) == Browse(TOPICS[0], key="k" * 200, limit=20)
    assert parse_browse(asked | {"key": "k" * 201}, TOPICS) == "The key has 201 characters: at most 200 are allowed."
