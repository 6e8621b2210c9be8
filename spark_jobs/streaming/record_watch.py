"""Waits until Kafka has something for the next batch, so that Spark plans nothing in between.

Spark's own trigger asks Kafka for the end offsets several times a second, whether there are records or not. Instead, the function of a batch returns
when the next batch is due. The watch decides when Spark plans a batch, never what is in it. In doubt it returns early; then Spark polls Kafka at the
trigger's interval until the next batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings

__all__ = ["RecordWatch"]

_POLL_S = 0.5
_END_S = 1.0
_SILENT_S = 10.0
"""After this time without a message the ends of the partitions are asked for."""
_CLOSE_S = 3.0
"""Longer than a poll and the look at the ends."""
# The broker holds a fetch request for this long if there are no records.
_FETCH_WAIT_MS = 500

Position = Mapping[tuple[str, int], int]
"""(topic, partition) to an offset."""

log = get_logger("lake")


class RecordWatch:
    """Watches topics by a long poll of the broker; `wake` reports news of any other kind. `wait` is called from one thread."""

    def __init__(self, kafka: KafkaSettings, topics: Collection[str], interval_s: float) -> None:
        """Connects at the first `wait`. `interval_s`: least time between the ends of two waits."""
        self.waiting = False
        """Whether the query waits for records. May be read from any thread."""
        self._kafka = kafka
        self._topics = frozenset(topics)
        self._interval_s = interval_s
        self._ended_s = -interval_s
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._in_use = threading.Lock()
        self._consumer: Any = None

    def wait(self, position: Position) -> None:
        """Block until a topic has a committed record at or after `position`, `wake` is called, or the watch is closed. Never raises: see above."""
        self._wake.clear()
        self.waiting = True
        try:
            with self._in_use:
                self._await_record({key: offset for key, offset in position.items() if key[0] in self._topics})
        except KafkaException as error:
            log.warning("kafka_watch_failed", error=str(error))
        finally:
            self.waiting = False
        if self._closed.is_set():
            self.close()  # which may have given up before this wait ended
        self._closed.wait(max(0.0, self._ended_s + self._interval_s - time.monotonic()))
        self._ended_s = time.monotonic()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def wake(self) -> None:
        """End a wait that has begun. May be called from any thread."""
        self._wake.set()

    def close(self) -> None:
        """End the present wait and all later ones, and the connection to Kafka with its threads. May be called from any thread, more than once.

        A wait that does not end within `_CLOSE_S` ends the connection itself when it does.
        """
        self._closed.set()
        if not self._in_use.acquire(timeout=_CLOSE_S):
            return
        try:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = None
        finally:
            self._in_use.release()

    def _await_record(self, position: Position) -> None:
        if self._closed.is_set():
            return
        if self._consumer is None:
            self._consumer = kafka_consumer(
                self._kafka,
                {
                    "client.id": "cryptoviz-lake-watch",
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": _FETCH_WAIT_MS,
                    # The records are not used: fetch as few as possible.
                    "fetch.message.max.bytes": 1,
                    "queued.min.messages": 1,
                    # By default, librdkafka waits a second before the next fetch once its queue is full, which one record does here.
                    "fetch.queue.backoff.ms": 5,
                },
            )
        # Under load there are records already, and a fetch would first wait for the end of the one before it.
        if self._has_more(position):
            return
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in position.items()])
        silent_since_s = time.monotonic()
        while not self._closed.is_set() and not self._wake.is_set() and not self._arrived(position):
            if time.monotonic() - silent_since_s < _SILENT_S:
                continue
            if self._has_more(position):  # a consumer that fetches nothing any more, as a task's (`kafka_range_reader`)
                self._consumer.close()
                self._consumer = None
                return
            silent_since_s = time.monotonic()
        self._consumer.unassign()

    def _has_more(self, position: Position) -> bool:
        """Whether a partition ends after its position; no if Kafka does not say it within `_END_S`."""
        deadline = time.monotonic() + _END_S
        try:
            for key, offset in position.items():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                if self._consumer.get_watermark_offsets(TopicPartition(*key), timeout=left_s)[1] > offset:
                    return True
        except KafkaException:
            return False
        return False

    def _arrived(self, position: Position) -> bool:
        """Whether there is a record, an offset without a record (of an aborted transaction), or an error. Takes at most `_POLL_S`."""
        message = self._consumer.poll(_POLL_S)
        if message is None:
            return False
        error = message.error()
        return error is None or error.code() != KafkaError._PARTITION_EOF or message.offset() > position[message.topic(), message.partition()]
