"""Firings, hysteresis, cool-down, and repeated evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.alerts.evaluate import Evaluation, Evaluator, Firing, RuleState
from cryptoviz.alerts.rule import ALL, Direction, Kind, Rule
from cryptoviz.components import ComponentState
from cryptoviz.records import UnifiedRecord
from tests.unit.dashboard.records import a_component, a_record

T0, TICK = 1_700_000_000_000, 60_000
NOW = T0 + 1_000 * TICK


def price_rule(**changes: Any) -> Rule:
    values: dict[str, Any] = {"rule_id": "r1", "kind": Kind.PRICE, "subject": "bitcoin", "threshold": Decimal(100), "created_ms": T0 - 1}
    return Rule(**(values | changes))


def tick(number: int, price: float = 1.0, **changes: Any) -> UnifiedRecord:
    return a_record(tick_ts=T0 + number * TICK, price=price, **changes)


def evaluator(*rules: Rule, states: dict[str, RuleState] | None = None, seen: dict[str, int] | None = None, **changes: Any) -> Evaluator:
    values: dict[str, Any] = {"tick_ms": TICK, "dollars_equal": True, "reference": lambda *_: None}
    return Evaluator(rules, states or {}, seen or {}, **(values | changes))


def run(one: Evaluator, records: Sequence[UnifiedRecord]) -> list[Firing]:
    """Firings of records that are read one by one."""
    firings = []
    for record in records:
        result = one.of_records([record], NOW)
        firings += result.firings
        one.accept(result)
    return firings


def fired(rule: Rule, prices: Sequence[float]) -> list[tuple[int, str]]:
    """Number of the tick and value of each firing."""
    firings = run(evaluator(rule), [tick(number, price) for number, price in enumerate(prices)])
    return [((firing.at_ms - T0) // TICK, firing.value) for firing in firings]


def test_a_rule_fires_when_its_threshold_is_reached_and_not_again_while_it_holds() -> None:
    assert fired(price_rule(), [99, 99.99999999, 100, 101, 100]) == [(2, "100")]
    assert fired(price_rule(direction=Direction.BELOW), [101, 100.00000001, 100, 99]) == [(2, "100")]


def test_a_price_is_compared_exactly() -> None:
    """0.1 + 0.2 is above 0.3 as a float; the decimal text of a price is what the page shows."""
    assert fired(price_rule(threshold=Decimal("0.30000000000000004")), [0.3, 0.1 + 0.2]) == [(1, "0.30000000000000004")]
    assert fired(price_rule(threshold=Decimal("1e-8")), [9.9e-9, 1e-8]) == [(1, "0.00000001")]


def test_a_crossing_within_one_batch_of_the_feed_is_not_missed() -> None:
    one = evaluator(price_rule())
    result = one.of_records([tick(0, 99), tick(1, 105), tick(2, 98)], NOW)
    assert [(firing.value, firing.at_ms) for firing in result.firings] == [("105", T0 + TICK)]
    assert result.states["r1"] == RuleState(None, T0 + TICK, ())


@pytest.mark.parametrize(
    ("direction", "prices", "expected"),
    [
        (Direction.ABOVE, [100, 95.1, 100, 94.9, 100], [0, 4]),
        (Direction.ABOVE, [100, 95, 100], [0]),  # the level itself does not end it
        (Direction.BELOW, [100, 104.9, 100, 105.1, 100], [0, 4]),
    ],
)
def test_it_fires_again_only_after_the_value_has_passed_the_clear_level(direction: Direction, prices: list[float], expected: list[int]) -> None:
    rule = price_rule(direction=direction, hysteresis_pct=Decimal(5))
    assert [number for number, _ in fired(rule, prices)] == expected


def test_in_the_cool_down_it_does_not_fire_and_at_its_end_it_does_if_the_condition_holds() -> None:
    rule = price_rule(cool_down_s=240)
    assert fired(rule, [100, 99, 101, 102, 103, 104]) == [(0, "100"), (4, "103")]
    assert fired(rule, [100, 99, 101, 99, 99, 99]) == [(0, "100")]


def test_a_record_counts_once_and_only_after_the_rule() -> None:
    one = evaluator(price_rule(created_ms=T0 + TICK))
    records = [tick(0, 200), tick(1, 200), tick(2, 200), tick(2, 200), tick(1, 5), tick(3, 200)]
    assert [firing.at_ms for firing in run(one, records)] == [T0 + 2 * TICK]


@given(prices=st.lists(st.sampled_from([90.0, 96.0, 100.0, 104.0, 110.0]), min_size=1, max_size=40), cut=st.integers(0, 40), stale_seen=st.booleans())
def test_a_restart_at_any_tick_changes_no_firing(prices: list[float], cut: int, stale_seen: bool) -> None:
    """The feed reads old records again; only changes were stored, so that the stored progress may be far behind."""
    rule = price_rule(hysteresis_pct=Decimal(5), cool_down_s=180)
    records = [tick(number, price) for number, price in enumerate(prices)]
    whole = run(evaluator(rule), records)
    first, firings = evaluator(rule), []
    states: dict[str, RuleState] = {}
    seen: dict[str, int] = {}
    for record in records[:cut]:
        result = first.of_records([record], NOW)
        first.accept(result)
        firings += result.firings
        if result.must_be_stored or not stale_seen:
            states |= result.states
            seen |= result.seen
    firings += run(evaluator(rule, states=states, seen=seen), records)
    assert firings == whole


def test_an_evaluation_that_was_not_stored_can_be_repeated() -> None:
    one = evaluator(price_rule())
    first = one.of_records([tick(0, 100)], NOW)
    assert one.of_records([tick(0, 100)], NOW) == first
    one.accept(first)
    assert one.of_records([tick(0, 100)], NOW) == Evaluation()


def test_dollar_stablecoins_count_as_dollars_and_other_currencies_do_not() -> None:
    rule = price_rule()
    assert run(evaluator(rule), [tick(0, 200, quote_currency="EUR")]) == []
    assert len(run(evaluator(rule), [tick(0, 200, quote_currency="USDT")])) == 1
    assert run(evaluator(rule, dollars_equal=False), [tick(0, 200, quote_currency="USDT")]) == []


def test_a_change_is_from_the_price_a_window_ago_in_the_same_currency() -> None:
    asked = []

    def reference(*call: Any) -> float | None:
        asked.append(call)
        return {("bitcoin", "USD", T0): 50_000.0}.get(call)

    rule = price_rule(kind=Kind.CHANGE, threshold=Decimal("1.5"), window_s=300)
    firings = run(evaluator(rule, reference=reference), [tick(4, 60_000.0), tick(5, 50_750.0), tick(6, 60_000.0)])
    assert asked[1] == ("bitcoin", "USD", T0)
    assert [(firing.value, firing.at_ms) for firing in firings] == [("1.5", T0 + 5 * TICK)]


def test_extreme_numbers_of_a_record_end_no_evaluation() -> None:
    rule = price_rule(kind=Kind.CHANGE, threshold=Decimal(10), window_s=300)
    (firing,) = run(evaluator(rule, reference=lambda *_: 5e-324), [tick(5, 1.7e308)])
    assert len(firing.value) < 50
    (firing,) = run(evaluator(price_rule(threshold=Decimal(1))), [tick(0, True)])
    assert firing.value == "1"


def test_the_change_of_an_hour_a_day_and_a_week_is_that_of_the_market_page() -> None:
    rules = [price_rule(rule_id=f"r{window}", kind=Kind.CHANGE, threshold=Decimal(5), window_s=window) for window in (3_600, 86_400, 604_800)]
    record = tick(0, change_1h_pct=4.99, change_24h_pct=5.0, change_7d_pct=None)
    assert [(firing.rule.rule_id, firing.value) for firing in run(evaluator(*rules), [record])] == [("r86400", "5")]


def test_providers_disagree() -> None:
    rule = price_rule(kind=Kind.DISAGREEMENT, subject=ALL, threshold=Decimal(50))
    firings = run(evaluator(rule), [tick(0, spread_bps=None), tick(1, spread_bps=49.9), tick(2, spread_bps=62.5)])
    assert [(firing.subject, firing.value) for firing in firings] == [("bitcoin", "62.5")]


def test_missing_ticks_are_counted_between_records_of_this_process() -> None:
    rule = price_rule(kind=Kind.GAP, threshold=Decimal(2))
    records = [tick(0), tick(2), tick(5), tick(6), tick(10)]
    assert [(firing.value, (firing.at_ms - T0) // TICK) for firing in run(evaluator(rule), records)] == [("2", 5), ("3", 10)]
    # After a restart, stored progress is no neighbour of the first record that is read.
    assert run(evaluator(rule, seen={"bitcoin": T0}), [tick(50), tick(51)]) == []


def test_ages_count_by_the_clock_and_without_a_price_from_the_start() -> None:
    rule = price_rule(kind=Kind.STALENESS, subject=ALL, threshold=Decimal(120))
    one = evaluator(rule)
    assert one.watches_time

    def at(second: float, **newest_s: int) -> tuple[list[tuple[str, str, int]], tuple[str, ...]]:
        newest = {name: T0 + newest * 1000 for name, newest in newest_s.items()}
        result = one.of_ages(newest, ["bitcoin", "ripple"], T0, T0 + round(second * 1000))
        one.accept(result)
        return [(firing.subject, firing.value, firing.others) for firing in result.firings], one.states["r1"].holds

    assert at(119.9, bitcoin=-3_600) == ([], ())  # prices of before the start have had no time to be replaced
    assert at(120, bitcoin=1, ripple=1) == ([], ())
    assert at(120.5, bitcoin=0, ripple=1) == ([("bitcoin", "120.5", 0)], ("bitcoin",))
    assert at(121, bitcoin=0) == ([], ("bitcoin", "ripple"))
    assert at(122, bitcoin=121, ripple=121) == ([], ())
    assert one.states["r1"].active_since_ms is None
    assert one.states["r1"].last_fired_ms == T0 + 120_500


def test_component_states() -> None:
    rule = price_rule(kind=Kind.COMPONENT, subject=ALL, states=(ComponentState.FAILED, ComponentState.DEGRADED), cool_down_s=60)
    one = evaluator(rule)

    def seen(at_s: int, **states: str) -> list[tuple[str, str]]:
        result = one.of_components([a_component(name=name, state=ComponentState(state)) for name, state in states.items()], T0 + at_s * 1000)
        one.accept(result)
        return [(firing.subject, firing.value) for firing in result.firings]

    assert seen(0, lake="RUNNING", kafka="RUNNING") == []
    assert seen(1, lake="DEGRADED", kafka="RUNNING") == [("lake", "DEGRADED")]
    assert seen(2, lake="DEGRADED", kafka="FAILED") == []
    assert seen(3, lake="RUNNING", kafka="RUNNING") == []
    assert seen(4, lake="FAILED", kafka="RUNNING") == []  # cools down
    assert seen(61, lake="FAILED", kafka="RUNNING") == [("lake", "FAILED")]


def test_ticks_of_a_clock_that_was_far_ahead_stop_nothing() -> None:
    one = evaluator(price_rule())
    ahead = a_record(tick_ts=NOW + 30 * 86_400_000, price=200.0)
    assert len(run(one, [ahead, tick(1, 99), tick(2, 100)])) == 2
