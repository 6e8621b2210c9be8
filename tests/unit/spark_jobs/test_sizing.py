"""Bytes at once stay bounded whatever the topics hold."""

from __future__ import annotations

import pytest

from spark_jobs.sizing import ARROW_RECORDS, Sizing

MIB = 1 << 20


def sizing() -> Sizing:
    return Sizing(frozenset({"raw"}))


@pytest.mark.parametrize(
    ("counts", "records"),
    [
        ({"stream": 400_000}, ARROW_RECORDS),
        ({"stream": 400_000, "raw": 32}, ARROW_RECORDS),
        ({"stream": 17, "raw": 33}, 32),
        ({"raw": 100_000}, 32),
    ],
)
def test_a_backlog_of_records_of_unknown_size_is_taken_for_large(counts: dict[str, int], records: int) -> None:
    assert sizing().records(counts) == records


def test_sizes_are_learned_and_the_largest_counts() -> None:
    learned = sizing()
    learned.learn("raw", 40_000)
    assert learned.records({"raw": 5000}) == 32 * MIB // 40_000
    learned.learn("raw", 2 * MIB)
    learned.learn("raw", 10)
    assert learned.records({"raw": 5000}) == 16
    assert learned.records({"raw": 16}) == ARROW_RECORDS


def test_a_large_record_where_none_was_expected() -> None:
    learned = sizing()
    learned.learn("stream", 64 * MIB)
    assert learned.records({"stream": 2}) == 1
