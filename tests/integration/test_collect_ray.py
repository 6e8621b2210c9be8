"""Scrapers and collector as Ray actors, killed at any moment; after a crash the test calls `start` again, like the controller."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import ray
from ray.exceptions import RayError

from actors.collecting.actor import CollectorActor
from actors.scraping.actor import ScraperActor
from actors.scraping.shard_actor import ShardActor
from cryptoviz.components import FAILURES_METRIC, Probe
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings
from cryptoviz.shards import shard_name
from market.server import ReplayMarket
from tests.support.clock import now_ms
from tests.support.collection import PROVIDERS, settings_for, until
from tests.support.engines import kafka_and_redis
from tests.support.ray_cluster import ray_on
from tests.support.topics import read_all

pytestmark = pytest.mark.integration
NAMESPACE = "cryptoviz"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with kafka_and_redis(tmp_path_factory.mktemp("engines")) as engines, ray_on(1, NAMESPACE, 80 << 20):
        yield engines.settings


class Actors:
    """Collector and scrapers, with the names and options of the controller."""

    def __init__(self, settings: Settings) -> None:
        options = {"namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1, "max_concurrency": 64}
        self.handles: dict[str, Any] = {"collector": ray.remote(CollectorActor).options(name="collector", **options).remote(settings)}
        for name in settings.collect.providers:
            self.handles[f"scraper/{name}"] = ray.remote(ScraperActor).options(name=f"scraper/{name}", **options).remote(settings, name)
            for number in range(2, settings.provider(name).scrapers + 1):
                shard = shard_name(name, number)
                self.handles[shard] = ray.remote(ShardActor).options(name=shard, **options).remote(settings, name, number)

    async def start(self, name: str) -> None:
        async def started() -> bool:
            try:
                await self.handles[name].start.remote()
            except RayError:
                return False
            return (await self.probe(name)).running

        await until(started, 240)

    async def probe(self, name: str) -> Probe:
        probe: Probe = await self.handles[name].probe.remote()
        return probe

    async def kill(self, name: str) -> None:
        pid = (await self.probe(name)).pid
        assert pid is not None
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)

    async def published(self, more: int) -> None:
        goal = (await self.probe("collector")).metrics["ticks_published_total"] + more

        async def reached() -> bool:
            return (await self.probe("collector")).metrics["ticks_published_total"] >= goal

        await until(reached)


@pytest.fixture
async def running(base: Settings, tmp_path: Path) -> AsyncIterator[tuple[Actors, Settings]]:
    async with ReplayMarket() as market:
        settings = settings_for(base, tmp_path, {name: market.base_url(name) for name in PROVIDERS})
        async with started(settings) as actors:
            yield actors, settings


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Actors]:
    actors = Actors(settings)
    for name in actors.handles:
        await actors.start(name)
    try:
        yield actors
    finally:
        for name in reversed(actors.handles):
            await actors.handles[name].stop.remote()
            ray.kill(actors.handles[name])


async def published_records(settings: Settings) -> list[UnifiedRecord]:
    values = await asyncio.to_thread(read_all, settings, settings.kafka.stream_topic)
    return [UnifiedRecord.from_json(value) for value in values]


async def test_actors_killed_in_turn_come_back_without_a_tick_twice(running: tuple[Actors, Settings]):
    actors, settings = running
    await actors.published(3)
    for victim in ("collector", "scraper/coingecko", "collector"):
        await actors.kill(victim)
        await actors.start(victim)
        await actors.published(3)

    async def in_order() -> bool:
        """A busy machine's polls may be late, and its newest tick a fallback."""
        assert all([(await actors.probe(name)).healthy for name in actors.handles])
        records = await published_records(settings)
        assert max(records, key=lambda record: record.tick_ts).role == "primary"
        return True

    await until(in_order)
    records = await published_records(settings)
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
    assert len(records) == 17 * len({record.tick_ts for record in records}) >= 17 * 12


async def test_coins_of_a_provider_over_several_scrapers(base: Settings, tmp_path: Path):
    """No coin is requested twice in a tick, every call counts for one plan; also with another number after a restart."""
    async with ReplayMarket() as market:
        shared = {"scrapers": 3, "quota": {"per_day": 1_000_000}}
        settings = settings_for(base, tmp_path, {"coinbase": market.base_url("coinbase")}, 2.0, own={"coinbase": shared})
        ticks = []
        for scrapers in (3, 2):
            own = settings.providers["coinbase"].model_copy(update={"scrapers": scrapers})
            settings = settings.model_copy(update={"providers": {"coinbase": own}})
            async with started(settings) as actors:
                await actors.published(3)
                if scrapers == 3:
                    await actors.kill("scraper/coinbase/2")
                    await actors.published(3)

                    async def one_is_absent(actors: Actors = actors) -> bool:
                        lead = await actors.probe("scraper/coinbase")
                        return lead.metrics["absent_scrapers"] == 1 and "polls the coins of scraper/coinbase/2, not there" in lead.message

                    await until(one_is_absent)
                    await actors.start("scraper/coinbase/2")

                async def divided(actors: Actors = actors) -> bool:
                    probes = [await actors.probe(name) for name in actors.handles if name.startswith("scraper/coinbase/")]
                    return all(probe.healthy and probe.metrics["polls_total"] > probe.metrics[FAILURES_METRIC] for probe in probes)

                await until(divided)
                await actors.published(2)
                asked_ms = now_ms()
                (used,) = (await actors.handles["scraper/coinbase"].provider_status.remote()).quotas
            values = await asyncio.to_thread(read_all, settings, settings.kafka.raw_topic)
            exchanges = [one for one in map(orjson.loads, values) if one["provider"] == "coinbase"]
            # One plan for all: each exchange was counted, and more calls were counted than exchanges recorded only where a scraper was killed.
            before = [one for one in exchanges if one["started_ts"] < asked_ms]
            assert len(before) <= used.used <= len(exchanges) + 17
            ticks.append({one["tick_ts"] for one in exchanges})
        products = [(one["tick_ts"], one["endpoint"]) for one in exchanges if one["attempt"] == 1]
        assert len({endpoint for _, endpoint in products}) >= len(settings.assets)
        assert [one for one, count in Counter(products).items() if count > 1] == []
        records = await published_records(settings)
        assert [one for one, count in Counter(record.event_id for record in records).items() if count > 1] == []
        # Of a tick whose poll took too long, or in which a scraper was killed, coins may lack; the others have all.
        assert {record.asset_id for record in records} == {asset.asset_id for asset in settings.assets}
        assert len(settings.assets) in Counter(record.tick_ts for record in records).values()
