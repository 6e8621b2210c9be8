"""Forwards the events of a stream's publisher from its thread to the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from actors.publishing.transaction import KafkaTransaction, Refused

__all__ = ["Published", "PublisherEventsInLoop"]


class Published(Protocol):
    """Receives the events; called from the event loop."""

    def kafka_connected(self) -> None:
        """Earlier producers are fenced, so that what they have published does not change any more."""

    def acknowledged(self, transaction: KafkaTransaction, at_s: float) -> None:
        """Kafka has the transaction since `at_s` (monotonic)."""

    def record_refused(self, refused: Refused) -> None:
        """Kafka refuses a record permanently; the publisher has logged it."""


class PublisherEventsInLoop:
    """`PublisherEvents` of the publisher's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: Published) -> None:
        self._loop = loop
        self._listener = listener

    def published(self, transaction: KafkaTransaction) -> None:
        self._call(self._listener.acknowledged, transaction, time.monotonic())

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        del transaction
        self._call(self._listener.record_refused, refused)

    def dropped(self, transaction: KafkaTransaction) -> None:
        """Never: the gate closes long before the queue is full."""

    def connected(self, last_tick_ts: int | None) -> None:
        del last_tick_ts
        self._call(self._listener.kafka_connected)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)
