"""The verifier finds what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cryptoviz.lake.committed import Taken
from cryptoviz.lake.verify import Comparison, Report, compare

ID, OLD = "topic-1", "topic-0"


def rows(offsets: Sequence[int], topic_id: str = ID, partition: int = 0, events: Sequence[str] | None = None) -> pa.Table:
    columns: dict[str, Any] = {
        "kafka_topic_id": pa.array([topic_id] * len(offsets), pa.string()),
        "kafka_partition": pa.array([partition] * len(offsets), pa.int32()),
        "kafka_offset": pa.array(offsets, pa.int64()),
    }
    if events is not None:
        columns["event_id"] = pa.array(events, pa.string())
    return pa.table(columns)


def taken(offsets: Sequence[int], earliest: int = 0, end: int = 100, repeated: int = 0) -> Taken:
    return Taken("stream", ID, {0: np.array(offsets, np.int64)}, {0: (earliest, end)}, repeated)


def check(in_kafka: Taken, table: pa.Table, dead: pa.Table | None = None, progress: int = 100) -> Comparison:
    return compare(in_kafka, "prices", "delta", table, dead if dead is not None else rows([]), {0: progress})


def test_rows_and_dead_letters_together_are_all() -> None:
    found = check(taken([0, 1, 3, 4]), rows([0, 3, 4]), rows([1]))
    assert found.ok
    assert (found.kafka_records, found.rows, found.dead_letters, found.covered) == (4, 3, 1, {"0": "0-4"})


def test_lost_and_pending() -> None:
    found = check(taken([0, 1, 2, 7, 8]), rows([0, 2]), progress=5)
    assert (found.lost, found.pending) == (1, 2)
    assert not found.ok
    assert found.samples == ("lost 0:1",)


def test_doubled_within_and_across_the_tables() -> None:
    found = check(taken([0, 1, 2]), rows([0, 0, 0, 1, 2]), rows([1]))
    assert found.doubled == 3
    assert found.samples == ("doubled 0:0", "doubled 0:1")


def test_unknown_rows_are_those_that_kafka_could_hold_and_does_not() -> None:
    found = check(taken([5, 6], earliest=5, end=10), rows([3, 5, 6, 8]))
    assert (found.unknown, found.expired) == (1, 1)


def test_rows_of_a_recreated_topic_are_not_taken_for_its_successors() -> None:
    found = check(taken([0, 1]), pa.concat_tables([rows([0, 1], OLD), rows([0, 1])]))
    assert found.ok
    assert found.expired == 2


def test_repeated_events_count_beyond_those_in_kafka() -> None:
    table = rows([0, 1, 2], events=["a", "b", "b"])
    assert check(taken([0, 1, 2]), table).repeated_events == 1
    assert check(taken([0, 1, 2], repeated=1), table).ok


def test_nothing_in_kafka_and_nothing_in_the_lake() -> None:
    found = check(taken([]), rows([]))
    assert found.ok
    report = Report((found,))
    assert report.to_json_dict()["ok"] is True
    assert report.to_text().endswith("OK: nothing lost, nothing doubled")
