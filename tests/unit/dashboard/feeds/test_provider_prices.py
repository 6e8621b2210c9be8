"""Each provider's own price, from recorded polls of the real provider classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from aiohttp import web

from cryptoviz.clock import Clock
from cryptoviz.lake.rows import Rows
from cryptoviz.lake.schema import RAW
from dashboard.feeds.provider_prices import Limits, ObservedPrices, ProviderPrices
from tests.support.clock import FakeClock
from tests.support.corpus import IDS
from tests.support.http_server import http_server
from tests.support.replay import RowsOfTopics
from tests.unit.actors.recorded_run import T0, Run, Site
from tests.unit.dashboard.recorded_polls import MINUTE_MS, last_of_minutes, recorded_polls


class RawLake:
    """SQL over recorded exchanges; counts the queries."""

    def __init__(self, rows: RowsOfTopics) -> None:
        self._raw = rows.raw(start=datetime(2009, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC), columns=RAW.names).arrow()
        self.queries = 0

    def query(self, sql: str, *, parameters: Mapping[str, Any] | None = None) -> Rows:
        self.queries += 1
        connection = duckdb.connect(":memory:")
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("raw", self._raw)
        return Rows(connection.sql(sql, params=dict(parameters or {})).to_arrow_table())


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    async with http_server(found.answer) as found.url:
        yield found


def read(run: Run, rows: RowsOfTopics, *, interval: str = "1m", clock: Clock | None = None, limits: Limits | None = None) -> ObservedPrices:
    return ProviderPrices(run.settings, RawLake(rows), clock or run.clock, limits).read("bitcoin", interval, 0)


async def test_each_provider_has_the_price_that_its_poll_gave(site: Site) -> None:
    run, said = await recorded_polls(site, *IDS)
    await run.aclose()
    assert set(said) == set(IDS)
    prices = await asyncio.to_thread(read, run, run.rows())
    assert prices.series == {(name, one[0][1]): last_of_minutes(one) for name, one in said.items()}
    assert prices.missing == ()
    assert {currency for _, currency in prices.series} == {"USD", "USDT"}


async def test_a_provider_that_did_not_answer_is_missing_and_one_that_answered_once_has_that_price(site: Site) -> None:
    run, said = await recorded_polls(site, "coingecko", "kraken", "coinpaprika", ticks=1)
    site.answers["kraken"] = lambda _: web.Response(status=500)
    site.answers["coinpaprika"] = lambda _: web.Response(status=500)
    del said["coinpaprika"]
    rows = run.rows()
    rows.raw_rows = [row for row in rows.raw_rows if row["provider"] != "coinpaprika"]
    await run.tick()
    await run.aclose()
    later = run.rows().raw_rows[len(rows.raw_rows) :]
    rows.raw_rows += [row | {"kafka_offset": 1000 + number} for number, row in enumerate(later) if row["provider"] != "coinpaprika"]
    prices = await asyncio.to_thread(read, run, rows)
    assert {name for name, _ in prices.series} == {"coingecko", "kraken"}
    assert prices.series["kraken", "USD"] == last_of_minutes(said["kraken"])
    assert prices.missing == ("coinpaprika",)


async def test_exchanges_of_a_backfill_and_cut_bodies_give_no_price(site: Site) -> None:
    run, _ = await recorded_polls(site, "coingecko", ticks=1)
    await run.aclose()
    rows = run.rows()
    exchange = next(row for row in rows.raw_rows if row["provider"] == "coingecko")
    backfill = exchange | {"fetch_id": "other", "endpoint": "/coins/bitcoin/market_chart/range?vs_currency=usd"}
    rows.raw_rows = [row for row in rows.raw_rows if row is not exchange] + [backfill]
    assert (await asyncio.to_thread(read, run, rows)).missing == ("coingecko",)
    rows.raw_rows = [*rows.raw_rows, exchange | {"body": exchange["body"][:40]}]
    assert (await asyncio.to_thread(read, run, rows)).series == {}


async def test_what_was_read_is_kept_and_a_limit_says_since_when(site: Site) -> None:
    run, _ = await recorded_polls(site, "coingecko", ticks=1)
    await run.aclose()
    rows = run.rows()
    first = list(rows.raw_rows)
    rows.raw_rows = []
    for minute in range(60):
        moved = {row["fetch_id"]: f"{row['fetch_id']}-{minute}" for row in first}
        for row in first:
            body = row["body"]
            for old, new in moved.items():
                body = body.replace(old, new)
            rows.raw_rows.append(row | {"fetch_id": moved[row["fetch_id"]], "body": body, "tick_ts": row["tick_ts"] + minute * MINUTE_MS})
    clock = FakeClock(T0 + 60 * MINUTE_MS)
    lake = RawLake(rows)
    source = ProviderPrices(run.settings, lake, clock, Limits(candles=50))
    found = await asyncio.to_thread(source.read, "bitcoin", "1m", 0)
    (series,) = found.series.values()
    assert len(series) == 50 - (T0 % MINUTE_MS > 0)
    assert series[0][0] >= clock.ms - 50 * MINUTE_MS
    before = lake.queries
    assert await asyncio.to_thread(source.read, "bitcoin", "1m", 0) == found
    assert lake.queries == before + 1, "bodies are read once"
    small = await asyncio.to_thread(lambda: read(run, rows, clock=clock, limits=Limits(body_bytes=1)))
    (series,) = small.series.values()
    assert len(series) == 4, "the newest candles, which are read first"
    assert series[-1][0] == max(start for start, _ in found.series["coingecko", "USD"])
    assert small.since_ms == series[0][0]
