"""Publishes records to Kafka: a backlog that becomes visible at once, or a steady rate."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.lake.position import Position
from bench.lake.records import START_MS
from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.records import RawExchange
from cryptoviz.settings import Settings
from tests.support.topics import ends_of
from tests.support.waiting import eventually

__all__ = ["Backlog", "backlog", "publish", "raw_beside", "steady", "steady_ticks"]

_TRANSACTION_MS = 900_000  # the broker's own limit
_POLL_EVERY = 20_000
_VISIBLE_S = 10.0
_RAW_HALF = 10_000  # a body of 20 kB


@dataclass(frozen=True, slots=True)
class Backlog:
    """Published records: number, bytes of values, time of visibility (epoch seconds), and the topic's end afterwards."""

    records: int
    value_bytes: int
    visible_s: float
    ends: Position


def backlog(settings: Settings, found: Iterable[tuple[bytes, bytes]], name: str = "bench-backlog") -> Backlog:
    """All records in one transaction, spread evenly over the partitions: readers of committed records see all at the same time."""
    producer = _producer(settings, name)
    partitions = settings.kafka.stream_partitions
    topic = settings.kafka.stream_topic
    before = sum(ends_of(settings, topic).values())
    producer.begin_transaction()
    count = size = 0
    for key, value in found:
        while True:
            try:
                producer.produce(topic, value, key=key, partition=count % partitions)
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
        size += len(value)
        if count % _POLL_EVERY == 0:
            producer.poll(0)
    producer.flush(300)
    producer.commit_transaction(60)
    # The broker writes transaction markers shortly after it has acknowledged the commit.
    eventually(lambda: sum(ends_of(settings, topic).values()) >= before + count, _VISIBLE_S)
    return Backlog(count, size, time.time(), ends_of(settings, topic))


def publish(producer: Any, topic: str, found: Iterable[tuple[bytes, bytes]]) -> None:
    """One transaction, partitioned by key."""
    producer.begin_transaction()
    for key, value in found:
        producer.produce(topic, value, key=key)
    producer.commit_transaction(30)


def steady(settings: Settings, found: Iterable[tuple[bytes, bytes]], per_s: int, seconds: float, every_s: float = 0.1) -> int:
    """`per_s` records a second, one transaction every `every_s`; returns their number."""
    size = max(1, round(per_s * every_s))
    return steady_ticks(settings, found, size, round(seconds * per_s / size), size / per_s)


def steady_ticks(settings: Settings, found: Iterable[tuple[bytes, bytes]], size: int, ticks: int, gap_s: float) -> int:
    """`ticks` transactions of `size` records, `gap_s` apart; returns the number of records."""
    producer = _producer(settings, "bench-steady")
    source = iter(found)
    pause = threading.Event()
    begun = time.monotonic()
    for number in range(ticks):
        pause.wait(max(0.0, begun + number * gap_s - time.monotonic()))
        publish(producer, settings.kafka.stream_topic, [next(source) for _ in range(size)])
    return size * ticks


@contextlib.contextmanager
def raw_beside(settings: Settings, per_s: int) -> Iterator[None]:
    """While the block runs, a thread publishes `per_s` raw exchanges a second, one transaction each."""
    ended = threading.Event()
    thread = threading.Thread(target=_raw, args=(settings, per_s, ended), name="raw-beside", daemon=True)
    if per_s:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if per_s:
            thread.join(30)


def _raw(settings: Settings, per_s: int, ended: threading.Event) -> None:
    producer = _producer(settings, "bench-raw")
    number = 0
    while not ended.wait(1 / per_s):
        number += 1
        now = START_MS + number * 1000 // per_s
        whole = RawExchange(
            f"{number:016x}", "coingecko", "/coins/markets", now, now + 5, now + 205, 200, "ok", None, {}, 1, "[" + "1," * _RAW_HALF + "1]"
        )
        publish(producer, settings.kafka.raw_topic, [(b"coingecko", whole.to_json())])


def _producer(settings: Settings, name: str) -> Any:
    producer = kafka_producer(
        settings.kafka,
        {
            "transactional.id": name,
            "transaction.timeout.ms": _TRANSACTION_MS,
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 500_000,
        },
    )
    producer.init_transactions(30)
    return producer
