"""Replay of recorded ticks: every body of the corpus, several providers at once, and incomplete recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import orjson
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from actors.collecting.core import CollectorCore
from actors.publishing.exchange_recorder import CUT
from actors.replay.operation import result_of
from actors.replay.run import RowsFile
from actors.scraping.shard_calls import ShardAnswer
from actors.scraping.sharded_provider import ShardedProvider
from cryptoviz.errors import ComponentLost
from cryptoviz.providers.base import BaseProvider
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import load_settings
from cryptoviz.shards import shard_assets
from tests.support.clock import FakeClock
from tests.support.collection_fakes import FakeSink, FakeSnapshot
from tests.support.corpus import IDS, cases
from tests.support.http_server import http_server
from tests.support.replay import RowsOfTopics, replayed
from tests.unit.actors.recorded_run import T0, TICK, Run, Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    async with http_server(found.answer) as found.url:
        yield found


async def assert_exact(run: Run) -> RowsOfTopics:
    rows = run.rows()
    found = await replayed(rows)
    assert found.differences == []
    assert (found.different, found.missing, found.extra, found.unrecorded_rows, found.reasons) == (0, 0, 0, 0, [])
    assert found.equal == len(rows.price_rows)
    assert found.hashes[0] == found.hashes[1]
    return rows


@pytest.mark.parametrize("provider", IDS)
async def test_every_body_of_the_corpus_is_replayed_exactly(provider: str, site: Site):
    # The provider of the corpus first, then a provider without failures, so that each failure gives a row with its reason.
    second = "coinpaprika" if provider != "coinpaprika" else "coingecko"
    run = Run(site, provider, second)
    good = next(case for case in cases(second) if "prices" in case.expect and len(case.expect["prices"]) == len(IDS[second]))
    site.serve(second, good)
    # Refused ids are remembered for an hour: tested last, and twice.
    refused = [case for case in cases(provider) if case.expect.get("reason") == "missing_asset"]
    found = [case for case in cases(provider) if case not in refused] + 2 * refused
    for case in found:
        site.serve(provider, case)
        await run.tick()
    await run.aclose()
    rows = await assert_exact(run)
    assert len({row["tick_ts"] for row in rows.price_rows}) == len(found)
    expected = {case.expect["reason"] for case in found if "error" in case.expect and case.expect["reason"] != "missing_asset"}
    assert expected <= {row["fallback_reason"] for row in rows.price_rows}


async def test_a_provider_with_one_call_per_coin_refusals_and_retries(site: Site):
    """Coinbase: five concurrent calls, a refusal in between, and then a tick without calls."""
    run = Run(site, "coinbase", "coingecko")
    site.serve("coingecko", next(case for case in cases("coingecko") if len(case.expect.get("prices", ())) == 3))
    good = next(case for case in cases("coinbase") if case.expect.get("prices"))
    behaviours: dict[str, list[tuple[int, dict[str, str]]]] = {"BTC-USD": [], "ETH-USD": [], "POL-USD": []}

    def product(request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[-1]
        status, headers = behaviours[name].pop(0) if behaviours[name] else (200, {})
        body = orjson.loads(good.response.body) | {"product_id": name} if status == 200 else {"error": "X"}
        return web.json_response(body, status=status, headers=headers)

    site.answers["coinbase"] = product
    script: list[dict[str, list[tuple[int, dict[str, str]]]]] = [
        {"ETH-USD": [(429, {"retry-after": "1"})]},
        {},  # not called, because of the refusal on the tick before
        {"BTC-USD": [(500, {})]},
        {name: [(500, {})] for name in behaviours},  # all fail once: retries
        {name: [(500, {}), (500, {})] for name in behaviours},
        {"POL-USD": [(404, {})], "BTC-USD": [(401, {})]},
        {},
    ]
    for step in script:
        behaviours |= {name: list(answers) for name, answers in step.items()}
        await run.tick()
    await run.aclose()
    rows = await assert_exact(run)
    seen = {(row["provider"], row["fallback_reason"], row["attempt"]) for row in rows.price_rows}
    assert {("coingecko", "rate_limited", 1), ("coingecko", "unavailable", 1), ("coinbase", None, 2), ("coingecko", "missing_asset", 1)} <= seen


class LocalShard:
    """The scraper of a shard, in this process."""

    def __init__(self, run: Run, number: int, count: int) -> None:
        self.provider = run.provider("coinbase")
        self.assets = shard_assets(run.settings.assets, number, count)
        self.is_lost = False

    async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
        if self.is_lost:
            raise ComponentLost("its process ended", component="scraper/coinbase/2")
        return ShardAnswer(await self.provider.poll(tick_ts, self.assets, budget_s), self.provider.ids_of(self.assets))

    async def ready(self) -> bool:
        return not self.is_lost


async def test_a_provider_with_several_scrapers(site: Site):
    """Rows have attempt, time and exchange of their shard; a shard fails, is lost, and is polled by the leading scraper."""
    run = Run(site, "coinbase", "coingecko")
    site.serve("coingecko", next(case for case in cases("coingecko") if len(case.expect.get("prices", ())) == 3))
    good = next(case for case in cases("coinbase") if case.expect.get("prices"))
    statuses: dict[str, list[int]] = {"BTC-USD": [], "ETH-USD": [], "POL-USD": []}

    def product(request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[-1]
        status = statuses[name].pop(0) if statuses[name] else 200
        return web.json_response(orjson.loads(good.response.body) | {"product_id": name} if status == 200 else {"error": "X"}, status=status)

    site.answers["coinbase"] = product
    shards = [LocalShard(run, number, 3) for number in (2, 3)]
    own = run.providers["coinbase"]
    run.providers["coinbase"] = cast("BaseProvider", ShardedProvider(own, lambda: run.provider("coinbase"), shards, FakeClock()))
    for step in ({}, {"ETH-USD": [500]}, {"BTC-USD": [500, 500]}, {name: [429] for name in statuses}, {}):
        statuses |= {name: list(answers) for name, answers in step.items()}
        await run.tick()
    for lost in (True, True, False):
        shards[0].is_lost = lost
        await run.tick()
    await run.aclose()
    for shard in shards:
        await shard.provider.aclose()
    rows = await assert_exact(run)
    first = min(row["tick_ts"] for row in rows.price_rows)
    seen = {((row["tick_ts"] - first) // TICK, row["asset_id"]): (row["provider"], row["fallback_reason"], row["attempt"]) for row in rows.price_rows}
    mine, other = ("coinbase", None, 1), "coingecko"
    names = [asset.asset_id for asset in run.settings.assets]
    assert names == ["bitcoin", "ethereum", "polygon"]
    assert [[seen[tick, name] for name in names] for tick in range(8)] == [
        [mine, mine, mine],
        [mine, ("coinbase", None, 2), mine],
        [(other, "unavailable", 1), mine, mine],
        [(other, "rate_limited", 1)] * 3,
        [mine, mine, mine],
        [mine, (other, "unavailable", 1), mine],
        [mine, mine, mine],
        [mine, mine, mine],
    ]


async def test_providers_that_were_not_polled_are_in_the_audit_record(site: Site):
    run = Run(site, "coingecko", "coinmarketcap")
    for name in run.providers:
        site.serve(name, next(case for case in cases(name) if len(case.expect.get("prices", ())) == 3))
    primary = run.providers.pop("coingecko")
    for reason in (FallbackReason.QUOTA, FallbackReason.BREAKER_OPEN, FallbackReason.RATE_LIMITED):
        await run.tick(TickResult("coingecko", 0, "", 1, T0, failure=reason))
    await run.tick(TickResult("coingecko", 0, "", 1, T0, due=False))
    await run.tick()
    run.providers["coingecko"] = primary
    await run.tick()
    await run.aclose()
    rows = await assert_exact(run)
    found = {(row["tick_ts"], row["provider"], row["role"], row["fallback_reason"]) for row in rows.price_rows}
    assert [one[1:] for one in sorted(found)] == [
        ("coinmarketcap", "fallback", "quota"),
        ("coinmarketcap", "fallback", "breaker_open"),
        ("coinmarketcap", "fallback", "rate_limited"),
        ("coinmarketcap", "primary", None),
        ("coinmarketcap", "fallback", "timeout"),
        ("coingecko", "primary", None),
    ]


@pytest.fixture
async def good_run(site: Site) -> Run:
    """Three good ticks of two providers."""
    run = Run(site, "coingecko", "coinmarketcap")
    for name in run.providers:
        site.serve(name, next(case for case in cases(name) if len(case.expect.get("prices", ())) == 3))
    for _ in range(3):
        await run.tick()
    await run.aclose()
    return run


async def test_a_changed_body_changes_only_its_rows(good_run: Run):
    rows = good_run.rows()
    victim = rows.price_rows[4]
    (exchange,) = (row for row in rows.raw_rows if row["fetch_id"] == victim["fetch_id"])
    body = orjson.loads(exchange["body"])
    next(coin for coin in body if coin["id"] == victim["provider_asset_id"])["current_price"] = victim["price"] * 2
    exchange["body"] = orjson.dumps(body).decode()
    found = await replayed(rows)
    assert (found.equal, found.different, found.missing, found.extra) == (8, 1, 0, 0)
    assert {(one.tick_ts, one.asset_id) for one in found.differences} == {(victim["tick_ts"], victim["asset_id"])}
    by_field = {one.field: (one.recorded, one.replayed) for one in found.differences}
    assert by_field["price"] == (victim["price"], victim["price"] * 2)
    assert found.hashes[0] != found.hashes[1]
    result = result_of(found)
    assert result.message == "3 ticks, 8 rows equal, 1 different"
    assert (result.figures["rows"], result.figures["equal"], result.figures["different"]) == (9, 8, 1)
    price = f"{victim['asset_id']} price: recorded {victim['price']!r}, replayed {victim['price'] * 2!r}"
    assert any(note.endswith(price) for note in result.notes)


async def test_replayed_rows_are_written_with_their_state(good_run: Run, tmp_path: Path):
    rows = good_run.rows()
    rows.price_rows[0]["price"] += 1
    rows.price_rows.pop()
    out = RowsFile(tmp_path / "rows.parquet")
    await replayed(rows, out=out)
    out.close()
    kept = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert Counter(row["replay"] for row in kept) == {"equal": 7, "different": 1, "extra": 1}
    again = {row["event_id"]: row for row in kept}
    for row in rows.price_rows[1:]:
        assert again[row["event_id"]]["price"] == row["price"]
        assert again[row["event_id"]]["tick_ts"] == datetime.fromtimestamp(row["tick_ts"] / 1000, UTC)


async def test_missing_and_extra_rows(good_run: Run):
    rows = good_run.rows()
    # Both providers lack a coin in the second tick; the lake lacks a row of the third.
    second, third = sorted({row["tick_ts"] for row in rows.price_rows})[1:]
    for row in rows.raw_rows:
        if row["tick_ts"] == second and row["provider"] in ("coingecko", "coinmarketcap"):
            row["body"] = row["body"].replace('"ethereum"', '"other"').replace("1027", "99999")
    rows.price_rows.remove(next(row for row in rows.price_rows if row["tick_ts"] == third))
    found = await replayed(rows)
    assert (found.equal, found.different, found.missing, found.extra) == (7, 0, 1, 1)


async def test_incomplete_recordings_are_reported(good_run: Run):
    ticks = sorted({row["tick_ts"] for row in good_run.rows().price_rows})

    async def outcome(change: Callable[[RowsOfTopics], None]) -> tuple[dict[str, int], int, int]:
        rows = good_run.rows()
        change(rows)
        found = await replayed(rows)
        assert (found.different, found.missing, found.extra) == (0, 0, 0)
        assert len(found.reasons) == sum(found.unrecorded_ticks.values())
        return dict(found.unrecorded_ticks), found.unrecorded_rows, found.equal

    def drop(keep: Callable[[dict[str, object]], bool]) -> Callable[[RowsOfTopics], None]:
        def change(rows: RowsOfTopics) -> None:
            rows.raw_rows = [row for row in rows.raw_rows if keep(row)]

        return change

    def cut(rows: RowsOfTopics) -> None:
        row = next(row for row in rows.raw_rows if row["provider"] == "coingecko")
        row["body"], row["error"] = row["body"][:10], CUT

    def other_call(rows: RowsOfTopics) -> None:
        row = next(row for row in rows.raw_rows if row["provider"] == "coingecko")
        row["endpoint"] = row["endpoint"].replace("bitcoin", "dogecoin")

    def garbage(rows: RowsOfTopics) -> None:
        next(row for row in rows.raw_rows if row["endpoint"] == "tick")["body"] = "{"

    assert await outcome(drop(lambda row: row["endpoint"] != "tick")) == ({"unrecorded": 3}, 9, 0)
    assert await outcome(drop(lambda row: not str(row["endpoint"]).startswith("rules"))) == ({"rules": 3}, 9, 0)
    assert await outcome(drop(lambda row: (row["provider"], row["tick_ts"]) != ("coingecko", ticks[1]))) == ({"exchange": 1}, 3, 6)
    assert await outcome(cut) == ({"call": 1}, 3, 6)
    assert await outcome(other_call) == ({"call": 1}, 3, 6)
    assert await outcome(garbage) == ({"unreadable": 1}, 3, 6)


async def test_recorded_rules_are_used_instead_of_present_ones(good_run: Run):
    rows = good_run.rows()
    for row in rows.raw_rows:
        if row["endpoint"].startswith("rules"):
            row["body"] = row["body"].replace('"order":["coingecko","coinmarketcap"]', '"order":["coinmarketcap","coingecko"]')
    found = await replayed(rows)
    assert found.different == 9
    assert found.different_fields["provider"] == 9


def test_the_record_of_ten_thousand_assets_is_small(site: Site):
    extra = [{"asset_id": f"coin-{n}", "symbol": f"C{n}", "name": f"Coin {n}", "provider_ids": {"coingecko": f"coin-{n}"}} for n in range(10_000)]
    settings = load_settings(extra_assets=extra, collect={"tick_s": TICK / 1000, "providers": ("coingecko", "coinmarketcap")})
    core = CollectorCore(settings, FakeClock(T0), sink := FakeSink(), FakeSnapshot())
    answer = TickResult("coingecko", T0, "f" * 32, 1, T0 + 10, {}, failure=FallbackReason.UNAVAILABLE)
    core.submit(answer)
    core.submit(replace(answer, provider="coinmarketcap"))
    core.publish_due()
    (transaction,) = sink.transactions
    *rules, tick = transaction.audit_records
    assert len(rules) > 1
    assert len(tick.value) < 2000
    assert max(len(note.value) for note in transaction.audit_records) < settings.kafka.max_record_bytes / 2
