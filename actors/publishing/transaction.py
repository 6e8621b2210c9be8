"""Transactions to publish, and the events of the publisher. Imports no Kafka client, so that the logic around it is tested without a broker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["KafkaTransaction", "Message", "PublisherEvents", "PublisherState", "PublisherStats", "Refused", "TransactionSink"]


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record. `topic`: of an audit record, where it is not the second topic."""

    key: bytes
    value: bytes
    topic: str = ""


@dataclass(frozen=True, slots=True)
class KafkaTransaction:
    """Records of one Kafka transaction, published all or none.

    Attributes:
        identity: the same for each attempt to publish the transaction.
        messages: records for the publisher's topic.
        audit_records: records for a second topic: the inputs of the messages, for a replay; of trades, the gaps that they changed, and
            what else a stream records.
        merged: identities of the earlier transactions that were merged into this one.
        traceparent: context of the span that made it; empty when tracing is off.
        links: contexts of the spans of `merged`.
    """

    identity: str
    tick_ts: int
    messages: tuple[Message, ...]
    audit_records: tuple[Message, ...] = ()
    merged: tuple[str, ...] = ()
    traceparent: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A message or audit record that the broker rejects permanently: too large for its topic, or against a broker policy."""

    message: Message
    reason: str


class PublisherState(StrEnum):
    """State of the publisher's thread."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    FENCED = "fenced"
    CLOSED = "closed"


@dataclass(slots=True)
class PublisherStats:
    """Counters since the start; readable from any thread."""

    state: PublisherState = PublisherState.IDLE
    message: str = ""
    queue: int = 0
    transactions_total: int = 0
    records_total: int = 0
    dropped_total: int = 0
    repeated_total: int = 0
    refused_total: int = 0
    failures_total: int = 0


class PublisherEvents(Protocol):
    """Callbacks of the publisher, called from its thread unless stated otherwise."""

    def published(self, transaction: KafkaTransaction) -> None:
        """The broker acknowledged the transaction, which is passed without the refused records."""

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        """The broker rejects this record permanently: it is lost. The rest of the transaction is published."""

    def dropped(self, transaction: KafkaTransaction) -> None:
        """The queue was full: the transaction is lost, which is a gap. Called from the thread that calls `offer`."""

    def connected(self, last_tick_ts: int | None) -> None:
        """Connected; `last_tick_ts` is the newest published tick, None if no tick is published."""


class TransactionSink(Protocol):
    """Accepts transactions in order; never blocks."""

    def offer(self, transaction: KafkaTransaction) -> None:
        """Queue a transaction. If the queue is full, the oldest one is dropped and passed to `PublisherEvents.dropped`."""
