"""Waits until Kafka has something for the next batch, so that Spark plans nothing in between.

Spark's own trigger asks Kafka for the end offsets several times a second, whether there are records or not. Instead, the function of a batch returns
when the next batch is due. The watch decides when Spark plans a batch, never what is in it. In doubt it returns early; then Spark polls Kafka at the
trigger's interval until the next batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.settings import KafkaSettings

__all__ = ["RecordWatch"]

_POLL_S = 0.5
_END_S = 1.0
# The broker holds a fetch request for this long if there are no records.
_FETCH_WAIT_MS = 500


class RecordWatch:
    """Watches one topic by a long poll of the broker; `wake` reports news of any other kind. `wait` is called from one thread."""

    def __init__(self, kafka: KafkaSettings, topic: str, interval_s: float) -> None:
        """Connects at the first `wait`. `interval_s`: least time between the ends of two waits."""
        self.waiting = False
        """Whether the query waits for records. May be read from any thread."""
        self._kafka = kafka
        self._topic = topic
        self._interval_s = interval_s
        self._ended_s = -interval_s
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._consumer: Any = None

    def wait(self, position: Mapping[tuple[str, int], int]) -> None:
        """Block until the topic has a committed record at or after `position`, `wake` is called, or the watch is closed."""
        self._wake.clear()
        self.waiting = True
        try:
            own = {partition: offset for (topic, partition), offset in position.items() if topic == self._topic}
            # Under load there are records already, and a fetch would first wait for the end of the one before it.
            if not self._has_more(own):
                self._consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in own.items()])
                while not self._closed.is_set() and not self._wake.is_set() and not self._arrived(own):
                    pass
                self._consumer.unassign()
        finally:
            self.waiting = False
        self._closed.wait(max(0.0, self._ended_s + self._interval_s - time.monotonic()))
        self._ended_s = time.monotonic()

    def wake(self) -> None:
        """End a wait that has begun. May be called from any thread."""
        self._wake.set()

    def close(self) -> None:
        """End the present wait and all later ones. May be called from any thread."""
        self._closed.set()

    def _has_more(self, position: Mapping[int, int]) -> bool:
        """Whether a partition ends after its position; an error counts as no."""
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
        try:
            return any(self._end(partition) > offset for partition, offset in position.items())
        except KafkaException:
            return False

    def _end(self, partition: int) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_END_S)
        return int(end)

    def _arrived(self, position: Mapping[int, int]) -> bool:
        """Whether there is a record, an offset without a record (of an aborted transaction), or an error. Takes at most `_POLL_S`."""
        message = self._consumer.poll(_POLL_S)
        if message is None:
            return False
        error = message.error()
        return error is None or error.code() != KafkaError._PARTITION_EOF or message.offset() > position[message.partition()]
