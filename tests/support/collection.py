"""Market, scrapers and collector in this process, with separate topics on shared engines."""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from actors.collecting.actor import CollectorActor
from actors.scraping.actor import ScraperActor
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.errors import EngineUnavailable
from cryptoviz.records import TickResult, UnifiedRecord
from cryptoviz.settings import Settings, load_settings
from market.server import ReplayMarket
from tests.support.clock import now_ms
from tests.support.topics import make_topics, read_all
from tests.support.waiting import eventually_async

PROVIDERS = ("coingecko", "coinmarketcap")


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

    async def without_price(self) -> set[int]:
        """Ticks for which no provider's prices were there in time, as on a busy machine, by what the collector recorded."""
        own = [one for one in await self.raw() if (one["provider"], one["endpoint"]) == (RECORDER, TICK)]
        results = {one["tick_ts"]: orjson.loads(one["body"])["results"].values() for one in own}
        return {tick_ts for tick_ts, found in results.items() if all("failure" in result for result in found)}

    async def published(self, more: int, timeout_s: float = 120.0) -> None:
        """Wait for this number of further acknowledged ticks that began after this call: ticks of a queue do not count."""
        begun, goal = now_ms(), await self.metric("ticks_published_total") + more
        newest = begun + (more - 1) * self.settings.collect.tick_s * 1000

        async def reached() -> bool:
            metrics = (await self.collector.probe()).metrics
            age_ms = 1000 * metrics.get("last_tick_ts_age_s", math.inf)
            return metrics.get("ticks_published_total", 0.0) >= goal and now_ms() - age_ms >= newest

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
    make_topics(settings)
    return settings


async def until(check: Callable[[], Awaitable[bool]], timeout_s: float = 120.0) -> None:
    await eventually_async(check, timeout_s)
