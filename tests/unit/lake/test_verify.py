"""The verifier finds lost, duplicated and unknown records."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cryptoviz.lake.kafka_audit import KafkaContents
from cryptoviz.lake.offsets import EventIdCounter, OffsetCounts
from cryptoviz.lake.verify import Comparison, Report, TableContents, compare

ID, OLD = "topic-1", "topic-0"


def rows(offsets: Sequence[int], topic_id: str = ID, partition: int = 0, events: Sequence[str] = ()) -> TableContents:
    return also(TableContents(), offsets, topic_id, partition, events)


def also(seen: TableContents, offsets: Sequence[int], topic_id: str = ID, partition: int = 0, events: Sequence[str] = ()) -> TableContents:
    size = len(offsets)
    seen.offsets.add(pa.array([topic_id] * size, pa.string()), pa.array([partition] * size, pa.int32()), pa.array(offsets, pa.int64()))
    seen.events.add(events)
    return seen


def counts(offsets: Sequence[int]) -> OffsetCounts:
    found = OffsetCounts()
    found.add(np.array(offsets, np.int64))
    return found


def taken(offsets: Sequence[int], earliest: int = 0, end: int = 100, repeated: int = 0) -> KafkaContents:
    return KafkaContents("stream", ID, {0: (earliest, end)}, {0: counts(offsets)}, len(offsets), repeated)


def check(in_kafka: KafkaContents, table: TableContents, dead: TableContents | None = None, progress: int = 100) -> Comparison:
    return compare(in_kafka, "prices", "delta", table, dead or rows([]), {0: progress})


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
    found = check(taken([0, 1]), also(rows([0, 1], OLD), [0, 1]))
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


def test_faults_are_found_wherever_they_lie_and_in_any_order() -> None:
    """Compared with sets, over several pages of offsets."""
    chance = random.Random(7)
    in_kafka = sorted(chance.sample(range(400_000), 100_000))
    in_lake = [offset for offset in in_kafka if chance.random() > 0.001] + chance.sample(range(400_000, 600_000), 50)
    in_lake += chance.sample(in_lake, 40)
    chance.shuffle(in_lake)
    found = check(taken(in_kafka, end=500_000), rows(in_lake), progress=300_000)
    missing = set(in_kafka) - set(in_lake)
    assert found.lost == sum(offset < 300_000 for offset in missing)
    assert found.pending == sum(offset >= 300_000 for offset in missing)
    assert found.doubled == 40
    assert found.unknown == sum(400_000 <= offset < 500_000 for offset in set(in_lake))
    assert found.covered == {"0": f"{min(in_lake)}-{max(in_lake)}"}
    assert len(found.samples) == 15


def test_events_count_surplus_appearances() -> None:
    events = EventIdCounter()
    assert events.repeated == 0
    events.add(["a", "b", None, "a", "a", None])
    assert events.repeated == 2
