"""The network to the venues is silent for a minute, their sockets and their HTTP: no trade is lost, and the gap ledger has what was cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.streaming.actor import StreamActor
from cryptoviz.lake import Lake
from cryptoviz.settings import Settings, claim_home, load_settings
from market.server import MarketConfig, ReplayMarket
from tests.support.engines import engine_sections, engines
from tests.support.lake_job import caught_up, host_lake, ray_cluster
from tests.support.lake_readers import READERS
from tests.support.market_lake import MARKET_SYMBOLS, TradeKey, call, complete, published, same_ledger, same_trades
from tests.support.measure import say
from tests.support.ports import free_port
from tests.support.streams import StreamRig, venue_sections
from tests.support.tcp_proxy import Cut, TcpProxy
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.chaos, pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(600)]

CUT_S = 60.0
SNAPSHOT_TRADES = {"kraken": 50}
"""The last trades that a venue sends to a new connection: they need no refill."""


async def test_trades_of_a_minute_without_network_are_refilled_and_are_the_ledgers(tmp_path: Path) -> None:
    async with ReplayMarket(MarketConfig(trades_per_s=5.0)) as market, httpx.AsyncClient(base_url=market.url, timeout=20) as http:
        port, own = free_port(), int(market.url.rpartition(":")[2])
        venues = venue_sections(market, MARKET_SYMBOLS, f"http://127.0.0.1:{port}", instruments=("BTC", "ETH"))
        sections = engine_sections() | venues
        settings = claim_home(load_settings(home=tmp_path, log_level="INFO", lake={"ui_port": free_port(), "trigger_ms": 200}, **sections))
        # The proxy looks for the program of a connection among all processes: not in this loop, which is the market's.
        with TcpProxy(port, own) as proxy, engines(settings), ray_cluster() as ray:
            await run(StreamRig(settings, market, http), ray, proxy)


async def run(rig: StreamRig, ray: Any, proxy: TcpProxy) -> None:
    kind = ray.remote(StreamActor)
    actors = {venue: kind.options(name=venue, num_cpus=0, max_restarts=-1).remote(rig.settings, venue) for venue in MARKET_SYMBOLS}
    for actor in actors.values():
        await call(ray, actor.start)
    lake = host_lake(ray, rig.settings)
    await asyncio.to_thread(lake.start)
    await published(ray, actors, 150)
    pids = {venue: (await call(ray, actor.probe)).pid for venue, actor in actors.items()}

    await asyncio.to_thread(proxy.apply, Cut(None))
    began_us = utc_us()
    # Each stream notices it, says so, and is not replaced.
    await eventually_async(lambda: all_in_state(ray, actors, connected=False), CUT_S, every_s=1)
    while utc_us() < began_us + CUT_S * 1e6:
        await asyncio.sleep(0.5)
        assert await all_in_state(ray, actors, connected=False)
    ended_us = utc_us()
    await asyncio.to_thread(proxy.apply, Cut())

    await eventually_async(lambda: all_in_state(ray, actors, connected=True), 120, every_s=1)
    await complete(ray, actors, 180)
    say("complete again after s:", round((utc_us() - ended_us) / 1e6, 1))
    await published(ray, actors, 100)
    await complete(ray, actors)
    assert {venue: (await call(ray, actor.probe)).pid for venue, actor in actors.items()} == pids
    for actor in actors.values():
        await call(ray, actor.stop)
    report = await asyncio.to_thread(caught_up, rig.settings, topic=rig.settings.kafka.trades_topic)
    assert report.ok, report.to_text()
    await asyncio.to_thread(lake.stop)
    for stored in (reader(rig.settings, "trades").to_pylist() for reader in READERS):
        await same_trades(rig, stored)
        await ledger_is_what_was_cut(rig, stored, began_us, ended_us)
    assert same_ledger(rig.settings) == {}


async def all_in_state(ray: Any, actors: Mapping[str, Any], *, connected: bool) -> bool:
    """Whether each stream is as it should be with or without network."""
    probes = [await call(ray, actor.probe) for actor in actors.values()]
    assert all(probe.healthy for probe in probes), probes
    return all(probe.metrics["connected"] == float(connected) and probe.degraded != connected for probe in probes)


async def ledger_is_what_was_cut(rig: StreamRig, stored: Iterable[Mapping[str, Any]], began_us: int, ended_us: int) -> None:
    """The ids of the ledger are those that no stream brought, and all that the market made meanwhile are among them, but for those of a snapshot."""
    rows = list(stored)
    streamed = {key_of(row) for row in rows if row["source"] != "refill"}
    made = {(venue, symbol): await made_ids(rig, rows, venue, symbol) for venue, symbols in MARKET_SYMBOLS.items() for symbol in symbols}
    cut = {(*name, number) for name, times in made.items() for number in times} - streamed
    assert ledger_ids(rig.settings) == cut
    for name, times in made.items():
        # A second of each end: what was on its way at the cut, and clocks in whole milliseconds.
        meanwhile = {(*name, number) for number, at_us in times.items() if began_us + 1_000_000 <= at_us <= ended_us - 1_000_000}
        assert len(meanwhile) > CUT_S  # five a second are made
        snapshot = sorted(meanwhile - cut)
        assert len(snapshot) <= SNAPSHOT_TRADES.get(name[0], 0)
        assert snapshot == sorted(meanwhile)[len(meanwhile) - len(snapshot) :]
        assert all(began_us - 1_000_000 <= times[number] for *of, number in cut if tuple(of) == name)
    say("trades cut off, refilled, and in the ledger:", len(cut))


async def made_ids(rig: StreamRig, rows: Iterable[Mapping[str, Any]], venue: str, symbol: str) -> dict[int, int]:
    """The market's trades from the first to the last recorded: time (UTC epoch us) by id."""
    numbers = [row["trade_number"] for row in rows if (row["venue"], row["venue_symbol"]) == (venue, symbol)]
    return {number: at_us for number, (*_, at_us) in (await rig.made(venue, symbol, min(numbers), max(numbers))).items()}


def ledger_ids(settings: Settings) -> set[TradeKey]:
    gaps = [gap for gap in Lake(settings).trade_gaps().arrow().to_pylist() if gap["state"] != "halt"]
    return {(gap["venue"], gap["venue_symbol"], number) for gap in gaps for number in range(gap["first_id"], gap["last_id"] + 1)}


def key_of(row: Mapping[str, Any]) -> TradeKey:
    return row["venue"], row["venue_symbol"], row["trade_number"]


def utc_us() -> int:
    return time.time_ns() // 1000
