"""The batches in a batch of Spark: their end offsets, and when Spark plans again."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.progress import merge
from spark_jobs.streaming import each_batch as module
from spark_jobs.streaming.each_batch import EachBatch

Ends = Mapping[tuple[str, int], int]
ONE = ("t", 0)


class Rig:
    """A batch of Spark that is planned to end at 10. `ends`: what Kafka answers, one after the other; None: it does not answer."""

    def __init__(self, *ends: int | None, closed_after: int = 99) -> None:
        self.left = list(ends)
        self.position: Ends = {ONE: 5}
        self.stats = SimpleNamespace(batch_records=0)
        self.done: list[Any] = []
        self.closed_after = closed_after

    def run(self, ends: Ends) -> None:
        self.stats.batch_records = max(0, ends[ONE] - self.position[ONE])
        self.position = merge(self.position, ends)
        self.done.append(ends[ONE])

    def ends(self, pairs: list[tuple[str, int]], timeout_s: float) -> dict[tuple[str, int], int]:
        end = self.left.pop(0)
        if end is None:
            raise EngineUnavailable("no Kafka", engine="kafka")
        return dict.fromkeys(pairs, end)

    def wait(self, position: Ends) -> None:
        assert position == self.position

    @property
    def closed(self) -> bool:
        return len(self.done) >= self.closed_after

    def call(self, most: int = 100) -> list[Any]:
        """Ends of the batches, with the records that Spark was given last."""
        me = cast("Any", self)
        EachBatch(me, me, me, lambda batch_id: {ONE: batch_id}, lambda: self.done.append("hand over"), self.done.append, most).call(None, 10)
        return self.done


def test_a_batch_ends_where_kafka_ends_now_and_the_next_follows_without_a_plan_of_spark() -> None:
    assert Rig(12, 13, 13).call() == ["hand over", 12, 13, 13 - 5]


def test_spark_plans_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_S", -1.0)
    assert Rig(12).call() == ["hand over", 12, 7]


def test_a_backlog_goes_as_far_as_spark_has_planned() -> None:
    assert Rig(500, 500).call() == ["hand over", 10, 5]


def test_the_plan_counts_if_kafka_does_not_answer() -> None:
    assert Rig(None, None).call() == ["hand over", 10, 5]


def test_a_plan_that_ends_before_the_position_is_an_empty_batch() -> None:
    rig = Rig(20, 20)
    rig.position = {ONE: 20}
    assert rig.call() == ["hand over", 10, 0]


def test_no_batch_follows_the_end_of_the_watch() -> None:
    assert Rig(12, 13, closed_after=2).call() == ["hand over", 12, 7]
