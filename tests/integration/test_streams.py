"""Trade streams against the replay market and a real Kafka: each trade of the market is there exactly once, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from actors.streaming.actor import StreamActor
from cryptoviz.components import Probe
from cryptoviz.redis_keys import quote_key
from cryptoviz.settings import Settings
from cryptoviz.trades.quote import QUOTE_KEEP_S, QuoteRecord
from tests.support.streams import StreamRig, stream_rig
from tests.support.topics import read_all
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.integration]

SYMBOLS = {"binance": "BTCUSDT", "kraken": "BTC/USD", "coinbase": "BTC-USD"}
VENUES = tuple(SYMBOLS)


@pytest.fixture
async def rig(base: Settings, tmp_path: Path) -> AsyncIterator[StreamRig]:
    async with stream_rig(base, tmp_path, VENUES) as found:
        yield found


async def published(actor: StreamActor, more: int, *, complete: bool = True) -> None:
    """Wait until Kafka has so many further trades, and then until no gap is open."""
    before = (await actor.probe()).metrics["published_total"]

    async def enough() -> bool:
        metrics = (await actor.probe()).metrics
        assert metrics["published_total"] >= before + more, (await actor.probe()).message
        return metrics["gaps_open"] == 0 or not complete

    await eventually_async(enough)


async def in_order(actor: StreamActor) -> Probe:
    """The probe once nothing is wrong: a busy machine may have opened a connection again, or lags for a moment."""

    async def found() -> Probe:
        probe = await actor.probe()
        assert (probe.healthy, probe.degraded, probe.metrics["connected"]) == (True, False, 1.0), probe.message
        return probe

    return await eventually_async(found)


@pytest.mark.parametrize("venue", VENUES)
async def test_the_quotes_of_a_venue_are_recorded_and_fit_its_trades(base: Settings, tmp_path: Path, venue: str) -> None:
    async with stream_rig(base, tmp_path, (venue,), quote_s=0.5, instruments=("BTC", "ETH")) as rig:
        actor = rig.actor(venue)
        await actor.start()
        try:
            await published(actor, 100)

            async def recorded() -> bool:
                return (await actor.probe()).metrics["quotes_recorded_total"] >= 8

            await eventually_async(recorded)
            probe = await in_order(actor)
            stored, ends_s = await asyncio.to_thread(in_redis, rig.settings, venue)
        finally:
            await actor.stop()
        assert (probe.metrics["quotes_acked"], probe.metrics["bad_quotes_total"]) == (2.0, 0.0)
        assert probe.metrics[f"spread_bps@{SYMBOLS[venue]}"] > 0
        quotes = [QuoteRecord.from_json(value) for value in await asyncio.to_thread(read_all, rig.settings, rig.settings.kafka.quotes_topic)]
        own = [one for one in quotes if one.venue_symbol == SYMBOLS[venue]]
        assert {one.venue_symbol for one in quotes} == {SYMBOLS[venue], SYMBOLS[venue].replace("BTC", "ETH")}
        assert len({one.quote_id for one in quotes}) == len(quotes)
        amounts = [(one.bid, one.bid_size, one.ask, one.ask_size) for one in own]
        assert all(before != after for before, after in pairwise(amounts))
        taken = {(Decimal(row["price"]), row["side"]) for row in await rig.in_kafka(venue, SYMBOLS[venue])}
        # the first and the last may be of a second whose trades came before the start or after the stop
        assert all({(Decimal(one.ask), "buy"), (Decimal(one.bid), "sell")} & taken for one in own[1:-1])
        assert stored in own
        assert 0 < ends_s <= QUOTE_KEEP_S
        await rig.check_complete(venue, SYMBOLS[venue], 20)


def in_redis(settings: Settings, venue: str) -> tuple[QuoteRecord, int]:
    """The last quote, and after how many seconds it is forgotten."""
    client = redis.Redis.from_url(**settings.redis.connection(60))
    key = quote_key(settings.ray.namespace, venue, SYMBOLS[venue])
    value, ends_s = client.get(key), client.ttl(key)
    client.close()
    assert isinstance(value, bytes)
    assert isinstance(ends_s, int)
    return QuoteRecord.from_json(value), ends_s


async def test_quotes_do_not_keep_a_connection_whose_trades_have_stopped(base: Settings, tmp_path: Path) -> None:
    async with stream_rig(base, tmp_path, ("kraken",), quote_s=0.5, silent_s=3.0) as rig:
        actor = rig.actor("kraken")
        await actor.start()
        try:
            await published(actor, 10)
            await rig.fault("kraken", "trade_rate", per_s=0)  # quotes go on
            metrics = (await actor.probe()).metrics
            before, reconnects = metrics["quote_frames_total"], metrics["reconnects_total"]

            async def replaced() -> bool:
                return (await actor.probe()).metrics["reconnects_total"] > reconnects

            await eventually_async(replaced)
            frames = (await actor.probe()).metrics["quote_frames_total"]
        finally:
            await actor.stop()
        assert frames > before


@pytest.mark.parametrize("venue", VENUES)
async def test_the_trades_of_a_venue_are_recorded(rig: StreamRig, venue: str) -> None:
    actor = rig.actor(venue)
    await actor.start()
    try:
        await published(actor, 20)
        probe = await in_order(actor)
    finally:
        await actor.stop()
    assert (probe.running, probe.delivered) == (True, True)
    assert (probe.metrics["instruments_acked"], probe.metrics["connected"]) == (3.0, 1.0)
    assert probe.metrics[f"data_age_s@{SYMBOLS[venue]}"] < 30
    await rig.check_complete(venue, SYMBOLS[venue], 5)


async def test_faults_of_single_trades_neither_lose_nor_double_any(rig: StreamRig) -> None:
    for kind, every in (("stream_drop", 7), ("stream_duplicate", 3), ("stream_reorder", 5), ("stream_garbage", 11), ("stream_truncated", 13)):
        await rig.fault("binance", kind, every=every)
    actor = rig.actor("binance")
    await actor.start()
    try:
        await published(actor, 150, complete=False)
        await rig.heal()
        await published(actor, 50)
        metrics = (await actor.probe()).metrics
    finally:
        await actor.stop()
    sources = await rig.check_complete("binance", "BTCUSDT", 60)
    assert sources["refill"] >= 5
    assert {gap["state"] for gap in (await rig.gaps()).values()} == {"refilled"}
    assert (metrics["duplicates_dropped_total"] >= 10, metrics["bad_frames_total"] >= 5) == (True, True)


async def test_a_cut_connection_is_opened_again_and_its_hole_refilled(rig: StreamRig) -> None:
    actor = rig.actor("coinbase")
    await actor.start()
    try:
        await published(actor, 15)
        await rig.fault("coinbase", "stream_close", code=1006)
        await published(actor, 15)
        reconnects = (await actor.probe()).metrics["reconnects_total"]
    finally:
        await actor.stop()
    assert reconnects >= 1
    await rig.check_complete("coinbase", "BTC-USD", 10)


async def test_an_announced_end_is_overlapped_by_the_next_connection(rig: StreamRig) -> None:
    actor = rig.actor("binance")
    await actor.start()
    try:
        await published(actor, 10)
        await rig.fault("binance", "stream_shutdown", announce_s=6)

        async def replaced() -> bool:
            return (await actor.probe()).metrics["reconnects_total"] >= 1

        await eventually_async(replaced)
        await published(actor, 40)
    finally:
        await actor.stop()
    assert (await rig.check_complete("binance", "BTCUSDT", 10))["refill"] == 0
    assert await rig.gaps() == {}


async def test_a_restart_continues_after_the_last_recorded_trade(rig: StreamRig) -> None:
    first = rig.actor("kraken")
    await first.start()
    await published(first, 15)
    await first.stop()
    second = rig.actor("kraken")
    await second.start()
    try:
        await published(second, 15)
    finally:
        await second.stop()
    await rig.check_complete("kraken", "BTC/USD", 10)


async def test_a_successor_fences_an_actor_that_still_runs(rig: StreamRig) -> None:
    old, new = rig.actor("binance"), rig.actor("binance")
    await old.start()
    await published(old, 10)
    await new.start()
    try:
        await published(new, 20)

        async def ended() -> bool:
            return not (await old.probe()).running

        await eventually_async(ended)
    finally:
        await old.stop()
        await new.stop()
    await rig.check_complete("binance", "BTCUSDT", 10)


async def test_a_refused_symbol_is_reported_and_the_others_are_recorded(rig: StreamRig) -> None:
    await rig.fault("kraken", "stream_refused", symbols=["ETH/USD"])
    actor = rig.actor("kraken")
    await actor.start()
    try:
        await published(actor, 10)

        async def reported() -> bool:
            probe = await actor.probe()
            assert probe.degraded
            assert "ETH/USD is refused" in probe.message
            assert probe.metrics["instruments_acked"] == 2.0
            return True

        await eventually_async(reported)
    finally:
        await actor.stop()


async def test_the_connection_is_closed_while_kafka_does_not_keep_up(base: Settings, tmp_path: Path) -> None:
    async with stream_rig(base, tmp_path, ("binance",), queue_trades=100) as rig:
        actor = rig.actor("binance")
        await actor.start()
        try:
            await published(actor, 10)
            actor._offered += 200  # as if Kafka had not acknowledged so many

            async def closed() -> bool:
                found = await actor.probe()
                return found.metrics["connected"] == 0.0 and "closed until Kafka has taken" in found.message

            await eventually_async(closed)
            actor._offered -= 200
            await published(actor, 20)
            metrics = (await actor.probe()).metrics
        finally:
            await actor.stop()
        assert metrics["pauses_total"] >= 1.0
        await rig.check_complete("binance", "BTCUSDT", 10)
