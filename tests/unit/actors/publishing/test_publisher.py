from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.publishing.publisher import Fenced, Publisher
from actors.publishing.transaction import KafkaTransaction, Message, PublisherState
from tests.support.clock import T0
from tests.support.collection_fakes import Broker, Events, FakeTransport
from tests.support.log_lines import log_lines
from tests.support.waiting import eventually


def transaction(n: int) -> KafkaTransaction:
    return KafkaTransaction(f"tick-{n}", T0 + n * 1000, (Message(b"bitcoin", b"{}\n"), Message(b"ethereum", b"{}\n")))


class Rig:
    def __init__(self, limit: int = 5) -> None:
        self.broker = Broker()
        self.events = Events()
        self.limit = limit
        self.publishers: list[Publisher] = []
        self.publisher = self.new()

    def new(self) -> Publisher:
        transport = FakeTransport(self.broker, Fenced("taken over", transactional_id="x"))
        publisher = Publisher("test", transport, self.limit, self.events)
        self.publishers.append(publisher)
        return publisher

    def committed(self) -> list[str]:
        return [b.identity for b in self.broker.committed]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.broker.gate.set()
    for publisher in rig.publishers:
        publisher.close(60)


def test_transactions_are_committed_and_reported_in_order(rig: Rig):
    rig.publisher.start()
    for n in range(3):
        rig.publisher.offer(transaction(n))
    assert rig.publisher.close(60)
    assert rig.committed() == ["tick-0", "tick-1", "tick-2"]
    assert rig.events.calls == [("connected", None), *(("published", f"tick-{n}") for n in range(3))]
    stats = rig.publisher.stats
    assert (stats.state, stats.transactions_total, stats.records_total, stats.queue) == (PublisherState.CLOSED, 3, 6, 0)


@pytest.mark.parametrize("outcome", ["fail", "lost_ack"])
def test_a_transaction_with_unknown_outcome_is_published_exactly_once(rig: Rig, outcome: str):
    rig.broker.script.extend([outcome])
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    rig.publisher.offer(transaction(1))
    assert rig.publisher.close(60)
    assert rig.committed() == ["tick-0", "tick-1"]
    assert rig.broker.connects == 2
    assert rig.publisher.stats.repeated_total == (1 if outcome == "lost_ack" else 0)


def test_a_successor_does_not_repeat_what_its_predecessor_published(rig: Rig):
    rig.broker.committed = [transaction(0), transaction(1)]
    rig.publisher.start()
    for n in range(3):
        rig.publisher.offer(transaction(n))
    assert rig.publisher.close(60)
    assert rig.committed() == ["tick-0", "tick-1", "tick-2"]
    assert rig.events.calls == [("connected", T0 + 1000), ("published", "tick-2")]


def test_the_connection_is_retried_until_it_succeeds(rig: Rig):
    rig.broker.script.extend(["no_connection"] * 3)
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    eventually(lambda: rig.committed() == ["tick-0"])
    assert rig.publisher.stats.failures_total == 3
    assert rig.publisher.stats.message == ""


def test_a_full_queue_drops_the_oldest_waiting_batch_and_reports_it(rig: Rig):
    rig.broker.gate.clear()
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    eventually(lambda: rig.publisher.stats.queue == 0)
    for n in range(1, 9):
        rig.publisher.offer(transaction(n))
    assert rig.publisher.stats.queue == 5
    assert [call for call in rig.events.calls if call[0] == "dropped"] == [("dropped", f"tick-{n}") for n in (1, 2, 3)]
    assert rig.publisher.stats.dropped_total == 3
    rig.broker.gate.set()
    assert rig.publisher.close(60)
    assert rig.committed() == ["tick-0", *(f"tick-{n}" for n in range(4, 9))]


def test_a_fenced_publisher_ends_and_reports_it(rig: Rig):
    rig.broker.script.extend(["fenced"])
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    eventually(lambda: rig.publisher.stats.state is PublisherState.FENCED)
    assert rig.publisher.stats.message == "taken over"
    assert rig.committed() == []


def test_closing_gives_up_if_the_broker_stays_unavailable(rig: Rig):
    rig.broker.script.extend(["no_connection"] * 1000)
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    assert rig.publisher.close(0.3) is False
    eventually(lambda: rig.publisher.stats.state is PublisherState.CLOSED)
    assert rig.committed() == []


def test_closing_before_the_start_is_a_no_op(rig: Rig):
    assert rig.publisher.close(0.1)


def test_a_missing_acknowledgement_is_reported_before_the_commit_times_out(rig: Rig):
    rig.broker.gate.clear()
    rig.publisher.start()
    assert rig.publisher.status_text == ""
    rig.publisher.offer(transaction(0))
    eventually(lambda: "has not acknowledged" in rig.publisher.status_text)
    rig.broker.gate.set()
    eventually(lambda: rig.publisher.status_text == "")


def test_lines_of_a_transaction_have_its_tick_and_identity(rig: Rig):
    rig.broker.script.extend(["fail", "lost_ack"])
    with log_lines() as lines:
        rig.publisher.start()
        rig.publisher.offer(transaction(0))
        rig.publisher.offer(transaction(1))
        assert rig.publisher.close(60)
    assert {(line["tick_ts"], line["transaction"]) for line in lines.of("publish_failed")} == {(T0, "tick-0")}
    assert [(line["tick_ts"], line["transaction"]) for line in lines.of("published")] == [(T0, "tick-0"), (T0 + 1000, "tick-1")]


def test_a_merged_transaction_is_logged_with_all_its_identities():
    broker = Broker()
    publisher = Publisher("test", FakeTransport(broker, Fenced("taken over", transactional_id="x")), 5, Events(), together=5)
    for n in range(3):
        publisher.offer(transaction(n))
    with log_lines() as lines:
        publisher.start()
        assert publisher.close(60)
    assert [line["transaction"] for line in lines.of("published")] == ["tick-0,tick-1,tick-2"]


def test_a_broker_that_does_not_answer_is_retried_until_an_attempt_does_not_end(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    assert not rig.publisher.retries
    rig.broker.script.extend(["no_connection"] * 100)
    rig.publisher.start()
    rig.publisher.offer(transaction(0))
    eventually(lambda: rig.publisher.retries)
    # A client library that hangs.
    monkeypatch.setattr("actors.publishing.publisher.STUCK_S", 0.0)
    assert not rig.publisher.retries
    monkeypatch.undo()
    rig.broker.script.clear()
    eventually(lambda: rig.committed() == ["tick-0"])
    eventually(lambda: not rig.publisher.retries)
    rig.publisher.close(60)
    assert not rig.publisher.retries
