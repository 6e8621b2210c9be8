"""The market's trades, gaps and candles compared with the lake's, by two readers, after a run in which the market misbehaved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx

from cryptoviz.lake import Lake
from cryptoviz.settings import Settings
from tests.support.measure import say
from tests.support.streams import StreamRig
from tests.support.waiting import eventually_async

__all__ = ["MARKET_SYMBOLS", "TradeKey", "call", "complete", "published", "same_candles", "same_ledger", "same_trades", "started"]

MARKET_SYMBOLS = {"binance": ("BTCUSDT", "ETHUSDT"), "kraken": ("BTC/USD", "ETH/USD"), "coinbase": ("BTC-USD", "ETH-USD")}
TradeKey = tuple[str, str, int]
"""Venue, symbol, number of the trade."""

_BINANCE = ("open", "high", "low", "close", "volume", "", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
_KRAKEN = ("open", "high", "low", "close", "", "volume", "trades")
_COINBASE = ("low", "high", "open", "close", "volume")


async def call(ray: Any, method: Any) -> Any:
    return await asyncio.to_thread(ray.get, method.remote(), timeout=60)


async def started(ray: Any, actor: Any) -> bool:
    """As the controller does it: Ray makes the actor again, and it is started."""
    try:
        await call(ray, actor.start)
    except ray.exceptions.RayActorError:
        return False
    return True


async def published(ray: Any, actors: Mapping[str, Any], more: int, wait_s: float = 90) -> None:
    before = {venue: (await call(ray, actor.probe)).metrics["published_total"] for venue, actor in actors.items()}

    async def enough() -> bool:
        probes = {venue: await call(ray, actor.probe) for venue, actor in actors.items()}
        return all(probe.metrics["published_total"] >= before[venue] + more for venue, probe in probes.items())

    await eventually_async(enough, wait_s, every_s=1)


async def complete(ray: Any, actors: Mapping[str, Any], wait_s: float = 90) -> None:
    async def without_gaps() -> bool:
        return not any([(await call(ray, actor.probe)).metrics["gaps_open"] for actor in actors.values()])

    await eventually_async(without_gaps, wait_s, every_s=1)


async def same_trades(rig: StreamRig, stored: Sequence[Mapping[str, Any]], missing: Collection[TradeKey] = ()) -> None:
    """From the first to the last recorded trade of each symbol, each of the market's is there once, with its values, but for the `missing` ids."""
    total = 0
    for venue, symbols in MARKET_SYMBOLS.items():
        for symbol in symbols:
            rows = [row for row in stored if (row["venue"], row["venue_symbol"]) == (venue, symbol)]
            numbers = [row["trade_number"] for row in rows]
            assert len(set(numbers)) == len(numbers) > 100
            found = {row["trade_number"]: (row["price"], row["size"], row["side"], round(row["venue_ts"].timestamp() * 1e6)) for row in rows}
            made = await rig.made(venue, symbol, min(numbers), max(numbers))
            assert found == {number: trade for number, trade in made.items() if (venue, symbol, number) not in missing}
            total += len(numbers)
    assert total == len(stored)
    refilled = sum(row["source"] == "refill" for row in stored)
    assert refilled > 20
    say("trades, of them refilled:", total, refilled)


def same_ledger(settings: Settings) -> dict[str, set[TradeKey]]:
    """Each trade that a refill brought is in a gap of the ledger, which counts them. Returns the ids that it gives up, by reason."""
    lake = Lake(settings)
    gaps, trades = lake.trade_gaps().arrow().to_pylist(), lake.trades(columns=["venue", "venue_symbol", "trade_number", "source"]).arrow().to_pylist()
    assert {gap["state"] for gap in gaps} <= {"refilled", "halt", "permanent"}
    stored = {(row["venue"], row["venue_symbol"], row["trade_number"]) for row in trades}
    refilled = {(row["venue"], row["venue_symbol"], row["trade_number"]) for row in trades if row["source"] == "refill"}
    missing: dict[str, set[TradeKey]] = {}
    cut: set[TradeKey] = set()
    for gap in gaps:
        if gap["state"] == "halt":
            continue
        ids = {(gap["venue"], gap["venue_symbol"], number) for number in range(gap["first_id"], gap["last_id"] + 1)}
        assert len(ids - stored) == gap["missing"], gap
        if gap["missing"]:
            missing.setdefault(gap["reason"], set()).update(ids - stored)
        cut |= ids
    assert refilled <= cut
    assert sum(gap["refilled"] for gap in gaps) == len(refilled)
    return missing


async def same_candles(rig: StreamRig) -> None:
    lake = Lake(rig.settings)
    compared = 0
    for venue, symbols in MARKET_SYMBOLS.items():
        for symbol in symbols:
            for interval in ("1s", "1m") if venue == "binance" else ("1m",):
                rows = (await asyncio.to_thread(lake.trade_candles, None, interval, venues=venue, symbols=symbol)).arrow().to_pylist()
                ours = {round(row["ts"].timestamp()): row for row in rows if row["complete"]}
                theirs = await _klines(rig.http, venue, symbol, interval, min(ours), max(ours))
                assert ours.keys() <= theirs.keys()
                for start, row in ours.items():
                    assert {name: Decimal(row[name]) for name in theirs[start]} == theirs[start], (venue, symbol, interval, start)
                compared += len(ours)
    say("candles equal to the market's:", compared)


async def _klines(http: httpx.AsyncClient, venue: str, symbol: str, interval: str, first: int, last: int) -> dict[int, dict[str, Decimal]]:
    """The market's candles by their start in seconds."""
    match venue:
        case "binance":
            found: dict[int, dict[str, Decimal]] = {}
            chosen: dict[str, str | int] = {"symbol": symbol, "interval": interval, "endTime": last * 1000, "limit": 1000}
            while first <= last:
                rows = (await http.get("/binance/api/v3/klines", params=chosen | {"startTime": first * 1000})).json()
                found |= {row[0] // 1000: _values(_BINANCE, row[1:]) for row in rows}
                first = max(found) + 1 if rows else last + 1
            return found
        case "kraken":
            pair = symbol.replace("BTC", "XBT").replace("/", "")
            rows = next(iter((await http.get("/kraken/0/public/OHLC", params={"pair": pair, "interval": 1})).json()["result"].values()))
            return {row[0]: _values(_KRAKEN, row[1:]) for row in rows}
        case _:
            # Their JSON numbers are the exact decimals, written shortest.
            query = {"granularity": 60, "start": first, "end": last}
            rows = (await http.get(f"/coinbase/products/{symbol}/candles", params=query)).json()
            return {row[0]: _values(_COINBASE, row[1:]) for row in rows}


def _values(names: Sequence[str], row: Sequence[Any]) -> dict[str, Decimal]:
    return {name: Decimal(str(value)) for name, value in zip(names, row, strict=False) if name}
