"""Ownership of the batch plan, and its takeover by a new run."""

from __future__ import annotations

import pytest

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.conditional_object import ObjectChanged, ObjectVersion
from spark_jobs.streaming.batch_plan import BatchPlan, Planned
from spark_jobs.streaming.start_offsets import StartPoint, redo_ends

RANGES = {("topic", 0): (10, 20), ("topic", 1): (0, 7)}


class Cell:
    """The store's object. As in S3, its tag is a function of the content."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.lose_answers = 0
        self.writes = 0

    def read(self) -> ObjectVersion | None:
        return None if self.content is None else ObjectVersion(self.content, str(hash(self.content)), 0.0)

    def write(self, content: bytes, over: str | None) -> str:
        self.writes += 1
        if over != (None if self.content is None else str(hash(self.content))):
            raise ObjectChanged("changed")
        self.content = content
        if self.lose_answers:
            self.lose_answers -= 1
            raise EngineUnavailable("no answer", engine="object-store")
        return str(hash(content))


def test_a_new_run_learns_what_the_last_one_had_planned_and_that_one_plans_no_more() -> None:
    cell = Cell()
    first, second = BatchPlan(cell, "one"), BatchPlan(cell, "two")
    assert first.take_over() == Planned()
    first.avoid_names({"prices": ["a"]})
    first.write(RANGES)
    seen = second.take_over()
    assert (seen.run, dict(seen.ranges), dict(seen.avoid)) == ("one", RANGES, {"prices": frozenset({"a"})})
    before = cell.content
    with pytest.raises(LakeError, match="run two"):
        first.write({("topic", 0): (20, 30)})
    with pytest.raises(LakeError, match="run two"):
        first.avoid_names({"prices": ["b"]})
    assert cell.content == before
    second.write({("topic", 0): (20, 25)})
    assert BatchPlan(cell, "three").take_over().ranges == {("topic", 0): (20, 25)}


def test_a_write_whose_answer_was_lost_is_ours() -> None:
    cell = Cell()
    plan = BatchPlan(cell, "one")
    plan.take_over()
    cell.lose_answers = 1
    with pytest.raises(EngineUnavailable):
        plan.write(RANGES)
    writes = cell.writes
    plan.write(RANGES)
    assert cell.writes == writes + 1  # found to be written, and not written again
    plan.write({("topic", 0): (20, 21)})
    assert BatchPlan(cell, "two").take_over().ranges == {("topic", 0): (20, 21)}


def test_the_same_plan_twice_is_two_contents_so_that_a_late_request_changes_nothing() -> None:
    """S3's tag is a hash of the content: with equal content a request over the first version would succeed over the third."""
    cell = Cell()
    plan = BatchPlan(cell, "one")
    plan.take_over()
    contents = set()
    for ranges in (RANGES, {("topic", 0): (20, 21)}, RANGES):
        plan.write(ranges)
        contents.add(cell.content)
    assert len(contents) == 3


def test_a_removed_object_is_created_again_and_an_invalid_one_is_reported() -> None:
    cell = Cell()
    plan = BatchPlan(cell, "one")
    plan.take_over()
    cell.content = None
    plan.write(RANGES)
    assert BatchPlan(cell, "two").take_over().ranges == RANGES
    cell.content = b"<html>"
    with pytest.raises(LakeError, match="invalid batch plan"):
        plan.write(RANGES)
    with pytest.raises(LakeError, match="version 2"):
        Planned.from_json(Planned("run").to_json().replace(b'"version": 1', b'"version": 2'))


def point(partition: int, *, end: int, progress: int | None, topic_id: str = "topic") -> StartPoint:
    return StartPoint("stream", topic_id, partition, 0, end, progress)


def test_what_was_planned_and_not_committed_is_made_again() -> None:
    planned = {("topic", 0): (10, 20), ("topic", 1): (0, 7), ("topic", 2): (5, 9), ("gone", 3): (0, 50)}
    points = [point(0, end=30, progress=10), point(1, end=30, progress=7), point(2, end=6, progress=5), point(3, end=30, progress=4)]
    start = {"stream": {one.partition: one.progress or 0 for one in points}}
    # 1 is committed; of 2 Kafka has lost offsets 6 to 8; 3 was planned for a topic that was deleted.
    assert redo_ends(points, start, planned) == {("stream", 0): 20}
    # With accepted loss of offsets, or with a re-created table: other bounds, other names.
    assert redo_ends(points, {"stream": {0: 15, 1: 7, 2: 6, 3: 4}}, planned) == {}
    assert redo_ends(points, {"stream": {0: 0, 1: 0, 2: 0, 3: 0}}, planned) == {("stream", 1): 7}
