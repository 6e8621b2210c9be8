"""The evaluator of the dashboard's process: every tick once, through outages of Redis, edits, restarts and a second dashboard."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cryptoviz.alerts.rule import ALL, Kind, Rule
from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import load_settings
from dashboard.alert_state import AlertState
from dashboard.feeds.alert_feed import AlertFeed
from dashboard.shared_state import ControlState, LiveState, Wakeups
from tests.support.alert_fakes import FakeAlertStore
from tests.support.clock import FakeClock
from tests.unit.dashboard.records import NOW_MS, a_component, a_record

SETTINGS = load_settings(collect={"tick_s": 60})
TICK = 60_000
RULE = Rule(rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal(100), created_ms=NOW_MS - 1)


class Dashboard:
    """A process with its own state, on a store that outlives it."""

    def __init__(self, store: FakeAlertStore, clock: FakeClock | None = None) -> None:
        wakeups = Wakeups()
        self.clock = clock or FakeClock(NOW_MS)
        self.live, self.control, self.state = LiveState(wakeups, self.clock.now_ms), ControlState(wakeups), AlertState(wakeups)
        self.queued: list[int] = []
        self.feed = AlertFeed(SETTINGS, store, self.live, self.control, self.state, self.clock, ("webhook",))
        self.feed.when_queued(lambda: self.queued.append(len(store.fired)))

    def read(self, *records: UnifiedRecord) -> list[tuple[str, str]]:
        """Subject and value of the notices after these records."""
        before = self.state.count
        self.live.apply(records)
        self.feed.step()
        return [(firing.subject, firing.value) for firing in self.state.since(before)[1]]


def tick(number: int, price: float, **changes: Any) -> UnifiedRecord:
    return a_record(tick_ts=NOW_MS + number * TICK, price=price, **changes)


def test_a_crossing_within_a_batch_is_stored_queued_and_shown_once() -> None:
    store = FakeAlertStore(RULE)
    one = Dashboard(store)
    assert one.read(tick(0, 99), tick(1, 105), tick(2, 98)) == [("bitcoin", "105")]
    assert one.read(tick(2, 98), tick(3, 99)) == []
    assert [firing.deliveries for firing in store.fired] == [{"webhook": "waiting"}]
    assert one.queued == [1]
    view = one.state.view()
    assert (view.problem, view.values, view.history) == (None, {"r1": "99"}, tuple(store.fired))


def test_a_restart_reads_the_past_again_and_fires_nothing_twice_and_misses_nothing() -> None:
    store = FakeAlertStore(RULE)
    assert len(Dashboard(store).read(tick(0, 99), tick(1, 105))) == 1
    again = Dashboard(store)
    assert again.read(tick(0, 99), tick(1, 105)) == []
    # A crossing while no dashboard ran.
    assert again.read(tick(2, 99), tick(3, 120), tick(4, 90)) == [("bitcoin", "120")]


def test_ticks_wait_while_redis_is_away() -> None:
    store = FakeAlertStore(RULE)
    one = Dashboard(store)
    assert one.read(tick(0, 99)) == []
    store.away = True
    assert one.read(tick(1, 105)) == []
    assert one.read(tick(2, 99), tick(3, 99)) == []
    assert one.state.view().problem == "Redis does not answer"
    store.away = False
    assert one.read() == [("bitcoin", "105")]
    assert one.state.view().problem is None


def test_redis_may_be_away_at_the_start() -> None:
    store = FakeAlertStore(RULE)
    store.away = True
    one = Dashboard(store)
    assert one.read(tick(0, 105)) == []
    store.away = False
    assert one.read() == [("bitcoin", "105")]


def test_an_edit_during_an_evaluation_counts() -> None:
    store = FakeAlertStore(RULE)
    one = Dashboard(store)
    one.read(tick(0, 99))
    store.edit(replace(RULE, threshold=Decimal(200)))  # by a command; not read yet
    assert one.read(tick(1, 150)) == []
    assert one.read(tick(2, 250)) == [("bitcoin", "250")]


def test_a_rule_of_a_command_is_read_within_five_seconds_and_of_the_page_at_once() -> None:
    store = FakeAlertStore()
    one = Dashboard(store)
    assert one.read(tick(0, 150)) == []
    store.edit(RULE)
    one.feed.edited()
    one.feed.step()
    assert one.read(tick(1, 150)) == [("bitcoin", "150")]
    store.edit(replace(RULE, rule_id="r2"))
    one.clock.advance(5)
    one.feed.step()
    assert {rule.rule_id for rule in one.state.view().rules} == {"r1", "r2"}


def test_of_two_dashboards_the_later_one_evaluates() -> None:
    store = FakeAlertStore(RULE)
    first = Dashboard(store)
    first.read(tick(0, 99))
    second = Dashboard(store)
    assert second.read(tick(0, 99), tick(1, 105)) == [("bitcoin", "105")]
    assert first.read(tick(1, 105)) == []
    assert len(store.fired) == 1
    assert not first.state.view().evaluates
    assert second.state.view().evaluates


def test_a_muted_rule_is_in_the_history_and_gives_no_notice() -> None:
    store = FakeAlertStore(replace(RULE, muted=True))
    assert Dashboard(store).read(tick(0, 105)) == []
    assert len(store.fired) == 1


def test_a_change_is_computed_from_the_ticks_that_the_page_keeps() -> None:
    rule = replace(RULE, kind=Kind.CHANGE, threshold=Decimal(10), window_s=300)
    one = Dashboard(FakeAlertStore(rule))
    assert one.read(tick(0, 100.0), *(tick(number, 101.0) for number in range(1, 5))) == []
    assert one.read(tick(5, 110.0)) == [("bitcoin", "10")]
    assert Dashboard(FakeAlertStore(rule)).read(tick(0, 100.0), tick(8, 150.0)) == []  # no tick near the window's begin


def test_states_of_components_between_two_steps_are_all_evaluated() -> None:
    rule = replace(RULE, kind=Kind.COMPONENT, subject=ALL, states=(ComponentState.FAILED,))
    one = Dashboard(FakeAlertStore(rule))
    one.read()
    for state in (ComponentState.FAILED, ComponentState.RUNNING):
        one.control.set_status(status(state))
    assert one.read() == [("lake", "FAILED")]
    assert one.state.view().states["r1"].active_since_ms is None


def test_an_age_fires_once_without_any_record() -> None:
    rule = replace(RULE, kind=Kind.STALENESS, threshold=Decimal(120))
    one = Dashboard(FakeAlertStore(rule))
    assert one.read(tick(0, 50.0)) == []
    one.clock.advance(119)
    assert one.read() == []
    one.clock.advance(1)
    assert one.read() == [("bitcoin", "120")]
    one.clock.advance(1)
    assert one.read() == []
    assert one.feed.step() == 1.0


@pytest.mark.parametrize("rules", [(), (RULE,)], ids=["without rules", "with a price rule"])
def test_the_thread_sleeps_while_nothing_happens(rules: tuple[Rule, ...]) -> None:
    assert Dashboard(FakeAlertStore(*rules)).feed.step() == 5.0


def test_the_thread_ends_and_gives_up_its_claim() -> None:
    store = FakeAlertStore(RULE)
    one = Dashboard(store)
    one.feed.start()
    one.feed.stop()
    assert store.holder == ""


def status(state: ComponentState) -> PipelineStatus:
    return PipelineStatus(state, "", (a_component(state=state),))


def test_a_fault_of_an_evaluation_is_shown_and_ends_no_thread() -> None:
    odd = replace(RULE, rule_id="r2", threshold=Decimal("NaN"))
    store = FakeAlertStore(RULE, odd)
    one = Dashboard(store)
    assert one.read(tick(0, 99)) == []
    assert "InvalidOperation" in str(one.state.view().problem)
    del store.rules_by_id["r2"]
    store.edit()
    one.feed.edited()
    assert one.read(tick(1, 105)) == [("bitcoin", "105")]
    assert one.state.view().problem is None
