"""The venues' own candles from the replay market, held against candles from the market's trades in a real MinIO."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from actors.streaming.candle_sampler import MINUTE_US, CandleSampler
from cryptoviz.lake import Lake
from cryptoviz.lake.candle_check_reader import CHECKED_DAYS
from cryptoviz.providers.response import HttpResponse
from cryptoviz.settings import Settings
from cryptoviz.trades.record import Trade
from cryptoviz.venues.registry import venue_of
from market.server import MarketConfig, ReplayMarket
from spark_jobs.streaming.decode import decode
from spark_jobs.tables.record_spec import VENUE_CANDLES_SPEC
from tests.support.clock import FakeClock
from tests.support.engines import object_store
from tests.support.lake_readers import READERS
from tests.support.lake_tables import TOPIC, TableWriter, trade_rows
from tests.support.streams import StreamRig

pytestmark = [pytest.mark.integration]

SYMBOLS = {"binance": "BTCUSDT", "kraken": "BTC/USD", "coinbase": "BTC-USD"}
MINUTES = 5


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[StreamRig]:
    """A market that has traded for some minutes, and a lake."""
    with object_store(tmp_path) as settings:
        async with ReplayMarket(MarketConfig(trades_per_s=2.0)) as market, httpx.AsyncClient(base_url=market.url, timeout=60) as http:
            yield StreamRig(settings, market, http)


async def trades_of(rig: StreamRig, venue: str, first_us: int, until_us: int) -> list[Trade]:
    """The market's trades from some seconds before `first_us` to some after `until_us`."""
    instrument = venue_of(venue).spec.instrument("bitcoin")
    assert instrument is not None
    query: dict[str, str | int] = {
        "venue": venue, "symbol": instrument.symbol, "since_us": first_us - 30_000_000, "until_us": until_us + 5_000_000, "limit": 10_000,
    }  # fmt: skip
    made = (await rig.http.get("/_market/trades", params=query)).json()["trades"]
    return [
        Trade.numbered(
            venue=venue, venue_symbol=instrument.symbol, asset_id="bitcoin", quote_currency=instrument.quote_currency, trade_number=number,
            price=price, size=size, side=side, venue_ts=at_us, ingest_ts=at_us + 30_000, source="stream", connection="c",
        )
        for number, price, size, side, at_us in made
    ]  # fmt: skip


async def candle_rows(rig: StreamRig, venue: str, first_us: int, until_us: int, first_offset: int) -> pa.Table:
    """The rows of the venue's candles, by the sampler and the job's own decoder."""
    one, clock = venue_of(venue), FakeClock()
    instrument = one.spec.instrument("bitcoin")
    assert instrument is not None
    sampler = CandleSampler(one, [instrument], "t", 1.0, clock, lambda: until_us + MINUTE_US // 2)
    call = one.klines(instrument, first_us, until_us)
    assert call is not None
    answer = await rig.http.get(f"/{venue}{call.path}", params=dict(call.query))
    response = HttpResponse(status=answer.status_code, headers=dict(answer.headers), body=answer.content, received_ms=until_us // 1_000, fetch_id="f")
    values = [message.value for message in sampler.records(call, one.parse_klines(response, call))]
    done = decode(pa.array(values, pa.binary()), pa.array([until_us // 1_000] * len(values), pa.int64()), VENUE_CANDLES_SPEC, 1 << 20)
    assert not done.bad
    size = done.rows.num_rows
    offsets = pa.array(range(first_offset, first_offset + size), pa.int64())
    return pa.table([*done.rows.columns, pa.repeat(TOPIC, size), pa.repeat(pa.scalar(0, pa.int32()), size), offsets], VENUE_CANDLES_SPEC.schema)


def write(settings: Settings, trades: Sequence[Trade]) -> None:
    writer = TableWriter(settings, "trades")
    writer.write(trade_rows(trades, writer.next_offset))


async def test_our_candles_equal_the_venues_and_a_missing_trade_is_a_difference(rig: StreamRig) -> None:
    until_us = (time.time_ns() // 1_000 - 5_000_000) // MINUTE_US * MINUTE_US
    first_us = until_us - MINUTES * MINUTE_US
    every = {venue: await trades_of(rig, venue, first_us, until_us) for venue in SYMBOLS}
    of_binance = [one for one in every["binance"] if one.venue_ts is not None and first_us + MINUTE_US <= one.venue_ts < first_us + 2 * MINUTE_US]
    missing = of_binance[len(of_binance) // 2]
    write(rig.settings, [one for some in every.values() for one in some if one is not missing])
    candles = TableWriter(rig.settings, "venue_candles")
    for venue in SYMBOLS:
        candles.write(await candle_rows(rig, venue, first_us, until_us, candles.next_offset))
    lake = Lake(rig.settings)
    rows = lake.candle_checks("BTC").arrow().to_pylist()
    assert len(rows) == MINUTES * len(SYMBOLS)
    different = [row for row in rows if not row["equal"]]
    assert [(row["venue"], row["complete"], row["ts"].timestamp()) for row in different] == [("binance", False, first_us / 1e6 + 60)]
    named = dict(text.split(" ", 1) for text in different[0]["differences"].split("; "))
    trades = len(of_binance)
    assert named["trades"] == f"{trades - 1}, not {trades}"
    assert {"volume", "quote_volume"} <= named.keys()
    assert {row["compared"] for row in rows if row["venue"] == "coinbase"} == {5}
    sql = lake.query("SELECT venue, count(*) AS n, count(*) FILTER (NOT equal) AS bad FROM candle_checks GROUP BY 1 ORDER BY 1").arrow().to_pylist()
    assert [(row["venue"], row["n"], row["bad"]) for row in sql] == [("binance", 5, 1), ("coinbase", 5, 0), ("kraken", 5, 0)]
    write(rig.settings, [missing])
    healed = Lake(rig.settings).candle_checks(venues="binance").arrow().to_pylist()
    assert [(row["equal"], row["complete"], row["differences"]) for row in healed] == [(True, True, "")] * MINUTES
    assert {reader(rig.settings, "venue_candles").num_rows for reader in READERS} == {len(rows)}
    assert {row["compared"] for row in healed} == {9}
    old = await candle_rows(rig, "binance", first_us, until_us, candles.next_offset)
    times = pc.subtract(old.column("ts"), timedelta(days=CHECKED_DAYS))
    candles.write(old.set_column(old.column_names.index("ts"), "ts", times))
    assert len(Lake(rig.settings).candle_checks(venues="binance").arrow()) == MINUTES
    both = Lake(rig.settings).candle_checks(venues="binance", start=datetime.fromtimestamp(0, UTC)).arrow().to_pylist()
    assert [row["equal"] for row in both] == [None] * MINUTES + [True] * MINUTES
