"""Shared by integration tests of collection: engines, separate topics, and market, scrapers and collector in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec

from actors.collecting.actor import CollectorActor
from actors.scraping.actor import ScraperActor
from cryptoviz.clock import SystemClock
from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import admin_client
from cryptoviz.kafka import consumer as kafka_consumer
from cryptoviz.records import TickResult, UnifiedRecord
from cryptoviz.settings import Settings, claim_home, load_settings
from market.server import ReplayMarket
from tests.helpers import eventually, eventually_async, free_ports

PROVIDERS = ("coingecko", "coinmarketcap")


@dataclass(frozen=True)
class Engines:
    settings: Settings
    kafka: Engine
    redis: Engine


@contextlib.contextmanager
def kafka_and_redis(home: Path) -> Iterator[Engines]:
    """Real engines; `settings_for` returns settings that use them."""
    ports = free_ports(3)
    settings = claim_home(load_settings(home=home, kafka={"port": ports[0], "controller_port": ports[1]}, redis={"port": ports[2]}))
    with contextlib.ExitStack() as stack:
        found = Engines(settings, build_engine("kafka", settings), build_engine("redis", settings))
        for engine in (found.kafka, found.redis):
            stack.callback(engine.stop)
            engine.start()
        yield found


class LocalCollector:
    """Client of a collector in this process. `away` makes it unreachable."""

    def __init__(self) -> None:
        self.actor: CollectorActor | None = None
        self.away = False

    async def submit(self, result: TickResult) -> None:
        await self._there().submit(result)

    async def deregister(self, provider: str) -> None:
        await self._there().deregister(provider)

    def _there(self) -> CollectorActor:
        if self.actor is None or self.away:
            raise EngineUnavailable("the collector does not answer", engine="collector", address="local")
        return self.actor


class Collection:
    """Market, scrapers and collector, in one event loop."""

    def __init__(self, settings: Settings, market: ReplayMarket) -> None:
        self.settings = settings
        self.market = market
        self.client = LocalCollector()
        self.collector = CollectorActor(settings)
        self.client.actor = self.collector
        self.scrapers = {name: ScraperActor(settings, name, self.client) for name in settings.collect.providers}

    async def start(self) -> None:
        await self.collector.start()
        for scraper in self.scrapers.values():
            await scraper.start()

    async def stop(self) -> None:
        for scraper in self.scrapers.values():
            await scraper.stop()
        await self.collector.stop()

    def misbehave(self, provider: str, kind: str, **parameters: Any) -> None:
        self.market.faults.add({"provider": provider, "kind": kind, "parameters": parameters}, self.market.clock.monotonic_s())

    async def metric(self, name: str) -> float:
        return (await self.collector.probe()).metrics.get(name, 0.0)

    async def records(self) -> list[UnifiedRecord]:
        values = await asyncio.to_thread(read_all, self.settings, self.settings.kafka.stream_topic)
        return [UnifiedRecord.from_json(value) for value in values]

    async def raw(self) -> list[dict[str, Any]]:
        values = await asyncio.to_thread(read_all, self.settings, self.settings.kafka.raw_topic)
        return [orjson.loads(value) for value in values]

    async def published(self, more: int, timeout_s: float = 30.0) -> None:
        """Wait for this number of further acknowledged ticks."""
        goal = await self.metric("ticks_published_total") + more

        async def reached() -> bool:
            return await self.metric("ticks_published_total") >= goal

        await eventually_async(reached, timeout_s)


@contextlib.asynccontextmanager
async def collection(base: Settings, home: Path, providers: Sequence[str] = PROVIDERS, **overrides: Any) -> AsyncIterator[Collection]:
    """A running collection with its own topics and market."""
    async with ReplayMarket() as market:
        settings = settings_for(base, home, {name: market.base_url(name) for name in providers}, **overrides)
        running = Collection(settings, market)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()


def settings_for(
    base: Settings,
    home: Path,
    base_urls: dict[str, str],
    tick_s: float = 1.0,
    queue_ticks: int = 120,
    own: Mapping[str, dict[str, Any]] | None = None,
) -> Settings:
    """Settings with separate topics on the engines of `base`. `own`: further settings of a provider."""
    run = uuid.uuid4().hex[:8]
    settings = load_settings(
        home=home,
        kafka=base.kafka.access() | {"raw_topic": f"raw-{run}", "stream_topic": f"stream-{run}"},
        redis={"url": base.redis.url},
        collect={"tick_s": tick_s, "queue_ticks": queue_ticks, "providers": tuple(base_urls) or ("coingecko",)},
        providers={
            name: {"base_url": url, "rate_limit_wait_s": tick_s, "max_wait_s": 3 * tick_s, **(own or {}).get(name, {})}
            for name, url in base_urls.items()
        },
    )
    TopicAdmin(settings.kafka).ensure_topics({})
    return settings


def read_all(settings: Settings, topic: str, timeout_s: float = 20.0) -> list[bytes]:
    """All committed values of a topic, independently of the code under test.

    The markers of a transaction reach its partitions a moment after its end is answered, and hide its records until then: waits for them first.
    """
    eventually(lambda: _all_ended(settings, topic), timeout_s)
    consumer = kafka_consumer(settings.kafka, {"group.id": uuid.uuid4().hex, "enable.partition.eof": True})
    try:
        left = set(consumer.list_topics(topic, 10.0).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        values: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while left:
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                values.append(message.value())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
        return values
    finally:
        consumer.close()


def _all_ended(settings: Settings, topic: str) -> bool:
    """Whether the topic has no open transaction: both kinds of readers see the same ends."""
    admin = admin_client(settings.kafka)
    partitions = admin.list_topics(topic, 10.0).topics[topic].partitions
    ends = []
    for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
        asked = admin.list_offsets(
            {TopicPartition(topic, each): OffsetSpec.latest() for each in partitions}, isolation_level=level, request_timeout=10.0
        )
        ends.append({key.partition: future.result(10.0).offset for key, future in asked.items()})
    return ends[0] == ends[1]


async def until(check: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    await eventually_async(check, timeout_s)


def now_ms() -> int:
    return SystemClock().now_ms()
