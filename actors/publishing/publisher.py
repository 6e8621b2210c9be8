"""Transactional publisher: a bounded queue and one thread that commits its transactions to Kafka in order, each exactly once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential_jitter

from actors.publishing.transaction import KafkaTransaction, PublisherEvents, PublisherState, PublisherStats, Refused
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Fenced
from cryptoviz.log import get_logger, log_context
from cryptoviz.telemetry.trace_context import Value
from cryptoviz.telemetry.tracing import span

__all__ = ["Fenced", "Publisher", "Transport"]

BACK_OFF = wait_exponential_jitter(multiplier=0.1, max=5.0, jitter=0.2)
"""Wait between attempts while the broker is unavailable: short at first, because a broker restarts in 2 s, and at most 5 s."""

SLOW_S = 1.0
"""An acknowledgement takes about 20 ms. A longer wait is reported as a broker that is unavailable or overloaded, long before the commit times out."""

STUCK_S = 60.0
"""Each attempt, of several calls with a timeout of 5 to 10 s, ends much earlier. One that does not end is an error of the client library."""


class Transport(Protocol):
    """Kafka as the publisher uses it. All calls come from the publisher's thread and may block for a bounded time."""

    def connect(self) -> int | None:
        """Fence earlier producers of the transactional id and read what they published. Returns the newest published tick, None if there is none.

        Raises:
            EngineUnavailable: retry.
            Fenced: another producer took over; the publisher must stop.
        """

    def is_published(self, transaction: KafkaTransaction) -> bool:
        """Whether the transaction was already published, as of the last `connect`, by this or an earlier producer of the transactional id."""

    def publish(self, transaction: KafkaTransaction) -> Sequence[Refused]:
        """Commit the transaction without the records that the broker rejects permanently, and return those records.

        Raises:
            EngineUnavailable: not published, or the outcome is unknown: call `connect`, then `is_published`.
        """

    def was_refused(self, transaction: KafkaTransaction) -> Sequence[Refused]:
        """Records that the broker rejected, of a transaction whose outcome was unknown after `publish` and for which `is_published` returned True."""

    def close(self) -> None:
        """Close the connection without waiting."""


class Publisher:
    """Owns the queue and the thread. `offer` is thread-safe; `events` are called from the publisher's thread, `dropped` from that of `offer`."""

    def __init__(self, name: str, transport: Transport, limit: int, events: PublisherEvents, together: int = 1) -> None:
        """`together`: how many queued transactions may be merged into one, under the identity of the last."""
        self._name = name
        self._together = together
        self._transport = transport
        self._limit = limit
        self._events = events
        self._queue: deque[KafkaTransaction] = deque()
        self._in_flight: KafkaTransaction | None = None
        self._tried: KafkaTransaction | None = None
        self._in_flight_since_s = 0.0
        self._attempt_since_s = time.monotonic()
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
        """Start the thread, which connects and retries until it is connected."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"{self._name}-publisher", daemon=True)
            self._thread.start()

    def offer(self, transaction: KafkaTransaction) -> None:
        """Queue a transaction. Past the limit the oldest queued transaction is dropped and reported."""
        lost: list[KafkaTransaction] = []
        with self._changed:
            self._queue.append(transaction)
            while len(self._queue) > self._limit:
                lost.append(self._queue.popleft())
            self.stats.queue = len(self._queue)
            self.stats.dropped_total += len(lost)
            self._changed.notify()
        for dropped in lost:
            self._events.dropped(dropped)

    @property
    def ended(self) -> bool:
        """The thread has ended: closed, fenced, or by a bug."""
        return self.stats.state in (PublisherState.FENCED, PublisherState.CLOSED)

    @property
    def waits_s(self) -> float:
        """Seconds for which the transaction in flight has waited for its acknowledgement; 0 when none is in flight."""
        with self._changed:
            return time.monotonic() - self._in_flight_since_s if self._in_flight is not None else 0.0

    @property
    def retries(self) -> bool:
        """Kafka does not answer, and each attempt ends in time: the queue waits, within its limit. A restart would lose it and not help."""
        with self._changed:
            refused = self.stats.state is PublisherState.CONNECTING and bool(self.stats.message)
            waits = self._in_flight is not None and time.monotonic() - self._in_flight_since_s >= SLOW_S
            return (refused or waits) and not self.ended and time.monotonic() - self._attempt_since_s < STUCK_S

    @property
    def status_text(self) -> str:
        """Status text for the operator; empty while records are acknowledged in time."""
        waits_s = self.waits_s
        if waits_s < SLOW_S or self.stats.message:
            return self.stats.message
        return f"Kafka (kafka.bootstrap_servers) has not acknowledged for {waits_s:.0f} s; {self.stats.queue} queued"

    def close(self, timeout_s: float) -> bool:
        """Publish the queue for up to `timeout_s`, then end the thread. Returns False if transactions were left unpublished."""
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
            while (transaction := self._next()) is not None:
                self._publish(transaction)
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

    def _publish(self, transaction: KafkaTransaction) -> None:
        known: dict[str, Value] = {"cryptoviz.tick_ts": transaction.tick_ts, "cryptoviz.transaction": transaction.identity}
        with (
            log_context(tick_ts=transaction.tick_ts, transaction=",".join((*transaction.merged, transaction.identity))),
            span("publish", known, parent=transaction.traceparent, links=transaction.links) as publish,
        ):
            self._retrying(self._deliver, transaction)
            publish.set({"cryptoviz.records": len(transaction.messages)})

    def _ready(self) -> None:
        if self.stats.state is PublisherState.READY:
            return
        self.stats.state = PublisherState.CONNECTING
        last_tick_ts = self._transport.connect()
        self.stats.state, self.stats.message = PublisherState.READY, ""
        self._log.info("publisher_connected", last_tick_ts=last_tick_ts)
        self._events.connected(last_tick_ts)

    def _deliver(self, transaction: KafkaTransaction) -> None:
        self._ready()
        tried, self._tried = self._tried, transaction
        if not self._transport.is_published(transaction):
            self._acknowledged(transaction, self._transport.publish(transaction))
            return
        self.stats.repeated_total += 1
        self._log.info("transaction_was_published_before")
        if tried is transaction:  # published by this publisher: only the response was lost
            self._acknowledged(transaction, self._transport.was_refused(transaction))

    def _acknowledged(self, transaction: KafkaTransaction, refused: Sequence[Refused]) -> None:
        for one in refused:
            self.stats.refused_total += 1
            self._log.error("record_refused", key=one.message.key.decode(errors="replace"), reason=one.reason)
            self._events.refused(transaction, one)
        transaction = _without(transaction, refused)
        self.stats.transactions_total += 1
        self.stats.records_total += len(transaction.messages)
        self._log.debug("published", records=len(transaction.messages))
        self._events.published(transaction)

    def _failed(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome is not None else None
        self._attempt_since_s = time.monotonic()
        self.stats.state, self.stats.message = PublisherState.CONNECTING, str(error)
        self.stats.failures_total += 1
        self._log.warning("publish_failed", reason=str(error), attempt=attempt.attempt_number, queue=len(self._queue))

    def _next(self) -> KafkaTransaction | None:
        """Remove the oldest transaction from the queue and put it in flight. Returns None when closing and the queue is empty."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            taken = [self._queue.popleft() for _ in range(min(self._together, len(self._queue)))]
            self._in_flight = _merged(taken) if taken else None
            self._in_flight_since_s = self._attempt_since_s = time.monotonic()
            self.stats.queue = len(self._queue)
            return self._in_flight


def _merged(transactions: Sequence[KafkaTransaction]) -> KafkaTransaction:
    """Merge into one transaction. It does not change in flight, so that the last identity decides whether all were published."""
    if len(transactions) == 1:
        return transactions[0]
    messages = tuple(message for transaction in transactions for message in transaction.messages)
    audit_records = tuple(record for transaction in transactions for record in transaction.audit_records)
    merged = tuple(transaction.identity for transaction in transactions[:-1])
    tick_ts, last = max(transaction.tick_ts for transaction in transactions), transactions[-1]
    links = tuple(transaction.traceparent for transaction in transactions[:-1])
    return KafkaTransaction(last.identity, tick_ts, messages, audit_records, merged, last.traceparent, links)


def _without(transaction: KafkaTransaction, refused: Sequence[Refused]) -> KafkaTransaction:
    if not refused:
        return transaction
    gone = {id(one.message) for one in refused}
    messages = tuple(message for message in transaction.messages if id(message) not in gone)
    audit_records = tuple(record for record in transaction.audit_records if id(record) not in gone)
    return replace(transaction, messages=messages, audit_records=audit_records)
