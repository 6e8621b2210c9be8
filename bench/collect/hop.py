"""The way from a response in a scraper's process to Kafka's acknowledgement of the collector's, as it is in the pipeline: over Ray.

One actor a provider parses its body and hands the result over; the collector's actor chooses and publishes. All times are the machine's monotonic
clock's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from actors.collecting.core import CollectorCore
from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, Refused
from cryptoviz.records import TickResult
from cryptoviz.settings import Settings
from tests.support.clock import FakeClock
from tests.support.collection_fakes import FakeSnapshot

__all__ = ["through_ray"]

Parse = Callable[[int], TickResult]
ACK_TIMEOUT_S = 30.0
WARM_TICKS = 20
"""Calls between new actors first open connections."""


class HopCollector:
    """`CollectorCore` and its publisher in an actor."""

    def __init__(self, settings: Settings, first_tick: int) -> None:
        self._clock = FakeClock(first_tick)
        self._acknowledged: dict[int, asyncio.Future[float]] = {}
        self._transport = KafkaTransport(settings.kafka, settings.kafka.stream_topic, "bench-hop", PublishedTicks())
        self._publisher = Publisher("bench", self._transport, 10, self)
        self._core = CollectorCore(settings, self._clock, self._publisher, FakeSnapshot())

    async def start(self) -> None:
        """Connect, then close ticks as their results come."""
        self._loop = asyncio.get_running_loop()
        self._publisher.start()
        self._task = asyncio.create_task(self._core.run())

    async def submit(self, result: TickResult) -> None:
        """As `CollectorActor.submit`."""
        self._clock.ms = max(self._clock.ms, result.tick_ts)
        self._core.submit(result)

    async def acknowledged(self, tick_ts: int) -> float:
        """When Kafka had the tick (monotonic seconds)."""
        async with asyncio.timeout(ACK_TIMEOUT_S):
            return await self._told(tick_ts)

    def published(self, transaction: KafkaTransaction) -> None:
        """Called from the publisher's thread."""
        self._loop.call_soon_threadsafe(lambda at: self._told(transaction.tick_ts).set_result(at), time.perf_counter())

    def _told(self, tick_ts: int) -> asyncio.Future[float]:
        return self._acknowledged.setdefault(tick_ts, self._loop.create_future())

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        """Never: the records are small."""
        raise SystemExit(f"{transaction.identity} was refused: {refused.reason}")

    def dropped(self, transaction: KafkaTransaction) -> None:
        """Never, with one tick at a time."""
        raise SystemExit(f"{transaction.identity} was dropped")

    def connected(self, last_tick_ts: int | None) -> None:
        """Nothing to do."""


class HopScraper:
    """Parses a body and hands the result over, as a scraper does."""

    def __init__(self, parse: Parse, collector: Any) -> None:
        self._parse = parse
        self._collector = collector

    async def tick(self, tick_ts: int) -> float:
        """When the body was complete (monotonic seconds)."""
        begun = time.perf_counter()
        await self._collector.submit.remote(self._parse(tick_ts))
        return begun


def through_ray(ray: Any, settings: Settings, parsers: Mapping[str, Parse], first_tick: int, tick_ms: int, ticks: int) -> list[float]:
    """Milliseconds from the first complete body of a tick to the acknowledgement, tick after tick."""
    collector = ray.remote(HopCollector).options(num_cpus=0, max_concurrency=16).remote(settings, first_tick)
    ray.get(collector.start.remote())
    scrapers = [ray.remote(HopScraper).options(num_cpus=0).remote(parse, collector) for parse in parsers.values()]
    took = []
    for number in range(WARM_TICKS + ticks):
        tick_ts = first_tick + number * tick_ms
        begun = min(ray.get([scraper.tick.remote(tick_ts) for scraper in scrapers]))
        ended = ray.get(collector.acknowledged.remote(tick_ts))
        took.append((ended - begun) * 1000)
    return took[WARM_TICKS:]
