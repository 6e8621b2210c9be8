from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from actors.collecting.core import Collecting
from actors.publishing.transaction import Refused
from cryptoviz.clock import SystemClock
from cryptoviz.records import FallbackReason, UnifiedRecord
from cryptoviz.settings import Settings, load_settings
from tests.helpers import eventually_async
from tests.unit.actors.fakes import T0, FakeClock, FakeSink, FakeSnapshot, answer, failed, not_due

TICK = 2000
PRICES = {"bitcoin": 1.0, "ethereum": 2.0}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(crypto_list=("BTC", "ETH"), collect={"tick_s": TICK / 1000, "providers": ("coingecko", "coinmarketcap")})


class Rig:
    def __init__(self, settings: Settings, now_ms: int = T0) -> None:
        self.clock = FakeClock(now_ms)
        self.sink = FakeSink()
        self.snapshot = FakeSnapshot()
        self.collecting = Collecting(settings, self.clock, self.sink, self.snapshot)

    def turn(self) -> None:
        """What `run` does between two waits."""
        self.collecting.publish_due()


@pytest.fixture
def rig(settings: Settings) -> Rig:
    return Rig(settings)


def test_a_tick_is_one_batch_keyed_by_asset(rig: Rig):
    rig.collecting.submit(answer("coingecko", PRICES))
    rig.collecting.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    (batch,) = rig.sink.batches
    assert (batch.identity, batch.tick_ts) == (f"tick-{T0}", T0)
    assert [message.key for message in batch.messages] == [b"bitcoin", b"ethereum"]
    records = [UnifiedRecord.from_json(message.value) for message in batch.messages]
    assert [(record.price, record.role, record.consensus_sources) for record in records] == [(1.0, "primary", 2), (2.0, "primary", 2)]
    assert all(message.value.endswith(b"}\n") and message.value.count(b"\n") == 1 for message in batch.messages)


def test_the_snapshot_follows_the_acknowledgement(rig: Rig):
    rig.collecting.submit(answer("coingecko", PRICES, ingest_ts=T0 + 90))
    rig.collecting.submit(answer("coinmarketcap", PRICES, ingest_ts=T0 + 100))
    rig.turn()
    assert rig.snapshot.latest == []
    assert json.loads(rig.snapshot.providers["coingecko"])["ok"] is True
    rig.collecting.published(rig.sink.batches[0], T0 + 130)
    assert rig.snapshot.latest == rig.sink.batches
    stats = rig.collecting.stats
    assert (stats.ticks_published_total, stats.records_published_total, stats.publish_latency_ms) == (1, 2, 30.0)
    assert rig.collecting.healthy(T0 + 130 + 3 * TICK)
    assert not rig.collecting.healthy(T0 + 131 + 3 * TICK)


def test_fallback_is_counted_and_the_providers_state_told(rig: Rig):
    rig.collecting.submit(failed("coingecko", FallbackReason.RATE_LIMITED))
    rig.collecting.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    assert rig.collecting.stats.fallback_assets == 2
    state = orjson.loads(rig.snapshot.providers["coingecko"])
    assert (state["ok"], state["failure"], state["stopped"], state["prices"]) == (False, "rate_limited", False, 0)


def test_a_tick_without_any_price_is_a_gap_of_each_asset(rig: Rig):
    for n in range(2):
        rig.clock.ms = T0 + n * TICK
        for provider in ("coingecko", "coinmarketcap"):
            rig.collecting.submit(failed(provider, FallbackReason.UNAVAILABLE, T0 + n * TICK))
        rig.turn()
    assert [batch.messages for batch in rig.sink.batches] == [(), ()]
    assert rig.snapshot.gaps == {"bitcoin": 2, "ethereum": 2}
    assert (rig.collecting.stats.gaps_total, rig.collecting.stats.empty_ticks_total) == (4, 2)
    assert "coingecko: unavailable" in rig.collecting.stats.message


def test_one_missing_coin_is_a_gap_of_that_coin(rig: Rig):
    rig.collecting.submit(answer("coingecko", {"bitcoin": 1.0}))
    rig.collecting.submit(answer("coinmarketcap", {"bitcoin": 1.0}))
    rig.turn()
    assert rig.snapshot.gaps == {"ethereum": 1}
    assert [message.key for message in rig.sink.batches[0].messages] == [b"bitcoin"]


def test_nothing_is_missed_before_the_first_result_or_while_all_are_stopped(rig: Rig):
    rig.clock.ms = T0 + 3 * TICK
    rig.turn()
    assert rig.snapshot.gaps == {}
    rig.collecting.submit(answer("coingecko", PRICES, T0 + 3 * TICK))
    for provider in ("coingecko", "coinmarketcap"):
        rig.collecting.deregister(provider)
    rig.clock.ms = T0 + 10 * TICK
    rig.turn()
    assert rig.snapshot.gaps == {}
    assert rig.collecting.idle
    assert rig.collecting.healthy(T0 + 100 * TICK)


def test_without_any_answer_it_is_degraded_and_not_replaced(rig: Rig):
    for tick in range(10):
        rig.clock.ms = T0 + tick * TICK + 20
        for provider in ("coingecko", "coinmarketcap"):
            rig.collecting.submit(failed(provider, FallbackReason.UNAVAILABLE, T0 + tick * TICK))
        rig.turn()
    now = rig.clock.now_ms()
    assert (rig.collecting.healthy(now), rig.collecting.fresh(now)) == (True, False)
    assert "no price for 2 of 2 assets" in rig.collecting.stats.message
    # One that does not even close its ticks is another matter, and so is one whose ticks wait for Kafka.
    assert not rig.collecting.healthy(now + 3 * TICK + 1)
    rig.clock.ms = T0 + 10 * TICK + 20
    for provider in ("coingecko", "coinmarketcap"):
        rig.collecting.submit(answer(provider, PRICES, T0 + 10 * TICK))
    rig.turn()
    assert not rig.collecting.healthy(rig.clock.now_ms())


def test_a_tick_that_the_queue_lost_is_a_gap(rig: Rig):
    rig.collecting.submit(answer("coingecko", PRICES))
    rig.collecting.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    rig.collecting.dropped(rig.sink.batches[0])
    assert rig.snapshot.gaps == {"bitcoin": 1, "ethereum": 1}
    assert rig.collecting.stats.dropped_ticks_total == 1


def test_a_record_that_kafka_refused_is_a_gap_of_its_asset_which_the_next_tick_reports(rig: Rig):
    for n in range(2):
        for provider in ("coingecko", "coinmarketcap"):
            rig.collecting.submit(answer(provider, PRICES, T0 + n * TICK))
        rig.turn()
        rig.clock.ms += TICK
        if n == 0:
            (whole,) = rig.sink.batches
            refused = Refused(next(m for m in whole.messages if m.key == b"ethereum"), "too large")
            rig.collecting.refused(whole, refused)
            rig.collecting.published(replace(whole, messages=whole.messages[:1]), rig.clock.now_ms())
    assert rig.snapshot.gaps == {"ethereum": 1}
    body = orjson.loads(orjson.loads(rig.sink.batches[1].notes[-1].value)["body"])
    assert body["dropped"] == [[T0, T0, TICK]]


@pytest.mark.parametrize(("last_tick", "missed"), [(None, 0), (T0, 0), (T0 - TICK, 0), (T0 - 5 * TICK, 4)])
def test_ticks_missed_before_the_start_are_told(rig: Rig, last_tick, missed):
    rig.collecting.connected(last_tick)
    assert rig.collecting.stats.outage_ticks == missed


def test_a_disabled_provider_is_no_part_of_the_order(settings: Settings):
    only_second = settings.model_copy(update={"providers": {"coingecko": settings.provider("coingecko").model_copy(update={"enabled": False})}})
    rig = Rig(only_second)
    rig.collecting.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    assert [UnifiedRecord.from_json(m.value).role for m in rig.sink.batches[0].messages] == ["primary", "primary"]


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[tuple[Collecting, FakeSink]]:
    sink = FakeSink()
    quick = settings.model_copy(update={"collect": settings.collect.model_copy(update={"tick_s": 0.5})})
    collecting = Collecting(quick, SystemClock(), sink, FakeSnapshot())
    task = asyncio.create_task(collecting.run())
    yield collecting, sink
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_loop_publishes_at_the_deadline_what_has_come(running: tuple[Collecting, FakeSink]):
    collecting, sink = running
    tick = SystemClock().now_ms() // 500 * 500 + 500

    async def published() -> bool:
        return any(batch.tick_ts == tick for batch in sink.batches)

    collecting.submit(answer("coinmarketcap", PRICES, tick))
    await eventually_async(published, 5.0)
    (batch,) = [batch for batch in sink.batches if batch.tick_ts == tick]
    assert {UnifiedRecord.from_json(m.value).fallback_reason for m in batch.messages} == {"timeout"}


def test_the_first_provider_whose_turn_it_is_is_the_tick_s_primary(rig: Rig):
    rig.collecting.submit(not_due("coingecko"))
    rig.collecting.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    records = [UnifiedRecord.from_json(message.value) for message in rig.sink.batches[0].messages]
    assert {(record.provider, record.role, record.fallback_reason) for record in records} == {("coinmarketcap", "primary", None)}
    assert rig.collecting.stats.fallback_assets == 0
    assert set(rig.snapshot.providers) == {"coinmarketcap"}


def test_a_tick_that_no_plan_pays_for_is_no_gap(rig: Rig):
    for tick in range(5):
        rig.clock.ms = T0 + tick * TICK + 20
        for provider in ("coingecko", "coinmarketcap"):
            rig.collecting.submit(not_due(provider, T0 + tick * TICK))
        rig.turn()
    stats = rig.collecting.stats
    assert (stats.unplanned_ticks_total, stats.gaps_total, stats.empty_ticks_total) == (5, 0, 0)
    assert rig.sink.batches == []
    now = rig.clock.now_ms()
    assert rig.collecting.healthy(now + TICK)
    assert rig.collecting.unpaid(now) == "5 ticks were paid for by no provider's plan (CRYPTOVIZ_COLLECT__PROVIDERS: add an exchange)"
    assert rig.collecting.unpaid(now + 101 * TICK) == ""


def test_a_failure_of_the_only_provider_whose_turn_it_is_is_a_gap(rig: Rig):
    rig.collecting.submit(not_due("coingecko"))
    rig.collecting.submit(failed("coinmarketcap", FallbackReason.UNAVAILABLE))
    rig.turn()
    assert rig.collecting.stats.gaps_total == 2
