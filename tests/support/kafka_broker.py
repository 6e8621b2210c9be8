"""A Kafka broker in memory, with the clients that the producers' code uses, and an explorer of all interleavings of a few producers.

Each request to the broker is a *step*. At a step the explorer may inject an event: the request or its response is lost, the process is killed
before or after it, the broker expires the open transaction (the process was paused too long), or another process continues first. A run consists of
the choices at its steps; all runs with up to a given number of events are executed in sequence, each from the start.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from cryptoviz.kafka import KafkaClients

__all__ = ["Broker", "Explorer", "Killed", "clients"]

EVENTS = ("request lost", "answer lost", "killed before", "killed after", "expired", "other first", "held")
_STEPS = 400


class Killed(BaseException):
    """The process was killed."""


@dataclass
class Broker:
    """One topic; transactions by id. `refuses`: values that are too large for it."""

    committed: list[bytes] = field(default_factory=list)
    progress: dict[str, TopicPartition] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    pending: dict[str, list[bytes]] = field(default_factory=dict)
    pending_progress: dict[str, TopicPartition] = field(default_factory=dict)
    refuses: frozenset[bytes] = frozenset()
    topic_id: str = "t"
    topic_error: KafkaError | None = None
    """In the answer to a look at a topic, which then has no partitions."""
    unsent: int = 0
    """Records of an abort that the broker has not taken in time."""
    held: set[str] = field(default_factory=set)
    """Ids whose transaction the coordinator has ended and the partitions hold open."""
    kills: int = 0
    """Processes that ended with what they had in hand."""

    def init(self, name: str) -> int:
        """Abort the open transaction, and fence every earlier epoch."""
        self.expire(name)
        return self.epochs[name]

    def expire(self, name: str) -> None:
        """Transaction timeout: the open transaction is aborted and its producer fenced."""
        self.pending.pop(name, None)
        self.pending_progress.pop(name, None)
        self.epochs[name] = self.epochs.get(name, 0) + 1

    def check(self, name: str, epoch: int) -> None:
        """Raises for a producer that is fenced."""
        if self.epochs.get(name) != epoch:
            raise KafkaException(KafkaError(KafkaError._FENCED))

    def make_again(self, topic_id: str, *, forgets: bool = True) -> None:
        """Re-create the topic. The offsets of the old topic are forgotten then, or a little later."""
        self.topic_id = topic_id
        self.committed.clear()
        if forgets:
            self.progress.clear()

    def abort(self, name: str) -> None:
        """Abort the open transaction, and what the partitions hold open."""
        self.pending.pop(name, None)
        self.pending_progress.pop(name, None)
        self.held.discard(name)

    def hold(self, name: str) -> None:
        """Lose the markers of an open transaction whose coordinator aborts it."""
        self.expire(name)
        self.held.add(name)

    def end(self, name: str) -> None:
        """Commit records and progress together."""
        self.committed += self.pending.pop(name, [])
        if name in self.pending_progress:
            self.progress[name] = self.pending_progress.pop(name)


class _Producer:
    def __init__(self, broker: Broker, step: Callable[..., Any], config: Mapping[str, Any]) -> None:
        self._broker, self._step, self._name = broker, step, str(config["transactional.id"])
        self._epoch = -1
        self._buffer: list[tuple[bytes, Any]] = []
        self._aborted = False

    def init_transactions(self, timeout_s: float) -> None:
        del timeout_s
        self._epoch = self._step("init", self._name, lambda: self._broker.init(self._name))

    def begin_transaction(self) -> None:
        self._buffer = []

    def produce(
        self, topic: str, *, value: bytes, key: bytes | None, headers: Any = None, on_delivery: Any = lambda *_: None, partition: int = -1
    ) -> None:
        del topic, key, headers, partition
        if self._aborted:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._buffer.append((value, on_delivery))

    def flush(self, timeout_s: float) -> int:
        del timeout_s
        if self._buffer:
            self._step("produce", self._name, self._send)
        return self._broker.unsent

    def poll(self, timeout_s: float) -> int:
        del timeout_s
        return 0

    def send_offsets_to_transaction(self, positions: Sequence[TopicPartition], group: Any, timeout_s: float) -> None:
        del group
        self.flush(timeout_s)
        self._step("offsets", self._name, lambda: self._keep(positions[0]))

    def list_topics(self, topic: str, timeout: float) -> Any:
        del timeout
        error = self._broker.topic_error
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions={} if error else {0: None})})

    def abort_transaction(self, timeout_s: float) -> None:
        del timeout_s
        self._buffer = []
        self._step("abort", self._name, lambda: self._broker.abort(self._name))

    def commit_transaction(self, timeout_s: float) -> None:
        self.flush(timeout_s)
        if self._aborted:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self._step("commit", self._name, self._end)

    def purge(self) -> None:
        """No-op."""

    def _send(self) -> None:
        self._broker.check(self._name, self._epoch)
        batch, self._buffer = self._buffer, []
        large = any(value in self._broker.refuses for value, _ in batch)
        for value, report in batch:
            if large:  # a broker rejects whole record batches
                self._aborted = True
                report(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "Message size too large"), None)
            else:
                self._broker.pending.setdefault(self._name, []).append(value)
                report(None, None)

    def _keep(self, position: TopicPartition) -> None:
        self._broker.check(self._name, self._epoch)
        self._broker.pending_progress[self._name] = position

    def _end(self) -> None:
        self._broker.check(self._name, self._epoch)
        self._broker.end(self._name)


class _Consumer:
    def __init__(self, broker: Broker, step: Callable[..., Any], config: Mapping[str, Any]) -> None:
        self._broker, self._step, self._name = broker, step, str(config["group.id"])
        self._stable = config.get("isolation.level") == "read_committed"

    def committed(self, positions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        del timeout
        (wanted,) = positions
        if self._stable and self._name in self._broker.held:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        found = self._step("read", self._name, lambda: self._broker.progress.get(self._name))
        return [found or TopicPartition(wanted.topic, wanted.partition, -1001)]

    def consumer_group_metadata(self) -> object:
        return object()

    def close(self) -> None:
        """No-op."""


class _Admin:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, Any]:
        del topics, request_timeout
        described = SimpleNamespace(topic_id=self._broker.topic_id)
        return defaultdict(lambda: SimpleNamespace(result=lambda _: described))


def clients(broker: Broker, step: Callable[..., Any]) -> KafkaClients:
    """Clients of one process; `step`: its `Explorer.step`."""
    return KafkaClients(
        producer=lambda _, config: _Producer(broker, step, config),
        consumer=lambda _, config: _Consumer(broker, step, config),
        admin=lambda _: _Admin(broker),
    )


class Run:
    """One run: processes as threads, of which only one proceeds at a time."""

    def __init__(self, broker: Broker, choices: Sequence[tuple[int, str]], processes: Sequence[Callable[[Callable[..., Any]], None]]) -> None:
        self.broker = broker
        self.steps: list[tuple[str, bool]] = []
        """What each step was, and whether another process could have gone on instead."""
        self.failures: list[BaseException] = []
        self._choices = dict(choices)
        self._gates = [threading.Semaphore(0) for _ in processes]
        self._alive = [True] * len(processes)
        self._done = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._body, args=(number, process), daemon=True) for number, process in enumerate(processes)]

    def play(self) -> None:
        for thread in self._threads:
            thread.start()
        self._gates[0].release()
        for _ in self._threads:
            assert self._done.acquire(timeout=120), "a process did not end"
        for thread in self._threads:
            thread.join(60)

    def _body(self, number: int, process: Callable[[Callable[..., Any]], None]) -> None:
        self._gates[number].acquire()
        try:
            process(lambda what, name, act: self._step(number, what, name, act))
        except BaseException as error:  # noqa: BLE001 (reported by the explorer)
            self.failures.append(error)
        self._alive[number] = False
        self._hand_over(number)
        self._done.release()

    def _hand_over(self, number: int) -> None:
        for other, alive in enumerate(self._alive):
            if alive and other != number:
                self._gates[other].release()
                return

    def _step(self, number: int, what: str, name: str, act: Callable[[], Any]) -> Any:
        at = len(self.steps)
        assert at < _STEPS, "no end in sight"
        self.steps.append((what, sum(self._alive) > 1))
        event = self._choices.get(at, "")
        if event == "other first":
            self._hand_over(number)
            self._gates[number].acquire()
        if event == "expired":
            self.broker.expire(name)
        if event == "held":
            self.broker.hold(name)
        if event == "killed before":
            raise Killed
        if event == "request lost":
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        answer = act()
        if event == "killed after":
            raise Killed
        if event == "answer lost":
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return answer


@dataclass
class Explorer:
    """Executes every run with up to `events` events. `build` creates a broker and its processes; `judge` raises if the outcome of a run is wrong."""

    build: Callable[[], tuple[Broker, Sequence[Callable[[Callable[..., Any]], None]]]]
    judge: Callable[[Broker], None]
    events: int
    runs: int = 0

    def explore(self) -> None:
        stack: list[tuple[tuple[int, str], ...]] = [()]
        while stack:
            choices = stack.pop()
            broker, processes = self.build()
            run = Run(broker, choices, processes)
            run.play()
            self.runs += 1
            try:
                for failure in run.failures:
                    raise failure
                self.judge(broker)
            except BaseException as error:
                happened = [(at, run.steps[at][0], event) for at, event in choices]
                raise AssertionError(f"after {happened}: {error!r}; committed {broker.committed}") from error
            if len(choices) < self.events:
                stack.extend((*choices, more) for more in self._more(run, choices))

    def _more(self, run: Run, choices: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        first = choices[-1][0] + 1 if choices else 0
        for at in range(first, len(run.steps)):
            for event in EVENTS:
                if event != "other first" or run.steps[at][1]:
                    yield at, event
