"""The state machine as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.reconcile.state import advance, backoff_ms
from control.reconcile.state_types import (
    Action,
    Adopted,
    Context,
    Event,
    Lost,
    Observed,
    Policy,
    Probed,
    Reconcile,
    Restart,
    Retry,
    Started,
    StartFailed,
    Stopped,
)
from cryptoviz.components import ComponentState as S
from cryptoviz.components import DesiredState, Probe, Trigger

NOW = 1_000_000
POLICY = Policy(grace_ms=15_000)
WANTED = Context(DesiredState.RUNNING, NOW, POLICY, jitter=1.0)
UNWANTED = Context(DesiredState.STOPPED, NOW, POLICY, jitter=1.0)
TO_DELIVER = replace(WANTED, policy=Policy(grace_ms=15_000, must_deliver=True))
TO_DELIVER_WAITING = replace(TO_DELIVER, waits_for="kafka (STOPPED)")
WAITING = replace(WANTED, waits_for="kafka (STOPPED)")
HELD = replace(UNWANTED, held_by="lake")
GOOD = Probe(running=True, healthy=True, message="fine", metrics={"rows": 1.0}, pid=5, url="http://x")
STALE = Probe(running=True, healthy=False, message="no poll for 7 s")
POORER = Probe(running=True, healthy=True, message="shape changed: lost market_cap", degraded=True)
NEVER = Probe(running=True, healthy=True, message="cannot be reached: no such host", delivered=False)
NEVER_STALE = Probe(running=True, healthy=False, message="cannot be reached: no such host", delivered=False)
NEVER_HELD = Probe(running=True, healthy=True, message="asked to wait (auth)", degraded=True, delivered=False)
REMADE = Probe(running=False, healthy=False)


def seen(state: S, trigger: Trigger = Trigger.STARTED, **more: Any) -> Observed:
    return replace(Observed(state, trigger, since_ms=NOW - 60_000), **more)


TABLE: list[tuple[str, Observed, Event, Context, S, Trigger, Action]] = [
    # from STOPPED
    ("wanted and ready: starts", seen(S.STOPPED), Reconcile(), WANTED, S.STARTING, Trigger.OPERATOR, Action.START),
    ("wanted, engine missing: waits", seen(S.STOPPED), Reconcile(), WAITING, S.STARTING, Trigger.DEPENDENCY, Action.PREPARE),
    ("unwanted: stays", seen(S.STOPPED, Trigger.OPERATOR), Reconcile(), UNWANTED, S.STOPPED, Trigger.OPERATOR, Action.NONE),
    ("found running: adopted, not restarted", seen(S.STOPPED), Adopted(GOOD), WANTED, S.RUNNING, Trigger.PROBE, Action.NONE),
    ("found not started: started by the next look", seen(S.STOPPED), Adopted(REMADE), WANTED, S.STOPPED, Trigger.STARTED, Action.NONE),
    ("found but unwanted and idle: ended", seen(S.STOPPED), Adopted(REMADE), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    ("a late probe of what has ended", seen(S.STOPPED), Probed(GOOD), WANTED, S.STOPPED, Trigger.STARTED, Action.NONE),
    # from STARTING
    ("engine came", seen(S.STARTING, Trigger.DEPENDENCY), Reconcile(), WANTED, S.STARTING, Trigger.OPERATOR, Action.START),
    ("engine still missing", seen(S.STARTING, Trigger.DEPENDENCY), Reconcile(), WAITING, S.STARTING, Trigger.DEPENDENCY, Action.NONE),
    ("start under way: no second one", seen(S.STARTING, Trigger.OPERATOR), Reconcile(), WANTED, S.STARTING, Trigger.OPERATOR, Action.NONE),
    ("start returned", seen(S.STARTING), Started(), WANTED, S.RUNNING, Trigger.STARTED, Action.NONE),
    ("start may work later", seen(S.STARTING), StartFailed("no route", False), WANTED, S.BACKOFF, Trigger.START_FAILED, Action.REPLACE),
    ("start never works", seen(S.STARTING), StartFailed("no Java", True), WANTED, S.FAILED, Trigger.START_FAILED, Action.REPLACE),
    ("unwanted meanwhile", seen(S.STARTING), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    # from STARTING, started, nothing delivered yet
    ("begun is not enough", seen(S.STARTING, Trigger.OPERATOR), Started(), TO_DELIVER, S.STARTING, Trigger.STARTED, Action.NONE),
    ("nothing yet", seen(S.STARTING), Probed(NEVER), TO_DELIVER, S.STARTING, Trigger.STARTED, Action.NONE),
    ("the first delivery", seen(S.STARTING), Probed(GOOD), TO_DELIVER, S.RUNNING, Trigger.PROBE, Action.NONE),
    ("delivered, but poorer", seen(S.STARTING), Probed(POORER), TO_DELIVER, S.DEGRADED, Trigger.PROBE, Action.NONE),
    ("kept from it on purpose", seen(S.STARTING), Probed(NEVER_HELD), TO_DELIVER, S.DEGRADED, Trigger.PROBE, Action.NONE),
    ("the hold is over", seen(S.DEGRADED, Trigger.PROBE), Probed(NEVER), TO_DELIVER, S.STARTING, Trigger.STARTED, Action.NONE),
    (
        "nothing, not healthy",
        seen(S.STARTING, unhealthy_since_ms=NOW - 14_999),
        Probed(NEVER_STALE),
        TO_DELIVER,
        S.STARTING,
        Trigger.STARTED,
        Action.NONE,
    ),
    ("for too long", seen(S.STARTING, unhealthy_since_ms=NOW - 15_000), Probed(NEVER_STALE), TO_DELIVER, S.BACKOFF, Trigger.STALE, Action.REPLACE),
    (
        "again: twice as long",
        seen(S.STARTING, unhealthy_since_ms=NOW - 29_999, failures=1),
        Probed(NEVER_STALE),
        TO_DELIVER,
        S.STARTING,
        Trigger.STARTED,
        Action.NONE,
    ),
    (
        "at most sixteen times",
        seen(S.STARTING, unhealthy_since_ms=NOW - 240_000, failures=99),
        Probed(NEVER_STALE),
        TO_DELIVER,
        S.BACKOFF,
        Trigger.STALE,
        Action.REPLACE,
    ),
    ("died before", seen(S.STARTING), Lost("its actor is gone"), TO_DELIVER, S.BACKOFF, Trigger.DIED, Action.NONE),
    ("restarted before", seen(S.STARTING), Probed(REMADE), TO_DELIVER, S.BACKOFF, Trigger.DIED, Action.NONE),
    ("engine stopped under it", seen(S.STARTING), Reconcile(), TO_DELIVER_WAITING, S.STARTING, Trigger.DEPENDENCY, Action.NONE),
    ("engine stopped, probed", seen(S.STARTING), Probed(NEVER_STALE), TO_DELIVER_WAITING, S.STARTING, Trigger.DEPENDENCY, Action.NONE),
    ("not begun: a late probe", seen(S.STARTING, Trigger.OPERATOR), Probed(GOOD), TO_DELIVER, S.STARTING, Trigger.OPERATOR, Action.NONE),
    ("adopted, nothing yet", seen(S.STOPPED), Adopted(NEVER), TO_DELIVER, S.STARTING, Trigger.STARTED, Action.NONE),
    ("adopted, delivered", seen(S.STOPPED), Adopted(GOOD), TO_DELIVER, S.RUNNING, Trigger.PROBE, Action.NONE),
    ("an engine proves itself by its start", seen(S.STARTING), Probed(NEVER), WANTED, S.RUNNING, Trigger.PROBE, Action.NONE),
    # from RUNNING
    ("healthy", seen(S.RUNNING), Probed(GOOD), WANTED, S.RUNNING, Trigger.STARTED, Action.NONE),
    ("stale", seen(S.RUNNING), Probed(STALE), WANTED, S.DEGRADED, Trigger.STALE, Action.NONE),
    ("restarted by Ray", seen(S.RUNNING), Probed(REMADE), WANTED, S.BACKOFF, Trigger.DIED, Action.NONE),
    ("gone", seen(S.RUNNING), Lost("its actor is gone"), WANTED, S.BACKOFF, Trigger.DIED, Action.NONE),
    ("engine stopped under it", seen(S.RUNNING), Reconcile(), WAITING, S.DEGRADED, Trigger.DEPENDENCY, Action.NONE),
    ("engine stopped, itself well", seen(S.RUNNING), Probed(GOOD), WAITING, S.DEGRADED, Trigger.DEPENDENCY, Action.NONE),
    ("unwanted", seen(S.RUNNING), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    ("unwanted, still used", seen(S.RUNNING), Reconcile(), HELD, S.STOPPING, Trigger.DEPENDENCY, Action.NONE),
    ("restart", seen(S.RUNNING), Restart(), WANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    # from DEGRADED
    ("recovered", seen(S.DEGRADED, Trigger.STALE), Probed(GOOD), WANTED, S.RUNNING, Trigger.PROBE, Action.NONE),
    ("stale within its grace", seen(S.DEGRADED, unhealthy_since_ms=NOW - 14_999), Probed(STALE), WANTED, S.DEGRADED, Trigger.STALE, Action.NONE),
    ("fresh but poorer", seen(S.RUNNING, healthy_since_ms=NOW - 99_000), Probed(POORER), WANTED, S.DEGRADED, Trigger.PROBE, Action.NONE),
    ("complete again", seen(S.DEGRADED, Trigger.PROBE), Probed(GOOD), WANTED, S.RUNNING, Trigger.PROBE, Action.NONE),
    ("stale too long", seen(S.DEGRADED, unhealthy_since_ms=NOW - 15_000), Probed(STALE), WANTED, S.BACKOFF, Trigger.STALE, Action.REPLACE),
    (
        "stale again, after a failure: twice as long",
        seen(S.DEGRADED, unhealthy_since_ms=NOW - 29_999, failures=1),
        Probed(STALE),
        WANTED,
        S.DEGRADED,
        Trigger.STALE,
        Action.NONE,
    ),
    (
        "stale again, for twice as long",
        seen(S.DEGRADED, unhealthy_since_ms=NOW - 30_000, failures=1),
        Probed(STALE),
        WANTED,
        S.BACKOFF,
        Trigger.STALE,
        Action.REPLACE,
    ),
    (
        "stale again and again: at most sixteen times as long",
        seen(S.DEGRADED, unhealthy_since_ms=NOW - 240_000, failures=99),
        Probed(STALE),
        WANTED,
        S.BACKOFF,
        Trigger.STALE,
        Action.REPLACE,
    ),
    ("stale, but its engine is down", seen(S.DEGRADED, unhealthy_since_ms=1), Probed(STALE), WAITING, S.DEGRADED, Trigger.DEPENDENCY, Action.NONE),
    # from BACKOFF
    ("not yet", seen(S.BACKOFF, Trigger.DIED, retry_at_ms=NOW + 1), Reconcile(), WANTED, S.BACKOFF, Trigger.DIED, Action.NONE),
    ("over", seen(S.BACKOFF, retry_at_ms=NOW), Reconcile(), WANTED, S.STARTING, Trigger.BACKOFF_OVER, Action.START),
    ("over, engine missing", seen(S.BACKOFF, retry_at_ms=NOW), Reconcile(), WAITING, S.STARTING, Trigger.DEPENDENCY, Action.PREPARE),
    ("unwanted while waiting", seen(S.BACKOFF, retry_at_ms=NOW + 1), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    # from FAILED
    ("stays until somebody acts", seen(S.FAILED, Trigger.START_FAILED), Reconcile(), WANTED, S.FAILED, Trigger.START_FAILED, Action.NONE),
    ("operator starts it", seen(S.FAILED), Retry(), WANTED, S.STOPPED, Trigger.OPERATOR, Action.NONE),
    ("operator stops it", seen(S.FAILED), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    # from STOPPING
    ("gone as asked", seen(S.STOPPING), Stopped(), UNWANTED, S.STOPPED, Trigger.OPERATOR, Action.NONE),
    ("stop under way: no second one", seen(S.STOPPING, Trigger.OPERATOR), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.NONE),
    ("its users have ended", seen(S.STOPPING, Trigger.DEPENDENCY), Reconcile(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.STOP),
    ("wanted again before it began", seen(S.STOPPING, Trigger.DEPENDENCY), Reconcile(), WANTED, S.RUNNING, Trigger.OPERATOR, Action.NONE),
    ("wanted again, too late", seen(S.STOPPING, Trigger.OPERATOR), Reconcile(), WANTED, S.STOPPING, Trigger.OPERATOR, Action.NONE),
    ("a start that ends late", seen(S.STOPPING, Trigger.OPERATOR), Started(), UNWANTED, S.STOPPING, Trigger.OPERATOR, Action.NONE),
]


@pytest.mark.parametrize(("before", "event", "context", "state", "trigger", "action"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_transition(before: Observed, event: Event, context: Context, state: S, trigger: Trigger, action: Action) -> None:
    after, done = advance(before, event, context)
    assert (after.state, after.trigger, done) == (state, trigger, action)
    assert after.since_ms == (before.since_ms if state is before.state else NOW)


def test_every_state_is_left_and_reached_in_the_table() -> None:
    assert {row[1].state for row in TABLE} == set(S)
    assert {row[4] for row in TABLE} == set(S)


def test_what_never_delivered_says_why() -> None:
    begun, _ = advance(seen(S.STARTING, Trigger.OPERATOR), Started(), TO_DELIVER)
    assert begun.message == "nothing delivered yet"
    after, _ = advance(begun, Probed(NEVER), TO_DELIVER)
    assert after.message == "cannot be reached: no such host"
    # Healthy for an hour without a delivery does not count as stable.
    later, _ = advance(replace(after, failures=3), Probed(NEVER), replace(TO_DELIVER, now_ms=NOW + 3_600_000))
    assert (later.state, later.failures, later.since_ms) == (S.STARTING, 3, begun.since_ms)


@given(events=st.lists(st.sampled_from([Reconcile(), Started(), Lost("x"), Probed(NEVER), Probed(NEVER_STALE), Probed(NEVER_HELD), Adopted(NEVER)])))
def test_nothing_but_a_delivery_makes_it_running(events: list[Event]) -> None:
    now = Observed()
    for event in events:
        now, _ = advance(now, event, TO_DELIVER)
        assert now.state is not S.RUNNING


def test_restarts_count_starts_after_the_first() -> None:
    after, _ = advance(seen(S.BACKOFF, retry_at_ms=NOW, restarts=2), Reconcile(), WANTED)
    assert after.restarts == 3
    after, _ = advance(seen(S.RUNNING, restarts=2, failures=4), Restart(), WANTED)
    assert (after.restarts, after.failures) == (3, 0)


def test_the_message_says_when_it_starts_again() -> None:
    after, _ = advance(seen(S.RUNNING, failures=2), Lost("its process ended"), WANTED)
    assert after.message == "its process ended; restart in 2.0 s"
    assert after.retry_at_ms == NOW + 2000


def test_facts_of_an_incarnation_end_with_it() -> None:
    running, _ = advance(seen(S.RUNNING), Probed(GOOD), WANTED)
    assert (running.metrics, running.pid, running.url, running.message) == ({"rows": 1.0}, 5, "http://x", "fine")
    dead, _ = advance(running, Lost("gone"), WANTED)
    assert (dead.metrics, dead.pid, dead.url) == ({}, None, None)


def test_failures_are_forgotten_once_stable() -> None:
    shaky = seen(S.RUNNING, failures=3, healthy_since_ms=NOW - 19_999)
    assert advance(shaky, Probed(GOOD), WANTED)[0].failures == 3
    stable = replace(shaky, healthy_since_ms=NOW - 20_000)
    assert advance(stable, Probed(GOOD), WANTED)[0].failures == 0


def test_the_grace_period_restarts_when_the_engine_returns() -> None:
    stale = seen(S.DEGRADED, Trigger.STALE, unhealthy_since_ms=NOW - 10_000)
    waiting, _ = advance(stale, Probed(STALE), WAITING)
    later = replace(WANTED, now_ms=NOW + 10_000)
    assert advance(waiting, Probed(STALE), later)[1] is Action.NONE


@given(failures=st.integers(1, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_is_capped_and_jittered(failures: int, jitter: float) -> None:
    wait = backoff_ms(failures, POLICY, jitter)
    full = 500 * 2 ** min(failures - 1, 6)
    assert min(full, 30_000) / 2 <= wait <= min(full, 30_000)


def test_the_first_retry_is_quick() -> None:
    assert [backoff_ms(failures, POLICY, 1.0) for failures in range(1, 9)] == [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]


_EVENTS = st.sampled_from(
    [
        Reconcile(),
        Started(),
        StartFailed("x", True),
        StartFailed("x", False),
        Stopped(),
        Lost("x"),
        Restart(),
        Retry(),
        Probed(GOOD),
        Probed(STALE),
        Adopted(GOOD),
    ]
)


@given(events=st.lists(st.tuples(_EVENTS, st.sampled_from([WANTED, UNWANTED, WAITING, HELD])), max_size=40))
def test_any_order_of_events_ends_where_it_is_wanted(events: list[tuple[Event, Context]]) -> None:
    now = Observed()
    for event, context in events:
        now, _ = advance(now, event, context)
    # After any history: executing the actions and two more reconcile events ends in STOPPED.
    for event in (Reconcile(), Stopped(), Reconcile(), Stopped()):
        now, _ = advance(now, event, UNWANTED)
    assert now.state is S.STOPPED
