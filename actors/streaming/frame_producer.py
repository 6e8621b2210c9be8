"""Writes recorded frames to Kafka, compressed, beside the transactions of trades. What it cannot write is counted and logged."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaException

from actors.streaming.log_pause import LogPause
from cryptoviz.clock import Clock
from cryptoviz.kafka import producer
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings

__all__ = ["FrameProducer"]

QUEUE_KB = 16 * 1024
"""Batches that wait for Kafka, before compression: some seconds of a busy venue. Further ones are lost."""
_TIMEOUT_MS = 60_000
"""A batch that Kafka has not acknowledged within this time is lost. Replay looks so much further (`cryptoviz.lake.frame_replay`)."""

log = get_logger("stream")


class FrameProducer:
    """A `FrameSink` of one event loop. Not transactional: a batch may be written twice, and readers drop the second by its number."""

    def __init__(self, kafka: KafkaSettings, venue: str, clock: Clock, client: Any = None) -> None:
        """`client`: instead of a librdkafka producer. Connects in the background."""
        self.recorded = 0
        """Frames that Kafka has acknowledged."""
        self.lost = 0
        """Frames that were to be recorded and are not."""
        self._topic = kafka.frames_topic
        self._venue = venue
        self._log_pause = LogPause(clock)
        self._client = client or producer(
            kafka,
            {
                "compression.type": "zstd",
                "linger.ms": 100,
                "batch.size": min(1_000_000, kafka.max_record_bytes),  # a larger one would be refused as a whole
                "acks": "all",
                "max.in.flight.requests.per.connection": 1,  # keeps the order of a connection's batches when one is sent again
                "message.max.bytes": kafka.max_record_bytes,
                "message.timeout.ms": _TIMEOUT_MS,
                "queue.buffering.max.kbytes": QUEUE_KB,
            },
        )

    def put(self, key: bytes, value: bytes, at_ms: int, frames: int) -> None:
        def delivered(error: object, _: object) -> None:
            if error is None:
                self.recorded += frames
            else:
                self._lose(frames, str(error))

        try:
            self._client.produce(self._topic, value, key=key, timestamp=at_ms, on_delivery=delivered)
        except BufferError:
            self._lose(frames, f"{QUEUE_KB} KB wait for Kafka")
        except KafkaException as error:
            self._lose(frames, error.args[0].str())
        self._client.poll(0)

    def poll(self) -> None:
        self._client.poll(0)

    def close(self, timeout_s: float) -> None:
        self._client.flush(timeout_s)
        self._client.purge()  # the rest is lost
        self._client.flush(timeout_s)

    def _lose(self, frames: int, reason: str) -> None:
        self.lost += frames
        if self._log_pause.over():
            log.warning("frames_not_recorded", venue=self._venue, frames=self.lost, reason=reason)
