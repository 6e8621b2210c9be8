"""Records of a batch for Spark's progress; a Spark without the metric costs the figure only."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JError

from spark_jobs.streaming.input_rows import InputRows
from tests.support.log_lines import log_lines


class Sequence(list[Any]):
    """A Scala sequence."""

    def size(self) -> int:
        return len(self)

    def apply(self, at: int) -> Any:
        return self[at]


def option(value: Any) -> Any:
    return SimpleNamespace(isDefined=lambda: value is not None, get=lambda: value)


def session_of(leaves: Callable[[], Sequence]) -> Any:
    plan = SimpleNamespace(collectLeaves=leaves)
    execution = SimpleNamespace(executedPlan=lambda: plan)
    query = SimpleNamespace(streamingQuery=lambda: SimpleNamespace(lastExecution=lambda: execution))
    return SimpleNamespace(_jsparkSession=SimpleNamespace(streams=lambda: SimpleNamespace(active=lambda: [query])))


def test_the_source_gets_the_records_of_the_batch() -> None:
    counted: list[int] = []
    source = SimpleNamespace(metrics=lambda: {"numOutputRows": option(SimpleNamespace(set=counted.append))})
    other = SimpleNamespace(metrics=lambda: SimpleNamespace(get=lambda name: option(None)))
    rows = InputRows(session_of(lambda: Sequence([other, source])))
    rows.report(17)
    rows.report(0)
    assert counted == [17, 0]


@pytest.mark.parametrize(
    "error",
    [
        Py4JError("collectLeaves() does not exist"), Py4JError(""), TypeError("'JavaPackage' object is not callable"), AttributeError("'NoneType'"),
    ],
)  # fmt: skip
def test_a_spark_without_the_metric_is_asked_once(error: Exception) -> None:
    asked: list[int] = []

    def leaves() -> Sequence:
        asked.append(1)
        raise error

    rows = InputRows(session_of(leaves))
    with log_lines() as lines:
        rows.report(17)
        rows.report(17)
    assert len(asked) == len(lines.of("input_rows_not_reported")) == 1
