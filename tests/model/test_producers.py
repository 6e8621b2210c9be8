"""No sequence of pauses, kills, lost requests and responses, expiries and takeovers loses or duplicates a row: the producers' code, exhaustively.

The collector, a scraper's raw publisher, a backfill and a replay of dead letters differ in the records that they publish and in what a new process
reads first; they share `OwnedProducer`. The model has no time: a step of the clock appears as a successor that offers ticks already published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from actors.publishing.kafka_transport import KafkaTransport, Published, PublishedTicks, PublishedTransactions
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Message, PublisherState
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Fenced, OwnedProducer
from cryptoviz.settings import KafkaSettings, load_settings
from spark_jobs.dead_letters import DeadLetterReplay, ReplayCounts, _Candidate
from tests.support.collection_fakes import Events
from tests.support.kafka_broker import Broker, Explorer, Killed, clients

KAFKA = KafkaSettings(bootstrap_servers="memory:1")
_TRIES = 12
GONE = b"1.1 and much more"


def transaction(number: int, size: int = 1) -> KafkaTransaction:
    return KafkaTransaction(f"transaction-{number}", number, tuple(Message(b"k", f"{number}.{part}".encode()) for part in range(size)))


class Producing:
    """A process: the publisher's own delivery and connection, one transaction after the other, as its thread does it."""

    def __init__(self, broker: Broker, step: Callable[..., Any], published: Published, name: str = "id") -> None:
        self.transport = KafkaTransport(KAFKA, "stream", name, published, clients(broker, step))
        self.transport._read_end = lambda: None  # type: ignore[method-assign]  # a topic without an earlier version's records
        self.events = Events()
        self.publisher = Publisher("model", self.transport, 10, self.events)

    def publish(self, transactions: Sequence[KafkaTransaction]) -> None:
        for one in transactions:
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


class Alive(Explorer):
    """Explores runs without kills."""

    def _more(self, run: Any, choices: Any) -> Any:
        return ((at, event) for at, event in super()._more(run, choices) if not event.startswith("killed"))


Process = Callable[[Callable[..., Any]], None]


def restarted(broker: Broker, start: Process) -> Process:
    """Run the process; a killed process is started again, a fenced process ends."""

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
    """Each of these transactions is committed whole and once, and nothing else."""
    expected = Counter(message.value for number in numbers for message in transaction(number, size).messages)

    def judge(broker: Broker) -> None:
        assert Counter(broker.committed) == expected
        assert not broker.pending

    return judge


@pytest.mark.parametrize(("rivals", "events"), [(1, 2), (2, 2)], ids=["one collector", "two collectors"])
def test_collector(rivals: int, events: int) -> None:
    """A successor, and a rival on another host, offer the same ticks."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()

        def start(step: Callable[..., Any]) -> None:
            Producing(broker, step, PublishedTicks()).publish([transaction(1), transaction(2)])

        return broker, [restarted(broker, start)] * rivals

    explorer = Explorer(build, once(1, 2), events)
    explorer.explore()
    assert explorer.runs > 500


def test_collector_under_a_clock_that_was_a_year_ahead() -> None:
    """Ticks that a leap passed over are published once, by any process, before and after the progress of the leap."""
    day, year = 86_400_000, 365 * 86_400_000
    numbers = (1, year, day + 1, day + 2)

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()

        def start(step: Callable[..., Any]) -> None:
            mine = Producing(broker, step, PublishedTicks())
            mine.publish([transaction(number) for number in numbers])

        return broker, [restarted(broker, start)]

    explorer = Explorer(build, once(*numbers), 2)
    explorer.explore()
    assert explorer.runs > 500


def test_scraper() -> None:
    """Raw exchanges have new identities after a start: each is published at most once, and lost only with its process or its id."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()
        offered: list[int] = []

        def start(step: Callable[..., Any]) -> None:
            mine = Producing(broker, step, PublishedTransactions())
            while len(offered) < 3:
                offered.append(len(offered) + 1)
                mine.publish([transaction(offered[-1])])

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
                producing.append(Producing(broker, step, PublishedTransactions()))
            done = len([one for one in (1, 2, 3) if f"{one}.0".encode() in broker.committed])
            producing[0].publish([transaction(number) for number in (1, 2, 3)][done:])

        return broker, [start]

    explorer = Alive(build, once(1, 2, 3), 2)
    explorer.explore()
    assert explorer.runs > 200


@pytest.mark.parametrize(("rivals", "events"), [(1, 2), (2, 2)], ids=["one", "two"])
def test_backfill_and_dead_letter_replay(rivals: int, events: int) -> None:
    """A start connects and then reads which records exist, in the topic or in the replay log of the same transactions; it publishes the others."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker()

        def start(step: Callable[..., Any]) -> None:
            mine = Producing(broker, step, PublishedTransactions())
            mine.connect()
            try:
                there = set(step("look", "id", lambda: tuple(broker.committed)))
            except KafkaException:
                raise Killed from None  # the operation fails, and its operator begins another
            mine.publish([one for one in (transaction(1), transaction(2)) if one.messages[0].value not in there])

        return broker, [restarted(broker, start)] * rivals

    explorer = Explorer(build, once(1, 2), events)
    explorer.explore()
    assert explorer.runs > 500


def test_a_refused_record_and_one_event() -> None:
    """The second of three records is too large for the broker: the others are published once, with any other event."""

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker(refuses=frozenset({GONE}))

        def start(step: Callable[..., Any]) -> None:
            Producing(broker, step, PublishedTicks()).publish([one_refused(), transaction(2, 3)])

        return broker, [restarted(broker, start)]

    def judge(broker: Broker) -> None:
        whole = Counter(message.value for number in (1, 2) for message in transaction(number, 3).messages)
        assert Counter(broker.committed) + Counter([b"1.1"]) == whole

    explorer = Explorer(build, judge, 1)
    explorer.explore()
    assert explorer.runs > 50


def one_refused() -> KafkaTransaction:
    """The second of three records is too large for the broker."""
    whole = transaction(1, 3)
    return replace(whole, messages=(whole.messages[0], Message(b"k", GONE), whole.messages[2]))


@pytest.mark.parametrize("published", [PublishedTicks, PublishedTransactions])
def test_what_was_refused_is_reported_once_whatever_answer_is_lost(published: type[Published]) -> None:
    """One event anywhere, but no death of the process: no other process would know."""
    producing: list[Producing] = []

    def build() -> tuple[Broker, list[Process]]:
        broker = Broker(refuses=frozenset({GONE}))

        def start(step: Callable[..., Any]) -> None:
            producing[:] = [Producing(broker, step, published())]
            producing[0].publish([one_refused(), transaction(2, 1)])

        return broker, [start]

    def judge(broker: Broker) -> None:
        assert Counter(broker.committed) == Counter([b"1.0", b"1.2", b"2.0"])
        calls = [about for about in producing[0].events.calls if about[0] != "connected"]
        assert calls == [
            ("refused", ("transaction-1", b"k", "Message size too large")),
            ("published", "transaction-1"),
            ("published", "transaction-2"),
        ]
        stats = producing[0].publisher.stats
        assert (stats.refused_total, stats.transactions_total, stats.records_total) == (1, 2, 3)

    explorer = Alive(build, judge, 1)
    explorer.explore()
    assert explorer.runs > 50


class AtCommit:
    """Steps of a process without an explorer; the responses to the commits of these numbers are lost."""

    def __init__(self, *lost: int) -> None:
        self.lost = lost
        self.commits = 0

    def __call__(self, what: str, name: str, act: Callable[[], Any]) -> Any:
        del name
        answer = act()
        self.commits += what == "commit"
        if what == "commit" and self.commits in self.lost:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return answer


@pytest.mark.parametrize("published", [PublishedTicks, PublishedTransactions])
def test_a_topic_that_was_made_again_under_a_producer_doubles_nothing(published: type[Published]) -> None:
    """The claim and two transactions, then the topic is another, and the answer to the second transaction in it (the fifth commit) is lost."""
    broker, step = Broker(), AtCommit(5)
    mine = Producing(broker, step, published())
    mine.publish([transaction(1), transaction(2)])
    broker.make_again("u")
    mine.publish([transaction(3)])
    metadata = broker.progress["id"].metadata
    assert metadata is not None
    assert orjson.loads(metadata)["topic_id"] == "u"
    mine.publish([transaction(4), transaction(5)])
    assert broker.committed == [b"3.0", b"4.0", b"5.0"]


def test_a_first_batch_in_a_topic_that_was_made_again_is_known_after_a_lost_answer() -> None:
    broker = Broker()
    mine = Producing(broker, AtCommit(3), PublishedTransactions())
    mine.publish([transaction(1)])
    broker.make_again("u")
    mine.publish([transaction(2)])
    assert broker.committed == [b"2.0"]


@pytest.mark.parametrize("published", [PublishedTicks, PublishedTransactions])
def test_what_a_topic_that_is_no_more_held_is_published_again_to_the_new_one(published: type[Published]) -> None:
    """The broker has not forgotten the old topic's offsets yet. What they name is nowhere: a successor that has the transaction in hand brings it."""
    broker, step = Broker(), AtCommit()
    Producing(broker, step, published()).publish([transaction(1)])
    broker.make_again("u", forgets=False)
    Producing(broker, step, published()).publish([transaction(1), transaction(2)])
    assert broker.committed == [b"1.0", b"2.0"]


def test_a_replay_of_dead_letters_knows_what_was_refused_after_a_lost_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim, an attempt that the broker rejects (before a commit), and a second attempt, whose commit has no response."""
    monkeypatch.setattr(DeadLetterReplay, "_in_lake", lambda *_: set())
    broker = Broker(refuses=frozenset({GONE}))
    replay = DeadLetterReplay(load_settings())
    producer = OwnedProducer(KAFKA, "id", "stream", clients(broker, AtCommit(2)))
    producer.connect()
    letters = [
        _Candidate("stream", "prices", f"t:0:{number}", f"event-{number}", datetime(2026, 1, 1, tzinfo=UTC), b"k", value, "bad_time")
        for number, value in enumerate((b"one", GONE, b"three"))
    ]
    replayed = ReplayCounts()
    replay._publish(producer, letters, replayed)
    assert [value for value in broker.committed if not value.startswith(b"{")] == [b"one", b"three"]
    assert len(broker.committed) == 4  # each with its entry in the replay log
    assert (replayed.published, replayed.still_bad) == (2, Counter(refused_by_kafka=1))
    assert replay._done == {"t:0:0", "t:0:2"}
