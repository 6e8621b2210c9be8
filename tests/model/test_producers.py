"""No sequence of pauses, kills, lost requests and answers, expiries and takeovers loses or doubles a row: the producers' own code, exhaustively.

The collector, a scraper's raw publisher, a backfill and a replay of dead letters differ in what they offer and in what a new process looks up; what
they share is `OwnedProducer`. Time is no part of it: a clock that steps shows as a successor that offers ticks that are published already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaException

from actors.batch import Batch, Message, PublisherState
from actors.kafka import KafkaTransport, Published, PublishedBatches, PublishedTicks
from actors.publisher import Publisher
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Fenced
from cryptoviz.settings import KafkaSettings
from tests.model.kafkabroker import Broker, Explorer, Killed, clients
from tests.unit.actors.fakes import Events

KAFKA = KafkaSettings(bootstrap_servers="memory:1")
_TRIES = 12


def batch(number: int, size: int = 1) -> Batch:
    return Batch(f"batch-{number}", number, tuple(Message(b"k", f"{number}.{part}".encode()) for part in range(size)))


class Producing:
    """A process: the publisher's own delivery and connection, one batch after the other, as its thread does it."""

    def __init__(self, broker: Broker, step: Callable[..., Any], published: Published) -> None:
        self.transport = KafkaTransport(KAFKA, "stream", "id", published, clients(broker, step))
        self.transport._look = lambda: None  # type: ignore[method-assign]  # a topic without an earlier version's records
        self.publisher = Publisher("model", self.transport, 10, Events())

    def publish(self, batches: Sequence[Batch]) -> None:
        for one in batches:
            self._again(self.publisher._deliver, one)

    def connect(self) -> None:
        self._again(self.publisher._ready)

    def _again(self, call: Callable[..., None], *arguments: Any) -> None:
        for _ in range(_TRIES):
            try:
                return call(*arguments)
            except EngineUnavailable:
                self.publisher.stats.state = PublisherState.CONNECTING
        raise AssertionError("the producer never came through")


Process = Callable[[Callable[..., Any]], None]


def restarted(broker: Broker, start: Process) -> Process:
    """Killed processes are started again; a fenced one ends."""

    def process(step: Callable[..., Any]) -> None:
        while True:
            try:
                return start(step)
            except Killed:
                broker.kills += 1
            except Fenced:
                return None

    return process


def once(*numbers: int, size: int = 1) -> Callable[[Broker], None]:
    """Each of these batches is committed whole and once, and nothing else."""
    expected = Counter(message.value for number in numbers for message in batch(number, size).messages)

    def judge(broker: Broker) -> None:
        assert Counter(broker.committed) == expected
        assert not broker.pending

    return judge


@pytest.mark.parametrize(("rivals", "events"), [(1, 2), (2, 2)], ids=["one collector", "two collectors"])
def test_collector(rivals: int, events: int) -> None:
    """A successor, and a rival on another host, offer the same ticks again."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()

        def start(step: Callable[..., Any]) -> None:
            Producing(broker, step, PublishedTicks()).publish([batch(1), batch(2)])

        return broker, [restarted(broker, start)] * rivals

    explorer = Explorer(build, once(1, 2), events)
    explorer.explore()
    assert explorer.runs > 500


def test_scraper() -> None:
    """Exchanges have new identities after a start: each is published at most once, and lost only with its process or its id."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()
        offered: list[int] = []

        def start(step: Callable[..., Any]) -> None:
            mine = Producing(broker, step, PublishedBatches())
            while len(offered) < 3:
                offered.append(len(offered) + 1)
                mine.publish([batch(offered[-1])])

        return broker, [restarted(broker, start)]

    def judge(broker: Broker) -> None:
        counted = Counter(broker.committed)
        assert not counted or max(counted.values()) == 1
        assert 3 - len(counted) <= broker.kills

    explorer = Explorer(build, judge, 2)
    explorer.explore()
    assert explorer.runs > 500


def test_scraper_that_is_not_killed_loses_nothing() -> None:
    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()
        producing: list[Producing] = []

        def start(step: Callable[..., Any]) -> None:
            if not producing:
                producing.append(Producing(broker, step, PublishedBatches()))
            done = len([one for one in (1, 2, 3) if f"{one}.0".encode() in broker.committed])
            producing[0].publish([batch(number) for number in (1, 2, 3)][done:])

        return broker, [start]

    class Alive(Explorer):
        def _more(self, run: Any, choices: Any) -> Any:
            return ((at, event) for at, event in super()._more(run, choices) if not event.startswith("killed"))

    explorer = Alive(build, once(1, 2, 3), 2)
    explorer.explore()
    assert explorer.runs > 200


@pytest.mark.parametrize(("rivals", "events"), [(1, 2), (2, 2)], ids=["one", "two"])
def test_backfill_and_dead_letter_replay(rivals: int, events: int) -> None:
    """A start connects first and then looks what is there, in the topic or in the ledger of the same transactions; it brings the rest."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()

        def start(step: Callable[..., Any]) -> None:
            mine = Producing(broker, step, PublishedBatches())
            mine.connect()
            try:
                there = set(step("look", "id", lambda: tuple(broker.committed)))
            except KafkaException:
                raise Killed from None  # the operation fails, and its operator begins another
            mine.publish([one for one in (batch(1), batch(2)) if one.messages[0].value not in there])

        return broker, [restarted(broker, start)] * rivals

    explorer = Explorer(build, once(1, 2), events)
    explorer.explore()
    assert explorer.runs > 500


def test_a_refused_record_and_one_event() -> None:
    """The second of three records is too large for the broker: the others are published once, whatever happens beside."""
    gone = b"1.1 and much more"

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker(refuses=frozenset({gone}))

        def start(step: Callable[..., Any]) -> None:
            first = batch(1, 3)
            first = replace(first, messages=(first.messages[0], Message(b"k", gone), first.messages[2]))
            Producing(broker, step, PublishedTicks()).publish([first, batch(2, 3)])

        return broker, [restarted(broker, start)]

    def judge(broker: Broker) -> None:
        whole = Counter(message.value for number in (1, 2) for message in batch(number, 3).messages)
        assert Counter(broker.committed) + Counter([b"1.1"]) == whole

    explorer = Explorer(build, judge, 1)
    explorer.explore()
    assert explorer.runs > 50
