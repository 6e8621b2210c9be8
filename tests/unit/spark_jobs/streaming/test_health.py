"""Healthy means that data moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_jobs.streaming.health import HealthInputs, assess

WELL = HealthInputs(active=True, failure="", alive_age_s=0.4, executors=1, no_executor_s=0.0, watch_age_s=0.5, lag_records=0)


def test_well() -> None:
    assert assess(WELL, 0.25) == (True, "up to date")
    assert assess(replace(WELL, lag_records=9), 0.25) == (True, "9 records behind Kafka")


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (replace(WELL, failure="the query failed: X"), "the query failed: X"),
        (replace(WELL, active=False), "has ended"),
        (replace(WELL, alive_age_s=31), "no batch has completed for 31 s (limit 31 s)"),
        (replace(WELL, executors=0, no_executor_s=13), "no executor for 13 s"),
        (replace(WELL, watch_age_s=40), "driver has not answered for 40 s"),
    ],
)
def test_ill(inputs: HealthInputs, says: str) -> None:
    healthy, message = assess(inputs, 0.25)
    assert not healthy
    assert says in message


def test_a_killed_executor_has_time_to_be_replaced() -> None:
    assert assess(replace(WELL, executors=0, no_executor_s=6), 0.25)[0]


def test_a_slow_trigger_has_a_later_limit() -> None:
    assert assess(replace(WELL, alive_age_s=200), 60)[0]
    assert not assess(replace(WELL, alive_age_s=211), 60)[0]


def test_waiting_for_an_engine_is_no_reason_to_be_replaced_but_a_dead_driver_is() -> None:
    waiting = replace(WELL, alive_age_s=500, problem="the object store did not accept x: SlowDown", problem_s=490, lag_records=70)
    assert assess(waiting, 0.25) == (True, "the object store did not accept x: SlowDown (for 490 s; 70 records behind Kafka)")
    assert not assess(replace(waiting, watch_age_s=40), 0.25)[0]
    assert not assess(replace(waiting, failure="broken"), 0.25)[0]
