"""A backfill concurrent with the collector or a replay of dead letters on the same ticks: each tick once, for all orders of steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

import actors.backfill.operation as operation
import actors.backfill.wanted as wanted
from actors.backfill.history_client import HistoryResponse
from actors.publishing.kafka_transport import BACKFILL, COLLECTOR, PublishedTicks
from actors.publishing.transaction import KafkaTransaction, Message
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.kafka import producer_id
from cryptoviz.operations import BackfillArguments, OperationResult
from cryptoviz.providers.history import Point, Step
from cryptoviz.settings import load_settings
from tests.model.test_producers import Producing
from tests.support.clock import T0, FakeClock
from tests.support.kafka_broker import Broker, clients
from tests.support.records import record

STEP = 60_000
QUEUE = 10
NOTE = b'{"an":"exchange"}'


def tick(number: int) -> int:
    return T0 + number * STEP


def collected(*numbers: int) -> list[KafkaTransaction]:
    """Transactions as queued by the collector."""
    return [KafkaTransaction(f"tick-{tick(n)}", tick(n), (Message(b"bitcoin", record(tick(n)).to_json()),)) for n in numbers]


def direct(_what: str, _name: str, act: Callable[[], Any]) -> Any:
    return act()


class Scene:
    """A broker, the collector's producer, and a backfill of a gap; the lake is empty."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, gap: Sequence[int], now: int) -> None:
        self.broker = Broker()
        self.settings = load_settings(home=folder, crypto_list=("BTC",), collect={"tick_s": STEP / 1000, "queue_ticks": QUEUE, "clock_skew_s": 1})
        self.collector = Producing(self.broker, direct, PublishedTicks(), producer_id(COLLECTOR, "crypto-streaming"))
        self.gap, self.now = gap, now
        self.asked: list[int] = []
        ledger = [Gap(GapScope.ASSET, "bitcoin", tick(gap[0]), tick(gap[-1]), STEP, len(gap), "dropped", 0)]
        monkeypatch.setattr(operation, "read_gaps", lambda _: ledger)
        monkeypatch.setattr(wanted, "_read", lambda *_: {})
        monkeypatch.setattr(wanted, "topic_ends", lambda *_, **__: ("t", {0: (0, len(self.broker.committed))}))
        monkeypatch.setattr(wanted, "read_topic", self._read)

    def _read(self, _kafka: Any, _topic: str, spans: dict[int, tuple[int, int]]) -> list[Any]:
        return [SimpleNamespace(value=lambda value=value: value) for value in self.broker.committed[slice(*spans[0])]]

    def backfill(self, while_asked: Callable[[], None] = lambda: None, step: Callable[..., Any] = direct) -> OperationResult:
        made = operation.Backfill(self.settings, "op", BackfillArguments(), FakeClock(tick(self.now)), clients(self.broker, step))
        made._transport._read_end = lambda: None  # type: ignore[method-assign]
        made._history_clients = lambda: [self._history_client(while_asked)]  # type: ignore[method-assign]
        return asyncio.run(made.run(lambda _: None))

    def _history_client(self, while_asked: Callable[[], None]) -> Any:
        async def fetch(_provider_id: str, span: Any, *_: Any) -> HistoryResponse:
            self.asked += span.ticks
            while_asked()
            exchange = SimpleNamespace(fetch_id="fetch", to_json=lambda: NOTE)
            return HistoryResponse([Point(at - 1, 100.0) for at in span.ticks], span.ticks[-1], exchange)  # type: ignore[arg-type]

        async def nothing(*_: Any) -> str:
            return "USD"

        def steps(ticks: Sequence[int], *_: Any) -> list[Step]:
            return [Step(tuple(ticks), STEP, 86_400_000, STEP)]

        return SimpleNamespace(name="coingecko", source=SimpleNamespace(steps=steps), fetch=fetch, currency=nothing, aclose=nothing, calls=1)

    def rows(self) -> dict[int, list[str]]:
        """Kinds of rows in the topic by tick."""
        found: dict[int, list[str]] = {}
        for row in (orjson.loads(value) for value in self.broker.committed if value != NOTE):
            found.setdefault((row["tick_ts"] - T0) // STEP, []).append(row["kind"])
        return found


def test_a_queue_that_is_published_while_the_provider_answers_doubles_no_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka was unavailable until tick 24: tick 3 is in flight, 4 to 12 were dropped, 13 to 22 are queued."""
    scene = Scene(tmp_path, monkeypatch, range(3, 21), now=24)
    scene.collector.publish(collected(0, 1, 2))
    result = scene.backfill(lambda: scene.collector.publish(collected(3, *range(13, 23))))
    assert scene.asked == []
    assert "no open gap" not in result.message
    assert result.figures["rows"] == 0
    assert result.notes == ("18 ticks from 2023-11-14T22:16:00Z on are not filled: the collector may still publish them",)
    # The next backfill, with the collector's progress at tick 22, fills the dropped ticks.
    scene.collector.publish(collected(3, *range(13, 23)))
    assert scene.backfill().figures["rows"] == 9
    assert scene.rows() == {n: ["live"] for n in (0, 1, 2, 3, *range(13, 23))} | {n: ["backfill"] for n in range(4, 13)}


def test_a_collector_that_publishes_at_each_step_of_a_backfill_and_the_backfill_share_the_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks 1 to 3 were dropped; the collector publishes its next tick before each request of the backfill, including that of its commit."""
    scene = Scene(tmp_path, monkeypatch, range(1, 9), now=40)
    scene.collector.publish(collected(0, 4))
    waiting = collected(*range(5, 40))

    def step(_what: str, _name: str, act: Callable[[], Any]) -> Any:
        scene.collector.publish([waiting.pop(0)])
        return act()

    scene.backfill(step=step)
    assert Counter(len(kinds) for kinds in scene.rows().values()).keys() == {1}
    assert {n for n, kinds in scene.rows().items() if kinds == ["backfill"]} >= {1, 2, 3}


def test_before_its_first_published_tick_the_collector_may_have_a_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At tick 20 a queue of 10 starts at tick 10, less three ticks in collection and a second of clock skew: only the backfill can publish 0 to 6."""
    scene = Scene(tmp_path, monkeypatch, range(18), now=20)
    result = scene.backfill(lambda: scene.collector.publish(collected(*range(10, 20))))
    assert result.figures["rows"] == 7
    assert scene.rows() == {n: ["backfill"] for n in range(7)} | {n: ["live"] for n in range(10, 20)}


def test_ticks_published_by_others_during_a_request_are_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of dead letters publishes tick 2 of the gap 1 to 3; then all three."""
    scene = Scene(tmp_path, monkeypatch, range(1, 4), now=40)
    scene.collector.publish(collected(0, 9))
    scene.backfill(lambda: scene.broker.committed.append(record(tick(2)).to_json()))
    assert scene.rows() == {0: ["live"], 9: ["live"], 1: ["backfill"], 2: ["live"], 3: ["backfill"]}

    whole = Scene(tmp_path, monkeypatch, range(1, 4), now=40)
    whole.collector.publish(collected(0, 9))
    result = whole.backfill(lambda: whole.broker.committed.extend(record(tick(n)).to_json() for n in (1, 2, 3)))
    assert result.figures["rows"] == 0
    assert whole.rows() == {n: ["live"] for n in (0, 9, 1, 2, 3)}


def test_what_kafka_refused_is_said_whatever_answer_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange of three rows is too large. The response to each step of the backfill is lost, one step per run."""

    def backfill(lost: int) -> int:
        scene = Scene(tmp_path, monkeypatch, range(1, 4), now=40)
        scene.collector.publish(collected(0, 9))
        scene.broker.refuses = frozenset({NOTE})
        steps: list[str] = []

        def step(what: str, name: str, act: Callable[[], Any]) -> Any:
            answer = act()
            if name == producer_id(BACKFILL, "crypto-streaming"):
                steps.append(what)
                if len(steps) == lost:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return answer

        result = scene.backfill(step=step)
        assert result.figures["rows"] == 3
        assert result.notes == ("bitcoin: Kafka refused 0 rows and 1 exchanges (Message size too large)",)
        assert {n: scene.rows()[n] for n in (1, 2, 3)} == {n: ["backfill"] for n in (1, 2, 3)}
        assert NOTE not in scene.broker.committed
        assert (steps[-1], len(steps) > 8) == ("commit", True) or lost
        return len(steps)

    for lost in range(1, backfill(0) + 1):
        backfill(lost)
