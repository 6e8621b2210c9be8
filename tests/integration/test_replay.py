"""Replay of the responses of six providers: the same rows, field by field, under faults."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cryptoviz.audit import RECORDER, TICK
from cryptoviz.lake import Lake
from cryptoviz.settings import Settings
from tests.support.clock import now_ms
from tests.support.collection import Collection, collection
from tests.support.engines import kafka_and_redis
from tests.support.pipeline import Demo
from tests.support.replay import RowsOfTopics, replayed
from tests.support.topics import read_all
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]
SIX = ("coinbase", "coingecko", "coinmarketcap", "binance", "kraken", "coinpaprika")
"""Coinbase first: its many calls a tick are the hardest to do again."""
FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("coinbase", "http_status", {"status": 429, "retry_after": 1}),
    ("coinbase", "latency", {"seconds": 0.2}),
    ("coinbase", "http_status", {"status": 500}),
    ("coinbase", "outlier", {"factor": 1.5, "coins": ["BTC"]}),
    ("coinbase", "hang", {}),
    ("coingecko", "null_price", {"coins": ["ETH"]}),
    ("coingecko", "html_200", {}),
    ("coinmarketcap", "truncated", {}),
    ("coinmarketcap", "error_envelope_200", {"status": 429}),
    ("binance", "http_status", {"status": 418, "retry_after": 2}),
    ("kraken", "reset", {}),
    ("kraken", "nan", {}),
    ("coinpaprika", "clock_skew", {"seconds": -3600}),
    ("coinpaprika", "truncated", {"how": "connection"}),
]

REASONS = {("http_status", 429): "rate_limited", ("http_status", 500): "unavailable", ("hang", None): "timeout"}
"""What Coinbase's faults must have caused, by kind and status."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with kafka_and_redis(tmp_path_factory.mktemp("engines")) as found:
        yield found.settings


async def rows_of(running: Collection) -> RowsOfTopics:
    topics = running.settings.kafka
    raw, stream = [await asyncio.to_thread(read_all, running.settings, topic) for topic in (topics.raw_topic, topics.stream_topic)]
    return RowsOfTopics(raw, stream)


async def cause(running: Collection, provider: str, kind: str, parameters: dict[str, Any]) -> None:
    """Let a provider misbehave for two ticks and behave for one. Repeated if a busy machine's responses came too late to have the intended effect."""
    reason = REASONS.get((kind, parameters.get("status"))) if provider == "coinbase" else None
    for _ in range(10):
        if provider == "coinbase":  # late ticks may have opened its breaker
            await running.scrapers[provider].reset_breaker()
        since = now_ms()
        running.misbehave(provider, kind, **parameters)
        await running.published(2)
        running.market.faults.clear()
        await running.published(1)
        if reason is None or any(one.fallback_reason == reason for one in await running.records() if one.tick_ts >= since):
            return
    pytest.fail(f"{provider}, {kind} {parameters}: no tick with the fallback reason {reason}")


async def test_six_providers_with_faults_are_replayed_row_by_row(base: Settings, tmp_path: Path):
    # Every second tick is Kraken's; Coinbase's breaker opens soon.
    now = datetime.now(UTC)
    left_s = ((now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0) - now).total_seconds()
    own = {
        "kraken": {"quota": {"per_month": max(20, round(left_s / 2)), "reserve": 0}},
        "coinbase": {"breaker": {"failures": 4, "failing_s": 1, "open_s": 2}},
    }
    async with collection(base, tmp_path, SIX, own=own) as running:
        await running.published(4)
        for provider, kind, parameters in FAULTS:
            await cause(running, provider, kind, parameters)
        await running.scrapers["coinbase"].trip_breaker("a test")
        await running.published(2)
        # A restart in between writes its own record of the rules.
        await running.collector.stop()
        await running.collector.start()
        await running.scrapers["coinbase"].reset_breaker()
        await running.published(3)
        await running.stop()
        rows = await rows_of(running)

    # (a) All six take part.
    assert {row["provider"] for row in rows.raw_rows} == {*SIX, "collector"}
    assert max(row["consensus_sources"] for row in rows.price_rows) == 6
    # The run had the intended faults.
    reasons = {row["fallback_reason"] for row in rows.price_rows}
    assert {"rate_limited", "timeout", "unavailable", "breaker_open"} <= reasons
    idle = [orjson.loads(row["body"])["idle"] for row in rows.raw_rows if row["endpoint"] == "tick"]
    assert ["kraken"] in idle

    found = await replayed(rows)
    assert found.differences == []
    assert (found.different, found.missing, found.extra, found.unrecorded_rows) == (0, 0, 0, 0), found.reasons
    assert found.unrecorded_ticks == Counter()
    assert found.equal == len(rows.price_rows) >= 40 * 17
    assert found.hashes[0] == found.hashes[1]

    # A changed price in a body changes the rows made from it, and no others.
    victim = random.Random(7).choice([row for row in rows.price_rows if row["provider"] == "coingecko"])
    (exchange,) = (row for row in rows.raw_rows if row["fetch_id"] == victim["fetch_id"])
    coins = orjson.loads(exchange["body"])
    next(coin for coin in coins if coin["id"] == victim["provider_asset_id"])["current_price"] *= 1.01
    exchange["body"] = orjson.dumps(coins).decode()
    found = await replayed(rows)
    assert {(difference.tick_ts, difference.asset_id) for difference in found.differences} == {(victim["tick_ts"], victim["asset_id"])}
    assert (found.different, found.missing, found.extra, found.equal) == (1, 0, 0, len(rows.price_rows) - 1)
    assert {"price", "spread_bps"} <= {difference.field for difference in found.differences}
    assert found.hashes[0] != found.hashes[1]


DEMO_FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("coingecko", "hang", {}),
    ("coingecko", "http_status", {"status": 429, "retry_after": 1}),
    ("coingecko", "null_price", {"coins": ["BTC", "ETH"]}),
    ("coinmarketcap", "html_200", {}),
    ("coingecko", "outlier", {"factor": 1.5, "coins": ["SOL"]}),
]

DEMO_REASONS = {"hang": "timeout", "http_status": "rate_limited", "null_price": "missing_asset"}


def used(demo: Demo, start: int, end: int) -> set[str]:
    """Ids of the tick records of a range (UTC epoch ms), and of the exchanges whose results they name."""
    own = [one for one in demo.exchanges() if (one["provider"], one["endpoint"]) == (RECORDER, TICK) and start <= one["tick_ts"] < end]
    results = [result for one in own for result in orjson.loads(one["body"])["results"].values()]
    return {one["fetch_id"] for one in own} | {result["fetch_id"] for result in results if result.get("fetch_id")}


def test_the_command_finds_every_row_of_a_bad_minute_equal(demo: Demo, tmp_path: Path):
    """Through the lake: raw and prices tables, the operation in its actor, the exit code and the file of rows."""

    def newest() -> tuple[int, int]:
        ticks = [record.tick_ts for record in demo.stream().values()]
        return max(ticks), len(ticks)

    def reasons(since: int) -> dict[int, set[str | None]]:
        """Fallback reasons by tick, of the ticks after `since`."""
        found: dict[int, set[str | None]] = {}
        for record in demo.recent():
            if record.tick_ts > since:
                found.setdefault(record.tick_ts, set()).add(record.fallback_reason)
        return found

    def four_ticks(since: int) -> set[str | None]:
        return set().union(*eventually(lambda: found if len(found := reasons(since)) >= 4 else None, 120, 0.5).values())

    start, before = newest()
    for provider, kind, parameters in DEMO_FAULTS:
        for _ in range(10):  # late ticks of a busy machine may have opened the breaker
            with demo.control() as client:
                client.reset_breaker(provider)
            with demo.fault(provider=provider, kind=kind, parameters=parameters):
                seen = four_ticks(now_ms())
            if DEMO_REASONS.get(kind) in {None, *seen}:
                break
    with demo.control() as client:
        client.trip_breaker("coingecko", "a test")
        four_ticks(now_ms())
        client.reset_breaker("coingecko")
    eventually(lambda: newest()[1] >= before + 1100, 300, 1.0)
    end, _ = newest()
    # A row well after the range is committed, and all raw exchanges that the collector had for it.
    behind = datetime.fromtimestamp(end / 1000 + 3, UTC)
    eventually(lambda: any(row["tick_ts"] > behind for row in demo.lake_rows_by_delta()), 180, 1.0)
    eventually(lambda: not used(demo, start, end) - set(Lake(demo.settings).raw(columns=["fetch_id"]).arrow()["fetch_id"].to_pylist()), 180, 1.0)
    times = [datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in (start, end)]
    out = tmp_path / "rows.parquet"
    done = demo.cli("replay", "--from", times[0], "--to", times[1], "--out", str(out), "--json", timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(done.stdout.splitlines()[-1])
    expected = [record for record in demo.stream().values() if start <= record.tick_ts < end]
    figures = result["figures"]
    assert len(expected) >= 1000
    assert (figures["rows"], figures["equal"], figures["unrecorded_rows"]) == (len(expected), len(expected), 0), result
    assert (figures["different"], figures["missing"], figures["extra"]) == (0, 0, 0)
    assert {"rate_limited", "timeout", "missing_asset", "breaker_open"} <= {record.fallback_reason for record in expected}
    rows = pq.read_table(out)
    assert pc.unique(rows.column("replay")).to_pylist() == ["equal"]
    assert Counter(rows.column("event_id").to_pylist()) == Counter(record.event_id for record in expected)
    # Invalid times are refused.
    assert demo.cli("replay", "--from", times[1], "--to", times[0]).returncode == 2
