"""Values that all pages share, and the trends of metrics."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.errors import EngineUnavailable
from dashboard.feeds.polled import Polled
from dashboard.feeds.trends import MetricTrends
from dashboard.views.pipeline_rows import component_row, trend_svg


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_value_is_read_when_looked_at_and_shared_until_it_is_old(workers: ThreadPoolExecutor) -> None:
    now: list[float] = [0.0]
    woken: list[float] = []
    answers: Iterator[int | EngineUnavailable] = iter([1, EngineUnavailable("no answer", engine="x"), 3])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    polled: Polled[int] = Polled("test", read, 2.0, workers, lambda: woken.append(now[0]), lambda: now[0])

    def settled() -> tuple[int | None, str | None]:
        polled.look()
        workers.submit(lambda: None).result()  # one worker: the read has ended
        return polled.look()

    assert woken == []
    assert polled.look() == (None, None)
    workers.submit(lambda: None).result()
    assert [settled() for _ in range(3)] == [(1, None)] * 3
    now[0] = 2.0
    assert settled() == (1, "no answer")  # the last value stays
    polled.expire()
    assert settled() == (3, None)
    assert woken == [0.0, 2.0, 2.0]


def status(**metrics: float) -> ComponentStatus:
    return ComponentStatus("lake", ComponentKind.LAKE, DesiredState.RUNNING, ComponentState.RUNNING, Trigger.NONE, "", 0, 0, metrics, ())


def pipeline(one: ComponentStatus) -> PipelineStatus:
    return PipelineStatus(ComponentState.RUNNING, "", (one,))


def test_a_trend_has_a_point_in_five_seconds_and_ends_with_its_metric() -> None:
    trends = MetricTrends()
    for number in range(200):
        trends.take(pipeline(status(rows_total=number)), 10_000 + number * 2_500)
    trends.take(None, 10**9)
    points = trends.of("lake")["rows_total"]
    assert (len(points), points[0], points[1], points[-1]) == (60, 80, 82, 198)
    trends.take(pipeline(replace(status(), metrics={"other": 1.0})), 10**7)
    assert set(trends.of("lake")) == {"other"}


def test_a_line_is_drawn_for_values_that_change() -> None:
    assert trend_svg(()) == trend_svg((5, 5, 5)) == trend_svg((float("nan"), 5)) == ""
    assert 'points="0.0,10.0 18.0,5.0 36.0,0.0"' in trend_svg((0, 5, 10))
    assert "<svg" in component_row(status(rows_total=3), {"rows_total": (1, 2, 3)})["metrics"]


def test_a_reader_sees_the_verbs_without_their_effect() -> None:
    row = component_row(status(), operates=False)
    assert ["disabled" in row[verb] for verb in ("start", "stop", "restart", "log")] == [True, True, True, False]
    assert "on 10.0.0.5, 10.0.0.6" in component_row(replace(status(), nodes=("10.0.0.5", "10.0.0.6")))["name"]
