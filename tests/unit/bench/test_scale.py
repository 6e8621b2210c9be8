"""The arithmetic and the simulation of growth, against values by hand and measured ones."""

from __future__ import annotations

import itertools

import pytest

from bench.scale import CASES, Away, Costs, Load, delays, plan


def test_the_default_has_the_measured_size_of_a_day() -> None:
    """17 coins once a minute: 24 480 rows of 73.2 bytes are the 0.105 MB a day and coin of docs/performance.md."""
    found = plan(CASES["default"])
    assert found.rows_a_day == pytest.approx(24_480)
    assert found.prices_gb_a_day * 1000 / 17 == pytest.approx(0.105, abs=0.001)


def test_figures_by_hand() -> None:
    """1 000 assets of 10 providers each 10 s: 100 records and 1 000 results a second, 4 pages for each provider."""
    found = plan(CASES["1 000 x 10 x 10 s"])
    assert found.records_s == 100
    assert found.calls_s == 4
    assert found.kafka_mb_s == pytest.approx(100 * 780e-6 + 1_000 * 700e-6)
    assert (found.brokers, found.partitions, found.collectors) == (1, 2, 1)
    assert found.files_a_day == 2 * 8_640


def test_more_of_anything_never_costs_less() -> None:
    sizes = [plan(Load(assets, providers, tick_s)) for assets, providers, tick_s in itertools.product((17, 1_000, 100_000), (2, 50), (60.0, 1.0))]
    for first, second in itertools.pairwise(sorted(sizes, key=lambda one: one.kafka_mb_s)):
        assert first.kafka_gb <= second.kafka_gb
    assert plan(Load(100_000, 50, 1.0)).usd_a_month > plan(Load(100_000, 2, 1.0)).usd_a_month > plan(Load(1_000, 2, 1.0)).usd_a_month


def test_every_tick_is_committed_once_and_not_before_its_records_came() -> None:
    load = Load(1_000, 2, 1.0)
    found = list(delays(load, 2, 600))
    assert len(found) == 600
    assert min(found) > 0.67 * Costs().commit_s


def test_an_outage_delays_the_ticks_of_its_time_and_then_ends() -> None:
    """Ten minutes away: the first tick waits for 600 s; at four times the needed speed the queue is gone ten minutes later."""
    load, tasks = Load(100_000, 2, 1.0), 4
    found = list(delays(load, tasks, 3_000, Away(600, 600)))
    assert max(found) == pytest.approx(600, abs=5)
    assert max(found[2_000:]) < 3


def test_too_few_tasks_fall_behind_for_ever() -> None:
    """100 000 records a second need 0.98 cores to decode: half a task's time of one per second is missing with a cost twice as high."""
    slow = Costs(decode_s=2 * Costs().decode_s)
    found = list(delays(Load(100_000, 2, 1.0), 1, 600, costs=slow))
    assert found[-1] > 500
