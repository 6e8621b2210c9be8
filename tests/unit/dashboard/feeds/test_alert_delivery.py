"""Delivery in order: repeated with back-off, given up when old, only by the evaluator, without a loss over a restart."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cryptoviz.alerts.evaluate import Evaluation, Firing, firing_of
from cryptoviz.alerts.rule import Kind, Rule
from cryptoviz.errors import DeliveryFailed, DeliveryRefused
from dashboard.feeds.alert_delivery import AlertDelivery
from tests.support.alert_fakes import FakeAlertStore
from tests.support.clock import FakeClock
from tests.unit.dashboard.records import NOW_MS

RULE = Rule(rule_id="r1", kind=Kind.PRICE, subject="bitcoin", threshold=Decimal(100))


class Receiver:
    """A channel that raises what `fails` says, call by call, and keeps what it took."""

    name = "webhook"

    def __init__(self, *fails: Exception | None) -> None:
        self.fails = list(fails)
        self.took: list[int] = []

    def send(self, firing: Firing) -> None:
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error
        self.took.append(firing.at_ms - NOW_MS)


@pytest.fixture
def store() -> FakeAlertStore:
    made = FakeAlertStore(RULE)
    made.claim("me", take_over=True)
    made.commit("me", 0, Evaluation(firings=[firing_of(RULE, "bitcoin", "100", NOW_MS + number) for number in range(3)]), ("webhook",))
    return made


def delivery(store: FakeAlertStore, receiver: Receiver, clock: FakeClock | None = None, *, holds: bool = True) -> AlertDelivery:
    return AlertDelivery(store, receiver, lambda: holds, clock or FakeClock(NOW_MS + 10))


def test_what_waits_is_sent_in_order_and_once(store: FakeAlertStore) -> None:
    receiver = Receiver()
    one = delivery(store, receiver)
    assert one.step() == one.step() == 30.0
    assert receiver.took == [0, 1, 2]
    assert set(store.results.values()) == {"sent"}


def test_a_failed_message_is_repeated_with_back_off_and_keeps_its_place(store: FakeAlertStore) -> None:
    receiver = Receiver(*[DeliveryFailed("no answer", channel="webhook")] * 8)
    one = delivery(store, receiver)
    assert [one.step() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert store.results["webhook", store.fired[0].firing_id] == "waiting: no answer"
    assert one.step() == 30.0
    assert receiver.took == [0, 1, 2]


def test_a_refused_message_does_not_hold_up_the_next(store: FakeAlertStore) -> None:
    receiver = Receiver(DeliveryRefused("answered 404", channel="webhook"))
    assert delivery(store, receiver).step() == 30.0
    assert receiver.took == [1, 2]
    assert store.results["webhook", store.fired[0].firing_id] == "refused: answered 404"


def test_a_message_of_more_than_an_hour_is_tried_once_more_and_then_given_up(store: FakeAlertStore) -> None:
    receiver = Receiver(DeliveryFailed("no answer", channel="webhook"))
    assert delivery(store, receiver, FakeClock(NOW_MS + 3_600_001)).step() == 30.0
    assert receiver.took == [1, 2]
    assert store.results["webhook", store.fired[0].firing_id] == "given up: no answer"


def test_only_the_evaluator_sends_and_its_successor_continues(store: FakeAlertStore) -> None:
    receiver = Receiver(None, DeliveryFailed("no answer", channel="webhook"))
    assert delivery(store, receiver, holds=False).step() == 30.0
    assert receiver.took == []
    delivery(store, receiver).step()
    delivery(store, receiver).step()
    assert receiver.took == [0, 1, 2]


def test_redis_may_be_away(store: FakeAlertStore) -> None:
    receiver = Receiver()
    store.away = True
    one = delivery(store, receiver)
    assert one.step() == 30.0
    store.away = False
    one.step()
    assert receiver.took == [0, 1, 2]


def test_the_thread_ends(store: FakeAlertStore) -> None:
    one = delivery(store, Receiver())
    one.start()
    one.stop(5.0)
    one.stop(5.0)


def test_a_message_that_breaks_its_channel_keeps_no_other_from_being_sent(store: FakeAlertStore) -> None:
    receiver = Receiver(ValueError("Header values may not contain linefeed"))
    assert delivery(store, receiver).step() == 30.0
    assert receiver.took == [1, 2]
    assert store.results["webhook", store.fired[0].firing_id] == "refused: ValueError"
