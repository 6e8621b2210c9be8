"""The transactional publisher: a bounded queue of batches and one thread that commits them to Kafka, each exactly once and in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential_jitter

from actors.publishing.transaction import Batch, PublisherEvents, PublisherState, PublisherStats, Refused
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Fenced
from cryptoviz.log import get_logger

__all__ = ["Fenced", "Publisher", "Transport"]

BACK_OFF = wait_exponential_jitter(multiplier=0.1, max=5.0, jitter=0.2)
"""Between tries while the broker is away: soon enough that a restarted broker (2 s) is used at once, at most 5 s apart."""


SLOW_S = 1.0
"""An acknowledgement takes some 20 ms; past this the broker is away or overloaded, long before the commit's time-out says so."""


class Transport(Protocol):
    """The seam to Kafka. All calls come from the publisher's thread and may block for a bounded time."""

    def connect(self) -> int | None:
        """Fence earlier producers of this identity, and learn what they published. The newest published tick, None if none.

        Raises:
            EngineUnavailable: try again.
            Fenced: another producer took over. This one must stop.
        """
        ...

    def is_published(self, batch: Batch) -> bool:
        """Whether an earlier producer of this identity, as of the last `connect`, already published the batch."""
        ...

    def publish(self, batch: Batch) -> Sequence[Refused]:
        """Commit the batch in one transaction, without what the broker refuses for good. What that is.

        Raises:
            EngineUnavailable: the outcome is a failure or unknown: `connect` again, then ask `is_published`.
        """
        ...

    def was_refused(self, batch: Batch) -> Sequence[Refused]:
        """After a `publish` of the batch whose outcome was unknown, and that `is_published` found done: what the broker refused of it for good."""
        ...

    def close(self) -> None:
        """Let go of the connection without waiting."""
        ...


class Publisher:
    """Owns the queue and the thread. `offer` is safe from any thread; `events` are told from the publisher's thread."""

    def __init__(self, name: str, transport: Transport, limit: int, events: PublisherEvents, together: int = 1) -> None:
        """`together`: how many waiting batches may go into one transaction, under the identity of the last."""
        self._name = name
        self._together = together
        self._transport = transport
        self._limit = limit
        self._events = events
        self._queue: deque[Batch] = deque()
        self._in_flight: Batch | None = None
        self._tried: Batch | None = None
        self._in_flight_since_s = 0.0
        self._changed = threading.Condition()
        self._closing = False
        self._abandon = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = get_logger(name)
        self._retrying = Retrying(
            retry=retry_if_exception_type(EngineUnavailable),
            wait=BACK_OFF,
            stop=stop_when_event_set(self._abandon),
            sleep=sleep_using_event(self._abandon),
            before_sleep=self._failed,
        )
        self.stats = PublisherStats()

    def start(self) -> None:
        """Start the thread; it connects by itself and goes on trying."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"{self._name}-publisher", daemon=True)
            self._thread.start()

    def offer(self, batch: Batch) -> None:
        """Queue a batch; past the limit the oldest waiting one is dropped and told."""
        lost: list[Batch] = []
        with self._changed:
            self._queue.append(batch)
            while len(self._queue) > self._limit:
                lost.append(self._queue.popleft())
            self.stats.queue = len(self._queue)
            self.stats.dropped_total += len(lost)
            self._changed.notify()
        for dropped in lost:
            self._events.dropped(dropped)

    @property
    def ended(self) -> bool:
        """The thread is no more: closed, fenced, or dead of a bug."""
        return self.stats.state in (PublisherState.FENCED, PublisherState.CLOSED)

    @property
    def waits_s(self) -> float:
        """For how long the batch in hand has not been acknowledged; 0 when there is none."""
        with self._changed:
            return time.monotonic() - self._in_flight_since_s if self._in_flight is not None else 0.0

    @property
    def trouble(self) -> str:
        """What a person should know, empty when all is well."""
        waits_s = self.waits_s
        if waits_s < SLOW_S or self.stats.message:
            return self.stats.message
        return f"Kafka (kafka.bootstrap_servers) has not acknowledged for {waits_s:.0f} s; {self.stats.queue} wait"

    def close(self, timeout_s: float) -> bool:
        """Publish what is queued for up to `timeout_s`, then end the thread. False when batches were left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        self._abandon.set()
        with self._changed:
            return not self._queue and self._in_flight is None

    def _run(self) -> None:
        try:
            self._retrying(self._ready)
            while (batch := self._next()) is not None:
                self._retrying(self._deliver, batch)
                with self._changed:
                    self._in_flight = None
        except Fenced as error:
            self.stats.state, self.stats.message = PublisherState.FENCED, error.message
            self._log.error("publisher_fenced", reason=error.message)
        except RetryError:
            self._log.warning("publisher_gave_up", left_behind=len(self._queue) + (self._in_flight is not None))
        finally:
            self._transport.close()
            if self.stats.state is not PublisherState.FENCED:
                self.stats.state = PublisherState.CLOSED

    def _ready(self) -> None:
        if self.stats.state is PublisherState.READY:
            return
        self.stats.state = PublisherState.CONNECTING
        last_tick_ts = self._transport.connect()
        self.stats.state, self.stats.message = PublisherState.READY, ""
        self._log.info("publisher_connected", last_tick_ts=last_tick_ts)
        self._events.connected(last_tick_ts)

    def _deliver(self, batch: Batch) -> None:
        self._ready()
        tried, self._tried = self._tried, batch
        if not self._transport.is_published(batch):
            self._acknowledged(batch, self._transport.publish(batch))
            return
        self.stats.repeated_total += 1
        self._log.info("batch_was_published_before", identity=batch.identity)
        if tried is batch:  # by us: only the answer was lost
            self._acknowledged(batch, self._transport.was_refused(batch))

    def _acknowledged(self, batch: Batch, refused: Sequence[Refused]) -> None:
        for one in refused:
            self.stats.refused_total += 1
            self._log.error("record_refused", identity=batch.identity, key=one.message.key.decode(errors="replace"), reason=one.reason)
            self._events.refused(batch, one)
        batch = _without(batch, refused)
        self.stats.batches_total += 1
        self.stats.records_total += len(batch.messages)
        self._events.published(batch)

    def _failed(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome is not None else None
        self.stats.state, self.stats.message = PublisherState.CONNECTING, str(error)
        self.stats.failures_total += 1
        self._log.warning("publish_failed", reason=str(error), attempt=attempt.attempt_number, queue=len(self._queue))

    def _next(self) -> Batch | None:
        """The oldest waiting batch, which is then in flight; None when closing and nothing is left."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            taken = [self._queue.popleft() for _ in range(min(self._together, len(self._queue)))]
            self._in_flight = _merged(taken) if taken else None
            self._in_flight_since_s = time.monotonic()
            self.stats.queue = len(self._queue)
            return self._in_flight


def _merged(batches: Sequence[Batch]) -> Batch:
    """One transaction of all: in flight it stays as it is, so that the last identity tells whether all were published."""
    if len(batches) == 1:
        return batches[0]
    messages = tuple(message for batch in batches for message in batch.messages)
    notes = tuple(note for batch in batches for note in batch.notes)
    return Batch(batches[-1].identity, max(batch.tick_ts for batch in batches), messages, notes)


def _without(batch: Batch, refused: Sequence[Refused]) -> Batch:
    if not refused:
        return batch
    gone = {id(one.message) for one in refused}
    messages = tuple(message for message in batch.messages if id(message) not in gone)
    return replace(batch, messages=messages, notes=tuple(note for note in batch.notes if id(note) not in gone))
