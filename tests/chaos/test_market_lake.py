"""The market's trades are the lake's, for both readers, though the market misbehaves and a stream's actor is killed; and candles are the market's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from decimal import Decimal
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
from tests.support.measure import say
from tests.support.ports import free_port
from tests.support.streams import StreamRig, venue_sections
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.chaos, pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(600)]

SYMBOLS = {"binance": ("BTCUSDT", "ETHUSDT"), "kraken": ("BTC/USD", "ETH/USD"), "coinbase": ("BTC-USD", "ETH-USD")}
FAULTS = (("stream_drop", 7), ("stream_duplicate", 3), ("stream_reorder", 5), ("stream_garbage", 11))
BINANCE = ("open", "high", "low", "close", "volume", "", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
KRAKEN = ("open", "high", "low", "close", "", "volume", "trades")
COINBASE = ("low", "high", "open", "close", "volume")


async def test_served_trades_are_the_lakes_and_candles_are_the_markets(tmp_path: Path) -> None:
    async with ReplayMarket(MarketConfig(trades_per_s=5.0)) as market, httpx.AsyncClient(base_url=market.url, timeout=20) as http:
        sections = engine_sections() | venue_sections(market, SYMBOLS, instruments=("BTC", "ETH"))
        settings = claim_home(load_settings(home=tmp_path, log_level="INFO", lake={"ui_port": free_port(), "trigger_ms": 200}, **sections))
        with engines(settings), ray_cluster() as ray:
            await run(StreamRig(settings, market, http), ray)


async def run(rig: StreamRig, ray: Any) -> None:
    kind = ray.remote(StreamActor)
    actors = {venue: kind.options(name=venue, num_cpus=0, max_restarts=-1).remote(rig.settings, venue) for venue in SYMBOLS}
    for actor in actors.values():
        await call(ray, actor.start)
    lake = host_lake(ray, rig.settings)
    await asyncio.to_thread(lake.start)
    for venue in SYMBOLS:
        for fault, every in FAULTS:
            await rig.fault(venue, fault, every=every)
    await published(ray, actors, 100)
    pid = (await call(ray, actors["binance"].probe)).pid
    os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: started(ray, actors["binance"]), 60)
    await published(ray, actors, 100)
    await rig.heal()
    await complete(ray, actors)
    for venue in SYMBOLS:
        await eventually_async(partial(whole_minute, rig.settings, venue), 150, every_s=3)
    await complete(ray, actors)
    for actor in actors.values():
        await call(ray, actor.stop)
    report = await asyncio.to_thread(caught_up, rig.settings, topic=rig.settings.kafka.trades_topic)
    assert report.ok, report.to_text()
    await asyncio.to_thread(lake.stop)
    for stored in (reader(rig.settings, "trades").to_pylist() for reader in READERS):
        await same_trades(rig, stored)
    same_ledger(rig.settings)
    await same_candles(rig)
    result = await asyncio.to_thread(run_round, RoundContext(rig.settings, rig.settings.home / "scratch"), [s for s in STEPS if s.name != "gaps"])
    assert not result.failures
    await same_candles(rig)


async def call(ray: Any, method: Any) -> Any:
    return await asyncio.to_thread(ray.get, method.remote(), timeout=60)


async def started(ray: Any, actor: Any) -> bool:
    """As the controller does it: Ray makes the actor again, and it is started."""
    try:
        await call(ray, actor.start)
    except ray.exceptions.RayActorError:
        return False
    return True


async def published(ray: Any, actors: Mapping[str, Any], more: int) -> None:
    before = {venue: (await call(ray, actor.probe)).metrics["published_total"] for venue, actor in actors.items()}

    async def enough() -> bool:
        probes = {venue: await call(ray, actor.probe) for venue, actor in actors.items()}
        return all(probe.metrics["published_total"] >= before[venue] + more for venue, probe in probes.items())

    await eventually_async(enough, 90, every_s=1)


async def complete(ray: Any, actors: Mapping[str, Any]) -> None:
    async def without_gaps() -> bool:
        return not any([(await call(ray, actor.probe)).metrics["gaps_open"] for actor in actors.values()])

    await eventually_async(without_gaps, 90, every_s=1)


async def whole_minute(settings: Settings, venue: str) -> bool:
    """Whether the lake has a complete minute of each symbol."""
    rows = (await asyncio.to_thread(Lake(settings).trade_candles, None, "1m", venues=venue)).arrow().to_pylist()
    return {row["venue_symbol"] for row in rows if row["complete"]} == {*SYMBOLS[venue]}


async def same_trades(rig: StreamRig, stored: Sequence[Mapping[str, Any]]) -> None:
    """From the first to the last recorded trade of each symbol, each of the market's is there once, with its values."""
    total = 0
    for venue, symbols in SYMBOLS.items():
        for symbol in symbols:
            rows = [row for row in stored if (row["venue"], row["venue_symbol"]) == (venue, symbol)]
            numbers = [row["trade_number"] for row in rows]
            assert len(set(numbers)) == len(numbers) > 100
            found = {row["trade_number"]: (row["price"], row["size"], row["side"], round(row["venue_ts"].timestamp() * 1e6)) for row in rows}
            assert found == await rig.made(venue, symbol, min(numbers), max(numbers))
            total += len(numbers)
    assert total == len(stored)
    refilled = sum(row["source"] == "refill" for row in stored)
    assert refilled > 20
    say("trades, of them refilled:", total, refilled)


def same_ledger(settings: Settings) -> None:
    """Each trade that a refill brought is in a gap of the ledger, which counts them; nothing else is missing."""
    lake = Lake(settings)
    gaps, trades = lake.trade_gaps().arrow().to_pylist(), lake.trades(columns=["venue", "venue_symbol", "trade_number", "source"]).arrow().to_pylist()
    assert {gap["state"] for gap in gaps} <= {"refilled", "halt"}
    assert not sum(gap["missing"] for gap in gaps)
    cut = {(gap["venue"], gap["venue_symbol"], number) for gap in gaps for number in range(gap["first_id"], gap["last_id"] + 1)}
    refilled = {(row["venue"], row["venue_symbol"], row["trade_number"]) for row in trades if row["source"] == "refill"}
    assert refilled <= cut
    assert sum(gap["refilled"] for gap in gaps) == len(refilled)


async def same_candles(rig: StreamRig) -> None:
    lake = Lake(rig.settings)
    compared = 0
    for venue, symbols in SYMBOLS.items():
        for symbol in symbols:
            for interval in ("1s", "1m") if venue == "binance" else ("1m",):
                rows = (await asyncio.to_thread(lake.trade_candles, None, interval, venues=venue, symbols=symbol)).arrow().to_pylist()
                ours = {round(row["ts"].timestamp()): row for row in rows if row["complete"]}
                theirs = await klines(rig.http, venue, symbol, interval, min(ours), max(ours))
                assert ours.keys() <= theirs.keys()
                for start, row in ours.items():
                    assert {name: Decimal(row[name]) for name in theirs[start]} == theirs[start], (venue, symbol, interval, start)
                compared += len(ours)
    say("candles equal to the market's:", compared)


async def klines(http: httpx.AsyncClient, venue: str, symbol: str, interval: str, first: int, last: int) -> dict[int, dict[str, Decimal]]:
    """The market's candles by their start in seconds."""
    match venue:
        case "binance":
            query: dict[str, str | int] = {
                "symbol": symbol, "interval": interval, "startTime": first * 1000, "endTime": last * 1000, "limit": 1000,
            }  # fmt: skip
            rows = (await http.get("/binance/api/v3/klines", params=query)).json()
            return {row[0] // 1000: values(BINANCE, row[1:]) for row in rows}
        case "kraken":
            pair = symbol.replace("BTC", "XBT").replace("/", "")
            rows = next(iter((await http.get("/kraken/0/public/OHLC", params={"pair": pair, "interval": 1})).json()["result"].values()))
            return {row[0]: values(KRAKEN, row[1:]) for row in rows}
        case _:
            # Their JSON numbers are the exact decimals, written shortest.
            query = {"granularity": 60, "start": first, "end": last}
            rows = (await http.get(f"/coinbase/products/{symbol}/candles", params=query)).json()
            return {row[0]: values(COINBASE, row[1:]) for row in rows}


def values(names: Sequence[str], row: Sequence[Any]) -> dict[str, Decimal]:
    return {name: Decimal(str(value)) for name, value in zip(names, row, strict=False) if name}
