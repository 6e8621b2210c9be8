"""Trade streams of the replay market: settings, the actor in this process, and what market and Kafka have."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson

from actors.streaming.actor import StreamActor
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.settings import Settings, load_settings
from market.server import MarketConfig, ReplayMarket
from tests.support.topics import ends_of, read_all
from tests.support.waiting import eventually

__all__ = ["StreamRig", "numbered_trades", "stream_rig", "stream_settings", "venue_sections"]

PATHS = {"kraken": "/v2"}


def stream_settings(base: Settings, home: Path, market: ReplayMarket, venues: Iterable[str], **streams: Any) -> Settings:
    """Settings with separate topics on the engines of `base`, and the venues at the market."""
    run = uuid.uuid4().hex[:8]
    names = ("raw_topic", "stream_topic", "trades_topic", "trade_gaps_topic", "venue_candles_topic", "quotes_topic", "frames_topic")
    kafka = base.kafka.access() | {name: f"{name}-{run}" for name in names}
    settings = load_settings(home=home, kafka=kafka, redis={"url": base.redis.url}, **venue_sections(market, venues, **streams))
    TopicAdmin(settings.kafka, settings.stream_topics, settings.topic_limits).ensure_topics({})
    eventually(lambda: _answer(settings))
    return settings


def venue_sections(market: ReplayMarket, venues: Iterable[str], root: str = "", **streams: Any) -> dict[str, Any]:
    """Sections of the settings with the venues at the market. `root`: its address, if not its own, such as a proxy's."""
    urls = {name: f"{root or market.url}/{name}" for name in venues}
    addresses = {name: {"stream_url": url.replace("http", "ws", 1) + PATHS.get(name, ""), "refill_url": url} for name, url in urls.items()}
    own = {"venues": tuple(urls), "venue": addresses, "instruments": ("BTC", "ETH", "SOL"), "max_back_off_s": 1.0}
    return {"providers": {name: {"base_url": url} for name, url in urls.items()}, "streams": own | streams}


def numbered_trades(rows: Iterable[Iterable[Any]], last: int) -> dict[int, tuple[Decimal, Decimal, str, int]]:
    """Rows of the market's trades by id, up to `last`: price, size, taker side, time (us)."""
    return {number: (Decimal(price), Decimal(size), side, at_us) for number, price, size, side, at_us in rows if number <= last}


def _answer(settings: Settings) -> bool:
    with contextlib.suppress(Exception):
        return all(ends_of(settings, topic) for topic in settings.stream_topics)
    return False


@dataclass
class StreamRig:
    """A market and the streams of its venues."""

    settings: Settings
    market: ReplayMarket
    http: httpx.AsyncClient

    def actor(self, venue: str, settings: Settings | None = None) -> StreamActor:
        return StreamActor(settings or self.settings, venue)

    async def fault(self, venue: str, kind: str, every: int = 1, **parameters: Any) -> None:
        """Make the market misbehave; `every`: at each such trade only."""
        body = {"provider": venue, "kind": kind, "parameters": parameters, "duration_s": 600} | ({"every": every} if every > 1 else {})
        response = await self.http.post("/_market/faults", json=body)
        assert response.status_code == 201, response.text

    async def heal(self) -> None:
        assert (await self.http.delete("/_market/faults")).status_code < 300

    async def made(self, venue: str, symbol: str, first: int, last: int) -> dict[int, tuple[Decimal, Decimal, str, int]]:
        """The market's trades from `first` to `last` by id: price, size, taker side, time (us)."""
        found: dict[int, tuple[Decimal, Decimal, str, int]] = {}
        next_id = first
        while next_id <= last:
            query: dict[str, str | int] = {"venue": venue, "symbol": symbol, "from_id": next_id, "limit": 10_000}
            page = (await self.http.get("/_market/trades", params=query)).json()
            if not page["trades"]:
                break
            found |= numbered_trades(page["trades"], last)
            next_id = page["next_from_id"]
        return found

    async def in_kafka(self, venue: str, symbol: str) -> list[dict[str, Any]]:
        values = await asyncio.to_thread(read_all, self.settings, self.settings.kafka.trades_topic)
        rows = [orjson.loads(value) for value in values]
        return [row for row in rows if row["venue"] == venue and row["venue_symbol"] == symbol]

    async def gaps(self) -> dict[str, dict[str, Any]]:
        """The newest change of each gap."""
        values = await asyncio.to_thread(read_all, self.settings, self.settings.kafka.trade_gaps_topic)
        return {row["gap_id"]: row for row in map(orjson.loads, values)}

    async def check_complete(self, venue: str, symbol: str, least: int) -> Counter[str]:
        """From the first to the last recorded trade, Kafka has each of the market's exactly once, with its values. Returns their sources."""
        rows = await self.in_kafka(venue, symbol)
        numbers = [row["trade_number"] for row in rows]
        assert len(numbers) >= least, f"{len(numbers)} trades"
        assert len(set(numbers)) == len(numbers), "a trade is in Kafka twice"
        made = await self.made(venue, symbol, min(numbers), max(numbers))
        assert {row["trade_number"]: (Decimal(row["price"]), Decimal(row["size"]), row["side"], row["venue_ts"]) for row in rows} == made
        return Counter(row["source"] for row in rows)


@contextlib.asynccontextmanager
async def stream_rig(base: Settings, home: Path, venues: Iterable[str], **streams: Any) -> AsyncIterator[StreamRig]:
    async with ReplayMarket(MarketConfig(trades_per_s=20.0)) as market, httpx.AsyncClient(base_url=market.url, timeout=60) as http:
        yield StreamRig(stream_settings(base, home, market, venues, **streams), market, http)
