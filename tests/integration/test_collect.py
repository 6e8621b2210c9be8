"""Collection against real engines: replay market -> scrapers -> collector -> Kafka and Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import redis as redis_client

from actors.publishing.kafka_transport import KafkaTransport, PublishedTicks, PublishedTransactions, read_tail
from actors.publishing.publisher import Fenced
from actors.publishing.transaction import KafkaTransaction, Message
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.errors import EngineUnavailable
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings
from tests.support.clock import T0, now_ms
from tests.support.collection import PROVIDERS, Collection, collection, until
from tests.support.engines import Engines
from tests.support.records import record as any_record
from tests.support.topics import read_all

pytestmark = pytest.mark.integration
ALL_ASSETS = {asset.asset_id for asset in DEFAULT_ASSETS}


def request_log(running: Collection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(running.market.request_log.page(0, 10_000))["entries"]
    return found


async def test_every_row_is_what_the_market_served_once(base: Settings, tmp_path: Path):
    async with collection(base, tmp_path) as running:
        await running.published(6)
        published = max(record.tick_ts for record in await running.records())
        await until(partial(snapshot_since, base, published))
        await running.stop()
        records, raw, served = await running.records(), await running.raw(), request_log(running)
        tick = await asyncio.to_thread(redis_client.Redis.from_url(**base.redis.connection(60)).get, "cryptoviz:latest:tick")
        kept = await asyncio.to_thread(redis_client.Redis.from_url(**base.redis.connection(60)).hgetall, "cryptoviz:latest")
        latest = cast("dict[bytes, bytes]", kept)
    assert len(records) >= 6 * 17
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
    by_tick = {tick_ts: {r.asset_id for r in records if r.tick_ts == tick_ts} for tick_ts in {r.tick_ts for r in records}}
    assert all(assets == ALL_ASSETS for assets in by_tick.values())
    assert all(tick_ts % 1000 == 0 for tick_ts in by_tick)
    # Each entry of the request log is in the raw topic once, in order.
    for provider in ("coingecko", "coinmarketcap"):
        prices = [entry["prices"] for entry in served if entry["provider"] == provider and entry["prices"]]
        exchanges = [exchange for exchange in raw if exchange["provider"] == provider]
        assert len(exchanges) == len({exchange["fetch_id"] for exchange in exchanges})
        good = [exchange for exchange in exchanges if exchange["outcome"] == "ok"]
        # A response that came too late for its tick has no body in the topic; one may be on its way at the end.
        assert 0 <= len(prices) - len(good) <= len(exchanges) - len(good) + 1
        bodies = iter(prices)
        by_fetch = {one["fetch_id"]: (one, next(price for price in bodies if is_of(price, one["body"]))) for one in good}
        for record in records:
            if record.provider == provider:
                exchange, price = by_fetch[record.fetch_id]
                assert exchange["tick_ts"] == record.tick_ts
                assert price[record.provider_asset_id] == record.price
    # Besides prices each provider's listing was requested, which is not recorded.
    lists = {(entry["provider"], entry["endpoint"]) for entry in served if not entry["prices"]}
    assert lists == {("coingecko", "/coins/list"), ("coinmarketcap", "/public-api/v1/cryptocurrency/map")}
    assert {(record.provider, record.role, record.fallback_reason) for record in records} - {LATE} == {("coingecko", "primary", None)}
    assert isinstance(tick, bytes)
    assert published <= int(tick) <= max(by_tick)
    expected = {r.asset_id: r for r in records if r.tick_ts == int(tick)}
    assert {key.decode(): UnifiedRecord.from_json(value) for key, value in latest.items()} == expected


def is_of(prices: Mapping[str, float], body: str) -> bool:
    """Whether these are the prices of a provider's body."""
    return set(prices.values()) <= set(numbers(orjson.loads(body)))


def numbers(value: object) -> Iterator[float]:
    """Every number at any depth of JSON."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


async def snapshot_since(base: Settings, tick_ts: int) -> bool:
    """Whether Redis has a tick that is no older."""
    async with redis_client.asyncio.Redis.from_url(**base.redis.connection(60)) as client:
        return int(await client.get("cryptoviz:latest:tick") or 0) >= tick_ts


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("http_status", {"status": 429, "retry_after": 1}, "rate_limited"),
    ("http_status", {"status": 500}, "unavailable"),
    ("http_status", {"status": 401}, "auth"),
    ("error_envelope_200", {"status": 429}, "rate_limited"),
    ("hang", {}, "timeout"),
    ("html_200", {}, "bad_payload"),
    ("empty", {"how": "data"}, "missing_asset"),
    ("nan", {}, "bad_payload"),
    ("clock_skew", {"seconds": -3600}, "stale"),
]


PATIENT = {name: {"breaker": {"failures": 1000}} for name in PROVIDERS}
LATE = ("coinmarketcap", "fallback", "timeout")
"""A record of a tick in which the primary was too late, as may happen on a busy machine."""


async def test_a_failing_primary_falls_back_within_a_tick_and_returns(base: Settings, tmp_path: Path):
    async with collection(base, tmp_path, own=PATIENT) as running:
        await running.published(2)
        windows = []
        for kind, parameters, reason in FAULTS:
            running.misbehave("coingecko", kind, **parameters)
            begun = now_ms()
            await running.published(3)
            over = now_ms()
            running.market.faults.clear()
            # A hold lasts one tick.
            await running.published(4)
            windows.append((kind, reason, begun, over, now_ms()))
        records = await running.records()
    for kind, reason, begun, over, recovered in windows:
        # Ticks that began under the fault, and the last one before the next fault.
        during = [r for r in records if begun <= r.tick_ts <= over - 1000]
        after = [r for r in records if over + 2000 <= r.tick_ts <= recovered - 1000]
        for part, expected in ((during, ("coinmarketcap", "fallback", reason)), (after, ("coingecko", "primary", None))):
            seen = {(r.provider, r.role, r.fallback_reason) for r in part}
            assert seen - ({LATE} - {expected}) == {expected}, kind


ODD: dict[str, tuple[dict[str, Any], object]] = {
    # The market's value for the price, and the expected result: the same number, or the other provider's price with the reason.
    "bitcoin": ({"kind": "price_value", "value": 1e300}, 1e300),
    "ethereum": ({"kind": "price_value", "value": 1e-18}, 1e-18),
    "ripple": ({"kind": "price_value", "value": "1.5"}, "bad_payload"),
    "cardano": ({"kind": "negative"}, "bad_payload"),
    "solana": ({"kind": "zero_price"}, "bad_payload"),
    "polkadot": ({"kind": "null_price"}, "missing_asset"),
    "litecoin": ({"kind": "missing_coin"}, "missing_asset"),
    "stellar": ({"kind": "price_value", "value": True}, "bad_payload"),
    "cosmos": ({"kind": "string_numbers"}, "bad_payload"),
}


async def test_odd_numbers_arrive_exactly_or_not_at_all(base: Settings, tmp_path: Path):
    async with collection(base, tmp_path, own=PATIENT) as running:
        await running.published(2)
        for asset_id, (fault, _) in ODD.items():
            parameters = {key: value for key, value in fault.items() if key != "kind"}
            running.misbehave("coingecko", str(fault["kind"]), coins=[asset_id], **parameters)
        begun = now_ms()
        await running.published(3)
        over = now_ms()
        running.market.faults.clear()
        running.misbehave("coingecko", "duplicate_keys")
        await running.published(3)
        records = await running.records()
    in_time = [r for r in records if (r.provider, r.role, r.fallback_reason) != LATE]
    during = [r for r in in_time if begun <= r.tick_ts <= over - 1000]
    repeated = [r for r in in_time if r.tick_ts >= over]
    assert during
    assert repeated
    for record in during:
        expected = ODD.get(record.asset_id, (None, None))[1]
        if isinstance(expected, float):
            assert (record.provider, record.price) == ("coingecko", expected)
        else:
            provider = "coingecko" if expected is None else "coinmarketcap"
            assert (record.provider, record.fallback_reason) == (provider, expected), record.asset_id
            assert 0 < record.price < 1e6
    # It is undefined which of two equal keys applies.
    assert {(r.provider, r.fallback_reason) for r in repeated} == {("coinmarketcap", "bad_payload")}


async def test_a_stopped_primary_is_unavailable_and_a_gap_is_counted_when_all_fail(base: Settings, tmp_path: Path):
    async with collection(base, tmp_path) as running:
        await running.published(2)
        await running.scrapers["coingecko"].stop()
        stopped = now_ms()
        await running.published(3)
        running.misbehave("coinmarketcap", "http_status", status=500)

        async def gaps() -> bool:
            probe = await running.collector.probe()
            return probe.metrics["gaps_total"] >= 17 and "no price for 17 of 17 assets" in probe.message

        await until(gaps)
        records = await running.records()
    reasons = {(r.provider, r.fallback_reason) for r in records if r.tick_ts >= stopped}
    assert reasons == {("coinmarketcap", "unavailable")}


async def test_a_restarted_collector_repeats_no_tick(base: Settings, tmp_path: Path):
    async with collection(base, tmp_path) as running:
        await running.published(2)
        for _ in range(3):
            running.client.away = True
            await running.collector.stop()
            await running.collector.start()
            running.client.away = False
            await running.published(2)

        async def healthy() -> bool:
            return all([(await scraper.probe()).healthy for scraper in running.scrapers.values()])

        await until(healthy)
        await running.stop()
        records = await running.records()
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
    assert len({r.tick_ts for r in records}) * 17 == len(records)


def any_batch(n: int) -> KafkaTransaction:
    return KafkaTransaction(f"tick-{n}", T0 + n * 1000, (Message(b"bitcoin", b"{}\n"), Message(b"ethereum", b"{}\n")))


def stream_transport(settings: Settings) -> KafkaTransport:
    return KafkaTransport(settings.kafka, settings.kafka.stream_topic, f"id-{settings.kafka.stream_topic}", PublishedTicks())


def tick_values(n: int) -> KafkaTransaction:
    """A transaction whose values are unified records, as the tail reader expects."""
    plain = any_batch(n)
    return replace(plain, messages=tuple(Message(a.asset_id.encode(), any_record(plain.tick_ts, a).to_json()) for a in DEFAULT_ASSETS))


def test_a_producer_killed_between_produce_and_commit_leaves_nothing_and_its_successor_publishes_once(topics: Settings):
    dead = stream_transport(topics)
    dead.connect()
    producer = dead._producer._producer
    producer.begin_transaction()
    for message in tick_values(1).messages:
        producer.produce(topics.kafka.stream_topic, key=message.key, value=message.value)
    producer.flush(60)  # the broker has them, uncommitted
    successor = stream_transport(topics)
    assert successor.connect() is None
    assert not successor.is_published(tick_values(1))
    successor.publish(tick_values(1))
    assert len(read_all(topics, topics.kafka.stream_topic)) == 17


def test_a_producer_killed_between_commit_and_acknowledgement_is_not_repeated(topics: Settings):
    first = stream_transport(topics)
    first.connect()
    for n in (1, 2):
        first.publish(tick_values(n))
    successor = stream_transport(topics)
    assert successor.connect() == tick_values(2).tick_ts
    assert [successor.is_published(tick_values(n)) for n in (1, 2, 3)] == [True, True, False]


def test_a_successor_fences_its_predecessor(topics: Settings):
    first, second = stream_transport(topics), stream_transport(topics)
    first.connect()
    first.publish(tick_values(1))
    second.connect()
    with pytest.raises(EngineUnavailable, match="took over"):
        first.publish(tick_values(2))
    with pytest.raises(Fenced, match="took over"):
        first.connect()
    second.publish(tick_values(2))
    assert len(read_all(topics, topics.kafka.stream_topic)) == 34


def test_the_tail_is_found_behind_many_markers_and_aborted_records(topics: Settings):
    transport = stream_transport(topics)
    transport.connect()
    transport.publish(tick_values(7))
    for _ in range(30):
        producer = transport._producer._producer
        producer.begin_transaction()
        for message in tick_values(8).messages:
            producer.produce(topics.kafka.stream_topic, key=message.key, value=message.value)
        producer.flush(60)
        producer.abort_transaction(60)
    unknown = KafkaTransport(topics.kafka, topics.kafka.stream_topic, uuid.uuid4().hex, PublishedTicks())
    assert unknown.connect() == tick_values(7).tick_ts
    assert len(read_tail(topics.kafka, topics.kafka.stream_topic)) == 17
    assert read_tail(topics.kafka, topics.kafka.raw_topic) == []


def test_garbage_in_the_tail_is_no_tick(topics: Settings):
    transport = stream_transport(topics)
    transport.connect()
    transport.publish(tick_values(3))
    garbage = KafkaTransport(topics.kafka, topics.kafka.stream_topic, "another", PublishedTransactions())
    garbage.connect()
    garbage.publish(any_batch(99))
    assert stream_transport(topics).connect() == tick_values(3).tick_ts
    unknown = KafkaTransport(topics.kafka, topics.kafka.stream_topic, uuid.uuid4().hex, PublishedTicks())
    assert unknown.connect() == tick_values(3).tick_ts


async def test_redis_away_holds_nothing_up_and_is_filled_again(base: Settings, engines: Engines, tmp_path: Path):
    async with collection(base, tmp_path) as running:
        await running.published(2)
        await asyncio.to_thread(engines.redis.stop)
        try:
            await running.published(3)

            async def said() -> bool:
                probe = await running.collector.probe()
                return probe.metrics["snapshot_failures_total"] > 0 and "Redis" in probe.message

            await until(said)
        finally:
            await asyncio.to_thread(engines.redis.start)
        client = redis_client.Redis.from_url(**base.redis.connection(60))

        async def filled() -> bool:
            return await asyncio.to_thread(client.hlen, "cryptoviz:latest") == 17

        await until(filled)

        async def healthy() -> bool:
            return (await running.collector.probe()).healthy

        await until(healthy)


async def test_ticks_wait_for_a_broker_that_is_away_and_none_is_lost(base: Settings, engines: Engines, tmp_path: Path):
    async with collection(base, tmp_path) as running:
        await running.published(2)
        await asyncio.to_thread(engines.kafka.stop)
        try:

            async def waiting() -> bool:
                probe = await running.collector.probe()
                return probe.metrics["queue_ticks"] >= 3 and "Kafka (kafka.bootstrap_servers) has not acknowledged" in probe.message

            await until(waiting)
        finally:
            await asyncio.to_thread(engines.kafka.start)

        async def flushed() -> bool:
            return await running.metric("queue_ticks") == 0

        await until(flushed, 120)
        await running.published(2)
        await running.stop()
        records, without_price = await running.records(), await running.without_price()
    ticks = sorted({record.tick_ts for record in records})
    assert set(ticks) | without_price >= set(range(ticks[0], ticks[-1] + 1000, 1000))
    assert len(without_price) < len(ticks)
    assert len(records) == 17 * len(ticks)
    assert all(count == 1 for count in Counter(record.event_id for record in records).values())
