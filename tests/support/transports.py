"""The producers' transports over a real broker, numbered ticks and exchanges, and the committed ticks of the stream topic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks, PublishedTransactions
from actors.publishing.transaction import KafkaTransaction, Message
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings
from tests.support.clock import T0
from tests.support.engines import Engines, kafka_and_redis
from tests.support.records import exchange
from tests.support.records import record as any_record
from tests.support.topics import read_all
from tests.support.waiting import eventually


@contextlib.contextmanager
def ready_kafka(home: Path) -> Iterator[Engines]:
    """Engines whose Kafka accepts transactions."""
    with kafka_and_redis(home) as found:
        eventually(lambda: _is_ready(found.settings), 120)
        yield found


def _is_ready(settings: Settings) -> bool:
    """A new broker creates the topics of its coordinators at the first call; producers retry."""
    try:
        collector(settings, "warm-up").connect()
    except EngineUnavailable:
        return False
    return True


def collector(settings: Settings, transactional_id: str | None = None) -> KafkaTransport:
    topic = settings.kafka.stream_topic
    return KafkaTransport(settings.kafka, topic, transactional_id or f"collector-{topic}", PublishedTicks())


def scraper(settings: Settings) -> KafkaTransport:
    topic = settings.kafka.raw_topic
    return KafkaTransport(settings.kafka, topic, f"scraper-{topic}", PublishedTransactions())


def tick(n: int) -> KafkaTransaction:
    tick_ts = T0 + n * 1000
    return KafkaTransaction(f"tick-{n}", tick_ts, tuple(Message(a.asset_id.encode(), any_record(tick_ts, a).to_json()) for a in DEFAULT_ASSETS))


def raw(n: int) -> KafkaTransaction:
    one = exchange(T0 + n * 1000, fetch_id=f"fetch-{n}")
    return KafkaTransaction(one.fetch_id, one.tick_ts, (Message(one.provider.encode(), one.to_json()),))


def events(settings: Settings) -> list[str]:
    return sorted(orjson.loads(value)["event_id"] for value in read_all(settings, settings.kafka.stream_topic))


def expected(*numbers: int) -> list[str]:
    return sorted(orjson.loads(message.value)["event_id"] for n in numbers for message in tick(n).messages)
