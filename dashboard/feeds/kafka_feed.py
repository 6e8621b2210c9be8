"""Live prices: the Redis snapshot first, then the tail of the stream topic, committed records only.

One thread per process, independent of the number of browsers. It uses no consumer group and commits no offsets: each start reads the recent past
to fill the charts.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cryptoviz.clock import Clock, SystemClock
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.log import get_logger
from cryptoviz.records import Kind, UnifiedRecord
from cryptoviz.redis_keys import LATEST_KEY, of_namespace
from cryptoviz.settings import Settings
from dashboard.shared_state import RING_TICKS, FeedStatus, LiveState

__all__ = ["LiveFeed", "Start", "decode", "raise_if_lost", "reason_of", "starts"]

_POLL_S = 0.1
_DRAIN_MESSAGES = 2000
_METADATA_TIMEOUT_S = 5.0
_MAX_BACKLOG_PER_PARTITION = 60_000
"""Capacity of the rings of the default assets; bounds the start with a fast or foreign topic."""
_PARTITIONS_S = 5.0
"""Interval of checks for new partitions."""
_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 5.0
_REDIS_TIMEOUT_S = 2.0

_TEXTS = ("asset_id", "symbol", "name", "quote_currency", "provider", "role")
_NUMBERS = (
    "market_cap", "volume_24h", "high_24h", "low_24h", "change_1h_pct", "change_24h_pct", "change_7d_pct", "circulating_supply", "rank",
    "consensus_price", "consensus_sources", "spread_bps", "ingest_ts",
)  # fmt: skip

log = get_logger("dashboard")


class LiveFeed:
    """Owns the ingest thread. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, settings: Settings, state: LiveState, clock: Clock | None = None) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
        self.rejected = 0
        """Number of invalid records; the lake stores them as dead letters."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause_s = _BACKOFF_FIRST_S
        while not self._stop.is_set():
            try:
                self._load_snapshot()
                self._follow()
                pause_s = _BACKOFF_FIRST_S
            except (KafkaException, redis.RedisError, OSError) as error:
                message = reason_of(error)
                self._state.set_status(FeedStatus(connected=False, message=message))
                log.warning("live_feed_lost", reason=message, retry_in_s=pause_s)
                self._stop.wait(pause_s)
                pause_s = min(_BACKOFF_LAST_S, pause_s * 2)

    def _load_snapshot(self) -> None:
        """Load the latest values before Kafka answers. Optional: errors of Redis are ignored."""
        client = redis.Redis.from_url(**self._settings.redis.connection(_REDIS_TIMEOUT_S))
        try:
            values = client.hgetall(of_namespace(LATEST_KEY, self._settings.ray.namespace))
        except redis.RedisError as error:
            log.info("snapshot_unavailable", reason=reason_of(error))
            return
        finally:
            client.close()
        if isinstance(values, dict):
            self._state.apply(self._decoded(value for value in values.values() if isinstance(value, bytes)), snapshot=True)

    def _follow(self) -> None:
        consumer = kafka_consumer(
            self._settings.kafka,
            {
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                # The broker answers as soon as a transaction is committed; without records, each answer is work for it.
                "fetch.wait.max.ms": 5000,
                "queued.max.messages.kbytes": 4096,  # the default of 64 MB per partition would be filled at the start
                "reconnect.backoff.max.ms": 2000,
                "reconnect.backoff.ms": 500,
                "log_level": 2,  # connection errors are reported by this module, once
                "error_cb": self._broker_error,
            },
        )
        try:
            positions = self._positions(consumer)
            consumer.assign(positions)
            self._consume(consumer, {position.partition for position in positions})
        finally:
            consumer.close()

    def _positions(self, consumer: Consumer) -> list[TopicPartition]:
        """Start offsets, far enough back to fill the rings."""
        topic = self._settings.kafka.stream_topic
        metadata = consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        since_ms = self._clock.now_ms() - RING_TICKS * self._settings.collect.tick_ms
        wanted = [TopicPartition(topic, partition, since_ms) for partition in metadata.partitions]
        found = starts(consumer, wanted, _METADATA_TIMEOUT_S)
        return [TopicPartition(topic, one.partition, max(one.low, one.at, one.high - _MAX_BACKLOG_PER_PARTITION)) for one in found]

    def _consume(self, consumer: Consumer, partitions: set[int]) -> None:
        """Consume until the feed is stopped or the topic's partitions change."""
        look_s = time.monotonic() + _PARTITIONS_S
        while not self._stop.is_set():
            if time.monotonic() >= look_s:
                if self._repartitioned(consumer, partitions):
                    return
                look_s = time.monotonic() + _PARTITIONS_S
            first = consumer.poll(_POLL_S)
            if first is None:
                # Silence is not a lost connection; the age display shows old values.
                self._check(consumer)
                continue
            # poll waits for one record; the rest of its transaction is already fetched.
            messages = [first, *consumer.consume(_DRAIN_MESSAGES, timeout=0)]
            values = []
            for message in messages:
                error = message.error()
                if error is not None:
                    raise_if_lost(error)
                    continue
                values.append(_value(message))
            if values:
                self._state.set_status(FeedStatus(connected=True))
                self._state.apply(self._decoded(values))

    def _repartitioned(self, consumer: Consumer, partitions: set[int]) -> bool:
        topic = self._settings.kafka.stream_topic
        try:
            now = set(consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic].partitions)
        except KafkaException:
            return False  # an unavailable broker is reported elsewhere
        if now and now != partitions:
            log.info("partitions_changed", topic=topic, partitions=len(now), before=len(partitions))
        return bool(now) and now != partitions

    def _broker_error(self, error: KafkaError) -> None:
        """Called by librdkafka in `poll`. Reported only when all brokers are down."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._state.set_status(FeedStatus(connected=False, message=f"Kafka: {error.str()}"))

    def _check(self, consumer: Consumer) -> None:
        if self._state.status.connected:
            return
        # No new record yet; an answer of the broker is enough to be connected.
        consumer.list_topics(self._settings.kafka.stream_topic, timeout=_METADATA_TIMEOUT_S)
        self._state.set_status(FeedStatus(connected=True))

    def _decoded(self, values: Iterable[bytes]) -> list[UnifiedRecord]:
        records = []
        for value in values:
            try:
                record = decode(value)
            except ValueError as error:
                self.rejected += 1
                log.info("record_rejected", reason=str(error), rejected=self.rejected)
                continue
            if record.kind == Kind.LIVE:  # backfilled rows are history, which the page reads from the lake
                records.append(record)
        return records


def decode(value: bytes) -> UnifiedRecord:
    """Decode and validate a unified record. Raises ValueError."""
    record = UnifiedRecord.from_json(value)
    wrong = [name for name in _TEXTS if not isinstance(getattr(record, name), str)]
    wrong += [name for name in _NUMBERS if not isinstance(getattr(record, name), int | float | None)]
    if wrong or not isinstance(record.tick_ts, int):
        raise ValueError(f"invalid type of {', '.join(wrong) or 'tick_ts'} in a unified record")
    if not isinstance(record.price, int | float) or not 0 < record.price < math.inf:
        raise ValueError(f"the price of a unified record must be finite and above 0, received {record.price!r}")
    return record


def _value(message: Message) -> bytes:
    value = message.value()
    return value if isinstance(value, bytes) else b""


class Start(NamedTuple):
    """Offsets of a partition: its first, that of a time, and its end."""

    partition: int
    low: int
    at: int
    high: int


def starts(consumer: Consumer, times: Sequence[TopicPartition], timeout_s: float) -> list[Start]:
    """Where the records since a time begin, by partition; its end if there are none.

    Args:
        consumer: connected, without an assignment.
        times: partitions, with a Unix time in ms as their offset.
        timeout_s: of each request.

    Raises:
        KafkaException: the broker does not answer.
    """
    # The ends first: a record that comes between the two answers would otherwise be before the start.
    ends = {one.partition: consumer.get_watermark_offsets(one, timeout=timeout_s) for one in times}
    found = ((one, *ends[one.partition]) for one in consumer.offsets_for_times(list(times), timeout=timeout_s))
    return [Start(one.partition, low, one.offset if one.offset >= 0 else high, high) for one, low, high in found]


_LOST = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


def raise_if_lost(error: KafkaError) -> None:
    """Raise an error of a consumer after which it must begin again."""
    if error.code() in _LOST or error.fatal():
        raise KafkaException(error)


def reason_of(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return f"Kafka: {error.args[0].str()}"
    return f"{type(error).__name__}: {error}"
