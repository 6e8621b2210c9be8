"""A broker that was killed and has lost the markers of a transaction: its producer ends the transaction, so that nothing waits behind it for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka.transactions import Fenced, OwnedProducer, Record
from cryptoviz.settings import load_settings
from tests.support.kafka_broker import Broker, clients

KAFKA = load_settings().kafka
ID = "collector"


def no_event(what: str, name: str, act: Callable[[], Any]) -> Any:
    del what, name
    return act()


def producer(broker: Broker, step: Callable[..., Any] = no_event) -> OwnedProducer:
    return OwnedProducer(KAFKA, ID, KAFKA.stream_topic, clients(broker, step))


def record(value: bytes) -> list[Record]:
    return [Record(KAFKA.stream_topic, b"bitcoin", value)]


def test_a_successor_ends_a_transaction_that_is_held_open() -> None:
    broker = Broker()
    first = producer(broker)
    first.connect()
    first.commit(record(b"1"), 1, "tick-1")
    broker.hold(ID)
    successor = producer(broker)
    assert successor.connect().identity == "tick-1"
    successor.commit(record(b"2"), 2, "tick-2")
    assert broker.committed == [b"1", b"2"]
    assert not broker.held


def test_a_producer_whose_unacknowledged_transaction_is_held_open_continues_after_the_last_one() -> None:
    broker = Broker()
    ours = producer(broker)
    ours.connect()
    ours.commit(record(b"1"), 1, "tick-1")
    ours.commit(record(b"2"), 2, "tick-2")
    broker.hold(ID)
    with pytest.raises(EngineUnavailable):
        ours.commit(record(b"3"), 3, "tick-3")
    assert ours.connect().identity == "tick-2"
    ours.commit(record(b"3"), 3, "tick-3")
    assert broker.committed == [b"1", b"2", b"3"]


def test_an_acknowledged_transaction_that_is_lost_with_its_markers_is_published_again() -> None:
    broker = Broker()
    ours = producer(broker)
    ours.connect()
    ours.commit(record(b"1"), 1, "tick-1")
    before = dict(broker.progress)
    ours.commit(record(b"2"), 2, "tick-2")
    # Acknowledged once the coordinator had decided; the partitions never learned of it.
    broker.committed.remove(b"2")
    broker.progress = before
    broker.hold(ID)
    assert ours.connect().identity == "tick-2"
    assert broker.committed == [b"1", b"2"]
    ours.commit(record(b"3"), 3, "tick-3")
    assert broker.committed == [b"1", b"2", b"3"]


def test_a_claim_that_is_lost_with_its_markers_is_not_taken_for_a_takeover() -> None:
    """The broker was killed right after the claim was acknowledged: the progress names the predecessor again."""
    broker = Broker()
    predecessor = producer(broker)
    predecessor.connect()
    predecessor.commit(record(b"1"), 1, "tick-1")
    ours, before = producer(broker), dict(broker.progress)
    ours.connect()
    broker.progress = before
    broker.hold(ID)
    with pytest.raises(EngineUnavailable):
        ours.commit(record(b"2"), 2, "tick-2")
    assert ours.connect().identity == "tick-1"
    ours.commit(record(b"2"), 2, "tick-2")
    assert broker.committed == [b"1", b"2"]
    with pytest.raises(Fenced):
        predecessor.connect()


def test_a_predecessor_that_claims_the_id_again_after_a_lost_claim_is_a_takeover() -> None:
    broker = Broker()
    predecessor = producer(broker)
    predecessor.connect()
    ours, before = producer(broker), dict(broker.progress)
    ours.connect()
    broker.progress = before
    broker.hold(ID)
    predecessor.connect()
    with pytest.raises(Fenced):
        ours.connect()


@pytest.mark.parametrize(("topic_error", "unsent"), [(KafkaError(KafkaError.LEADER_NOT_AVAILABLE), 0), (None, 1)])
def test_an_abort_that_misses_a_partition_is_repeated(topic_error: KafkaError | None, unsent: int) -> None:
    """Without the abort in each partition the next commit would make what is open there visible."""
    broker = Broker()
    first = producer(broker)
    first.connect()
    first.commit(record(b"1"), 1, "tick-1")
    broker.hold(ID)
    broker.topic_error, broker.unsent = topic_error, unsent
    successor = producer(broker)
    with pytest.raises(EngineUnavailable, match=KAFKA.stream_topic):
        successor.connect()
    assert broker.held
    broker.topic_error, broker.unsent = None, 0
    assert successor.connect().identity == "tick-1"
    assert not broker.held


def test_a_broker_that_does_not_answer_at_all_is_waited_for_and_nothing_is_aborted() -> None:
    broker, steps = Broker(), []
    producer(broker).connect()

    def silent(what: str, name: str, act: Callable[[], Any]) -> Any:
        steps.append(what)
        if what == "read":
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return no_event(what, name, act)

    with pytest.raises(EngineUnavailable):
        producer(broker, silent).connect()
    assert steps == ["init", "read", "read"]
