"""What a publisher is given, and what it tells: batches and their fate. No Kafka in here, so that logic around it is tested without."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Batch", "BatchSink", "Message", "PublisherEvents", "PublisherState", "PublisherStats", "Refused"]


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction carries: seen whole or not at all. `identity` is the same for each try to publish it.

    `notes` go to the raw topic: what the messages were made of, for a replay.
    """

    identity: str
    tick_ts: int
    messages: tuple[Message, ...]
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A message or note that the broker never takes: too large for its topic, or against its rules."""

    message: Message
    reason: str


class PublisherState(StrEnum):
    """What the publisher's thread does."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    FENCED = "fenced"
    CLOSED = "closed"


@dataclass(slots=True)
class PublisherStats:
    """Counters since the start; read from any thread."""

    state: PublisherState = PublisherState.IDLE
    message: str = ""
    queue: int = 0
    batches_total: int = 0
    records_total: int = 0
    dropped_total: int = 0
    repeated_total: int = 0
    refused_total: int = 0
    failures_total: int = 0


class PublisherEvents(Protocol):
    """Told from the publisher's thread."""

    def published(self, batch: Batch) -> None:
        """The broker acknowledged the transaction. The batch is without what it refused."""
        ...

    def refused(self, batch: Batch, refused: Refused) -> None:
        """The broker never takes this part of the batch: it is lost. The rest is published."""
        ...

    def dropped(self, batch: Batch) -> None:
        """The queue was full: the batch is lost, which is a gap."""
        ...

    def connected(self, last_tick_ts: int | None) -> None:
        """The topic's tail was read; `last_tick_ts` is the newest published tick, None when there is none."""
        ...


class BatchSink(Protocol):
    """Takes batches in order; never blocks."""

    def offer(self, batch: Batch) -> None:
        """Queue a batch; when the queue is full the oldest is dropped with `PublisherEvents.dropped`."""
        ...
