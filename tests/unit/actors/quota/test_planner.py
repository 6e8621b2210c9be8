"""Turns: the arithmetic of a tick, and thirty days of ticks."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from actors.quota.planner import Turn, Turns, exhausted_at_ms, rate_now
from actors.quota.usage import Usage
from cryptoviz.plans import nominal_rate, period_bounds_ms
from cryptoviz.providers.plan import Cost, Period, Plan
from tests.unit.actors.quota.simulation import overruns, simulate

TICK = 60_000
FREE = {
    "coingecko": (Plan(per_minute=30, per_month=10_000), Cost()),
    "coinmarketcap": (Plan(per_minute=30, per_month=10_000), Cost()),
    "binance": (Plan(per_minute=6_000), Cost(1, 2)),
    "kraken": (Plan(per_minute=60), Cost()),
    "coinpaprika": (Plan(per_month=20_000), Cost()),
    "coinbase": (Plan(per_minute=600), Cost(17)),
}
"""The six free plans, for 17 coins."""
AGGREGATORS = {"coingecko": (Plan(per_month=10_000), Cost()), "coinmarketcap": (Plan(per_month=17_500), Cost()), "coinpaprika": FREE["coinpaprika"]}
"""47 500 calls a month, 45 125 without the reserve, for 44 640 ticks at most; no exchange to fill ticks with."""


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


NOVEMBER = ms(2026, 11, 1)


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        (Period.DAY, ms(2026, 11, 24, 23, 59), ms(2026, 11, 24), ms(2026, 11, 25)),
        (Period.MONTH, ms(2026, 12, 31, 23, 59), ms(2026, 12, 1), ms(2027, 1, 1)),
        (Period.MONTH, ms(2028, 2, 29), ms(2028, 2, 1), ms(2028, 3, 1)),
        (Period.MONTH, NOVEMBER, NOVEMBER, ms(2026, 12, 1)),
    ],
)
def test_periods_are_utc_days_and_months(period, now, start, end):
    assert period_bounds_ms(period, now) == (start, end)


@pytest.mark.parametrize(
    ("plan", "used", "cost", "now", "rate"),
    [
        (Plan(), 0, Cost(), NOVEMBER, 1.0),
        (Plan(per_month=10_000), 0, Cost(), NOVEMBER, 9_500 / 43_200),
        (Plan(per_month=10_000, reserve=0.0), 0, Cost(), NOVEMBER, 10_000 / 43_200),
        (Plan(per_month=10_000), 4_750, Cost(), ms(2026, 11, 16), 4_750 / 21_600),
        (Plan(per_month=10_000), 0, Cost(), ms(2026, 11, 30, 23, 58), 1.0),
        (Plan(per_month=10_000), 9_500, Cost(), NOVEMBER, 0.0),
        (Plan(per_month=10_000), 9_800, Cost(), NOVEMBER, 0.0),
        (Plan(per_month=10_000), 0, Cost(17), NOVEMBER, 558 / 43_200),
        (Plan(per_day=333, per_month=10_000), 0, Cost(), NOVEMBER, min(9_500 / 43_200, 317 / 1_440)),
        (Plan(per_day=100, per_month=10_000), 0, Cost(), NOVEMBER, 95 / 1_440),
        (Plan(per_minute=1), 0, Cost(), NOVEMBER, 1.0),
        (Plan(per_minute=10), 0, Cost(17), NOVEMBER, 10 / 17),
        (Plan(per_minute=100), 0, Cost(1, 200), NOVEMBER, 0.5),
    ],
)
def test_a_rate_is_what_is_left_over_what_ticks_are_left(plan, used, cost, now, rate):
    assert rate_now(plan, Usage(NOVEMBER, used, NOVEMBER, used), cost, now, TICK) == pytest.approx(rate)


def test_a_new_month_begins_with_nothing_used():
    usage = Usage(ms(2026, 11, 30), 400, NOVEMBER, 10_000)
    assert rate_now(Plan(per_month=10_000), usage, Cost(), ms(2026, 12, 1), TICK) == pytest.approx(9_500 / 44_640)


def test_a_clock_that_goes_back_spends_nothing_twice():
    december = Usage().charged(5, ms(2026, 12, 1))
    assert december.at(ms(2026, 11, 30)).month_used == 5
    assert december.charged(1, ms(2026, 11, 30)).month_used == 6


@pytest.mark.parametrize(
    ("used", "rate", "expected"),
    [
        (0, 9_500 / 43_200, None),
        (0, 1.0, NOVEMBER + 10_000 * TICK),
        (9_999, 1.0, NOVEMBER + TICK),
        (10_000, 0.0, NOVEMBER),
        (9_990, 0.0, None),
    ],
)
def test_the_date_of_exhaustion(used, rate, expected):
    usage = Usage(NOVEMBER, used, NOVEMBER, used)
    assert exhausted_at_ms(Plan(per_month=10_000), usage, Cost(), Period.MONTH, rate, NOVEMBER, TICK) == expected


def test_without_a_limit_nothing_is_exhausted():
    assert exhausted_at_ms(Plan(), Usage(), Cost(), Period.DAY, 1.0, NOVEMBER, TICK) is None


def test_an_exhausted_plan_says_so_until_its_month_ends():
    turns = Turns("coingecko", FREE, TICK)
    spent = Usage(NOVEMBER, 9_500, NOVEMBER, 9_500)
    assert turns.at(NOVEMBER + TICK, spent) is Turn.EXHAUSTED
    assert turns.at(ms(2026, 12, 1), spent) is not Turn.EXHAUSTED


@pytest.mark.parametrize(("start", "seed"), [(NOVEMBER, 1), (ms(2026, 11, 14, 7, 3), 2)], ids=["a month's beginning", "across two months"])
def test_thirty_days_of_minutes_miss_no_tick_and_overrun_no_plan(start, seed):
    result = simulate(FREE, 60, start, 30, seed, restarts=25)
    assert result.ticks == 43_200
    assert result.missed == 0
    assert overruns(result, FREE) == []


def test_thirty_days_of_ten_seconds_miss_no_tick_and_overrun_no_plan():
    result = simulate(FREE, 10, NOVEMBER, 30, 3, restarts=25)
    assert (result.ticks, result.missed, overruns(result, FREE)) == (259_200, 0, [])


@pytest.mark.parametrize("month", [2, 12], ids=["28 days", "31 days"])
def test_aggregators_alone_share_every_minute_of_a_month(month):
    start = ms(2026, month, 1)
    days = (period_bounds_ms(Period.MONTH, start)[1] - start) // 86_400_000
    result = simulate(AGGREGATORS, 60, start, days, 4, restarts=25)
    assert (result.missed, overruns(result, AGGREGATORS)) == (0, [])


def test_the_primary_is_asked_as_often_as_its_budget_allows_evenly_spread():
    result = simulate(FREE, 60, NOVEMBER, 30, 5, restarts=0, second_tries=0.0)
    turns = result.turns["coingecko"]
    # 10 000 less 5 % over 43 200 ticks: every 4.547 ticks.
    assert len(turns) == pytest.approx(9_500, abs=1)
    assert {later - earlier for earlier, later in pairwise(turns)} == {4, 5}
    assert len(result.turns["binance"]) == result.ticks


def test_too_small_plans_leave_ticks_out_but_never_ask_two_at_once():
    plans = {"coingecko": (Plan(per_month=10_000), Cost()), "coinmarketcap": (Plan(per_month=10_000), Cost())}
    result = simulate(plans, 60, NOVEMBER, 30, 6, restarts=0, second_tries=0.0)
    both = set(result.turns["coingecko"]) & set(result.turns["coinmarketcap"])
    assert both == set()
    assert result.ticks - result.missed == pytest.approx(19_000, rel=0.001)


def test_the_usage_that_the_provider_reports_counts():
    turns = Turns("coingecko", FREE, TICK)
    turns.at(NOVEMBER, Usage())
    turns.learn(Plan(per_month=500_000))
    turns.at(NOVEMBER + TICK, Usage())
    assert turns.rate == 1.0


def test_nominal_rate_of_an_even_month():
    assert nominal_rate(Plan(per_month=10_000), Cost(), ms(2026, 11, 20), TICK) == pytest.approx(9_500 / 43_200)
