"""The market's trades are the lake's, for both readers, though the market misbehaves and a stream's actor is killed; and candles are the market's."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.streaming.actor import StreamActor
from cryptoviz.lake import Lake
from cryptoviz.settings import Settings, claim_home, load_settings
from market.server import MarketConfig, ReplayMarket
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support.engines import engine_sections, engines
from tests.support.lake_job import caught_up, host_lake, ray_cluster
from tests.support.lake_readers import READERS
from tests.support.market_lake import MARKET_SYMBOLS, call, complete, published, same_candles, same_ledger, same_trades, started
from tests.support.ports import free_port
from tests.support.streams import StreamRig, venue_sections
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.chaos, pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(600)]

FAULTS = (("stream_drop", 7), ("stream_duplicate", 3), ("stream_reorder", 5), ("stream_garbage", 11))


async def test_served_trades_are_the_lakes_and_candles_are_the_markets(tmp_path: Path) -> None:
    async with ReplayMarket(MarketConfig(trades_per_s=5.0)) as market, httpx.AsyncClient(base_url=market.url, timeout=20) as http:
        sections = engine_sections() | venue_sections(market, MARKET_SYMBOLS, instruments=("BTC", "ETH"))
        settings = claim_home(load_settings(home=tmp_path, log_level="INFO", lake={"ui_port": free_port(), "trigger_ms": 200}, **sections))
        with engines(settings), ray_cluster() as ray:
            await run(StreamRig(settings, market, http), ray)


async def run(rig: StreamRig, ray: Any) -> None:
    kind = ray.remote(StreamActor)
    actors = {venue: kind.options(name=venue, num_cpus=0, max_restarts=-1).remote(rig.settings, venue) for venue in MARKET_SYMBOLS}
    for actor in actors.values():
        await call(ray, actor.start)
    lake = host_lake(ray, rig.settings)
    await asyncio.to_thread(lake.start)
    for venue in MARKET_SYMBOLS:
        for fault, every in FAULTS:
            await rig.fault(venue, fault, every=every)
    await published(ray, actors, 100)
    pid = (await call(ray, actors["binance"].probe)).pid
    os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: started(ray, actors["binance"]), 60)
    await published(ray, actors, 100)
    await rig.heal()
    await complete(ray, actors)
    for venue in MARKET_SYMBOLS:
        await eventually_async(partial(whole_minute, rig.settings, venue), 150, every_s=3)
    await complete(ray, actors)
    for actor in actors.values():
        await call(ray, actor.stop)
    report = await asyncio.to_thread(caught_up, rig.settings, topic=rig.settings.kafka.trades_topic)
    assert report.ok, report.to_text()
    await asyncio.to_thread(lake.stop)
    for stored in (reader(rig.settings, "trades").to_pylist() for reader in READERS):
        await same_trades(rig, stored)
    assert same_ledger(rig.settings) == {}
    await same_candles(rig)
    result = await asyncio.to_thread(run_round, RoundContext(rig.settings, rig.settings.home / "scratch"), [s for s in STEPS if s.name != "gaps"])
    assert not result.failures
    await same_candles(rig)


async def whole_minute(settings: Settings, venue: str) -> bool:
    """Whether the lake has a complete minute of each symbol."""
    rows = (await asyncio.to_thread(Lake(settings).trade_candles, None, "1m", venues=venue)).arrow().to_pylist()
    return {row["venue_symbol"] for row in rows if row["complete"]} == {*MARKET_SYMBOLS[venue]}
