"""Scrapers and collector as Ray actors, killed at any moment; after a crash the test calls `start` again, like the controller."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from actors.collecting.actor import CollectorActor
from actors.scraping.actor import ScraperActor
from cryptoviz.components import Probe
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings
from market.server import ReplayMarket
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
    """The three actors, with the names and options of the controller."""

    def __init__(self, settings: Settings) -> None:
        options = {"namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1}
        self.handles: dict[str, Any] = {"collector": ray.remote(CollectorActor).options(name="collector", **options).remote(settings)}
        for name in PROVIDERS:
            self.handles[f"scraper/{name}"] = ray.remote(ScraperActor).options(name=f"scraper/{name}", **options).remote(settings, name)

    async def start(self, name: str) -> None:
        async def started() -> bool:
            try:
                await self.handles[name].start.remote()
            except RayError:
                return False
            return (await self.probe(name)).running

        await until(started, 60.0)

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

        await until(reached, 60.0)


@pytest.fixture
async def running(base: Settings, tmp_path: Path) -> AsyncIterator[tuple[Actors, Settings]]:
    async with ReplayMarket() as market:
        settings = settings_for(base, tmp_path, {name: market.base_url(name) for name in PROVIDERS})
        actors = Actors(settings)
        for name in actors.handles:
            await actors.start(name)
        yield actors, settings
        for name in reversed(actors.handles):
            await actors.handles[name].stop.remote()
            ray.kill(actors.handles[name])


async def test_actors_killed_in_turn_come_back_without_a_tick_twice(running: tuple[Actors, Settings]):
    actors, settings = running
    await actors.published(3)
    for victim in ("collector", "scraper/coingecko", "collector"):
        await actors.kill(victim)
        await actors.start(victim)
        await actors.published(3)
    probes = {name: await actors.probe(name) for name in actors.handles}
    values = await asyncio.to_thread(read_all, settings, settings.kafka.stream_topic)
    records = [UnifiedRecord.from_json(value) for value in values]
    assert all(probe.healthy for probe in probes.values()), probes
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
    assert len(records) == 17 * len({record.tick_ts for record in records}) >= 17 * 12
    assert records[-1].role == "primary"
