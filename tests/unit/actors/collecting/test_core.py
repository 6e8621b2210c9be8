from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.collecting.core import CollectorCore
from actors.publishing.transaction import Refused
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.clock import SystemClock
from cryptoviz.records import FallbackReason, UnifiedRecord
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import FakeSink, FakeSnapshot, answer, failed, not_due
from tests.support.log_lines import log_lines
from tests.support.waiting import eventually_async

TICK_MS = 2000
PRICES = {"bitcoin": 1.0, "ethereum": 2.0}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(crypto_list=("BTC", "ETH"), collect={"tick_s": TICK_MS / 1000, "providers": ("coingecko", "coinmarketcap")})


class Rig:
    def __init__(self, settings: Settings, now_ms: int = T0) -> None:
        self.clock = FakeClock(now_ms)
        self.sink = FakeSink()
        self.snapshot = FakeSnapshot()
        self.core = CollectorCore(settings, self.clock, self.sink, self.snapshot)

    def turn(self) -> None:
        """One iteration of `run`."""
        self.core.publish_due()

    def tick_records(self) -> list[dict[str, Any]]:
        """Bodies of the tick records for Kafka, in order."""
        records = [orjson.loads(transaction.audit_records[-1].value) for transaction in self.sink.transactions]
        assert {(record["provider"], record["endpoint"]) for record in records} <= {(RECORDER, TICK)}
        return [orjson.loads(record["body"]) for record in records]

    def gaps(self) -> dict[str, int]:
        """By asset, the recorded ticks without a row of it: what the gap ledger finds."""
        rows = Counter(message.key.decode() for transaction in self.sink.transactions for message in transaction.messages)
        ticks = len(self.tick_records())
        return {asset: ticks - rows[asset] for asset in PRICES if rows[asset] < ticks}


@pytest.fixture
def rig(settings: Settings) -> Rig:
    return Rig(settings)


def test_a_tick_is_one_transaction_keyed_by_asset(rig: Rig):
    rig.core.submit(answer("coingecko", PRICES))
    rig.core.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    (transaction,) = rig.sink.transactions
    assert (transaction.identity, transaction.tick_ts) == (f"tick-{T0}", T0)
    assert [message.key for message in transaction.messages] == [b"bitcoin", b"ethereum"]
    records = [UnifiedRecord.from_json(message.value) for message in transaction.messages]
    assert [(record.price, record.role, record.consensus_sources) for record in records] == [(1.0, "primary", 2), (2.0, "primary", 2)]
    assert all(message.value.endswith(b"}\n") and message.value.count(b"\n") == 1 for message in transaction.messages)


def test_the_snapshot_is_updated_after_the_acknowledgement(rig: Rig):
    rig.core.submit(answer("coingecko", PRICES, ingest_ts=T0 + 90))
    rig.core.submit(answer("coinmarketcap", PRICES, ingest_ts=T0 + 100))
    rig.turn()
    assert rig.snapshot.latest == []
    assert "failure" not in rig.tick_records()[0]["results"]["coingecko"]
    rig.core.published(rig.sink.transactions[0], T0 + 130)
    assert rig.snapshot.latest == rig.sink.transactions
    stats = rig.core.stats
    assert (stats.ticks_published_total, stats.records_published_total, stats.publish_latency_ms) == (1, 2, 30.0)
    assert rig.core.healthy(T0 + 130 + 3 * TICK_MS)
    assert not rig.core.healthy(T0 + 131 + 3 * TICK_MS)


def test_fallbacks_are_counted_and_results_of_providers_recorded(rig: Rig):
    rig.core.submit(failed("coingecko", FallbackReason.RATE_LIMITED))
    rig.core.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    assert rig.core.stats.fallback_assets == 2
    (record,) = rig.tick_records()
    assert {name: result.get("failure") for name, result in record["results"].items()} == {"coingecko": "rate_limited", "coinmarketcap": None}
    assert record["absent"] == {}


def test_a_tick_without_prices_is_a_gap_of_each_asset(rig: Rig):
    for n in range(2):
        rig.clock.ms = T0 + n * TICK_MS
        for provider in ("coingecko", "coinmarketcap"):
            rig.core.submit(failed(provider, FallbackReason.UNAVAILABLE, T0 + n * TICK_MS))
        rig.turn()
    assert [transaction.messages for transaction in rig.sink.transactions] == [(), ()]
    assert rig.gaps() == {"bitcoin": 2, "ethereum": 2}
    assert (rig.core.stats.gaps_total, rig.core.stats.empty_ticks_total) == (4, 2)
    assert "coingecko: unavailable" in rig.core.stats.message


def test_one_missing_coin_is_a_gap_of_that_coin(rig: Rig):
    rig.core.submit(answer("coingecko", {"bitcoin": 1.0}))
    rig.core.submit(answer("coinmarketcap", {"bitcoin": 1.0}))
    rig.turn()
    assert rig.gaps() == {"ethereum": 1}
    assert rig.core.stats.gaps_total == 1
    assert [message.key for message in rig.sink.transactions[0].messages] == [b"bitcoin"]


def test_no_gap_before_the_first_result_or_while_all_providers_are_stopped(rig: Rig):
    rig.clock.ms = T0 + 3 * TICK_MS
    rig.turn()
    assert (rig.core.stats.gaps_total, rig.sink.transactions) == (0, [])
    rig.core.submit(answer("coingecko", PRICES, T0 + 3 * TICK_MS))
    for provider in ("coingecko", "coinmarketcap"):
        rig.core.deregister(provider)
    rig.clock.ms = T0 + 10 * TICK_MS
    rig.turn()
    assert (rig.core.stats.gaps_total, rig.gaps()) == (0, {})
    assert rig.core.idle
    assert rig.core.healthy(T0 + 100 * TICK_MS)


def test_without_results_the_collector_is_degraded_but_not_restarted(rig: Rig):
    for tick in range(10):
        rig.clock.ms = T0 + tick * TICK_MS + 20
        for provider in ("coingecko", "coinmarketcap"):
            rig.core.submit(failed(provider, FallbackReason.UNAVAILABLE, T0 + tick * TICK_MS))
        rig.turn()
    now = rig.clock.now_ms()
    assert (rig.core.healthy(now), rig.core.fresh(now)) == (True, False)
    assert "no price for 2 of 2 assets" in rig.core.stats.message
    # Unhealthy if ticks are not closed, or wait for Kafka.
    assert not rig.core.healthy(now + 3 * TICK_MS + 1)
    rig.clock.ms = T0 + 10 * TICK_MS + 20
    for provider in ("coingecko", "coinmarketcap"):
        rig.core.submit(answer(provider, PRICES, T0 + 10 * TICK_MS))
    rig.turn()
    assert not rig.core.healthy(rig.clock.now_ms())


def test_a_tick_dropped_from_the_queue_is_a_gap(rig: Rig):
    rig.core.submit(answer("coingecko", PRICES))
    rig.core.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    rig.core.dropped(rig.sink.transactions.pop())
    assert (rig.core.stats.gaps_total, rig.core.stats.dropped_ticks_total) == (2, 1)
    rig.clock.ms += TICK_MS
    for provider in ("coingecko", "coinmarketcap"):
        rig.core.submit(answer(provider, PRICES, T0 + TICK_MS))
    rig.turn()
    assert [record["dropped"] for record in rig.tick_records()] == [[[T0, T0, TICK_MS]]]


def test_a_record_refused_by_kafka_is_a_gap_of_its_asset_reported_by_the_next_tick(rig: Rig):
    for n in range(2):
        for provider in ("coingecko", "coinmarketcap"):
            rig.core.submit(answer(provider, PRICES, T0 + n * TICK_MS))
        rig.turn()
        rig.clock.ms += TICK_MS
        if n == 0:
            (whole,) = rig.sink.transactions
            refused = Refused(next(m for m in whole.messages if m.key == b"ethereum"), "too large")
            rig.core.refused(whole, refused)
            rig.core.published(replace(whole, messages=whole.messages[:1]), rig.clock.now_ms())
    assert rig.core.stats.gaps_total == 1
    assert [[message.key for message in transaction.messages] for transaction in rig.snapshot.latest] == [[b"bitcoin"]]
    assert rig.tick_records()[1]["dropped"] == [[T0, T0, TICK_MS]]


@pytest.mark.parametrize(("last_tick", "missed"), [(None, 0), (T0, 0), (T0 - TICK_MS, 0), (T0 - 5 * TICK_MS, 4)])
def test_ticks_missed_before_the_start_are_reported(rig: Rig, last_tick, missed):
    rig.core.connected(last_tick)
    assert rig.core.stats.outage_ticks == missed


def test_a_disabled_provider_is_not_in_the_order(settings: Settings):
    only_second = settings.model_copy(update={"providers": {"coingecko": settings.provider("coingecko").model_copy(update={"enabled": False})}})
    rig = Rig(only_second)
    rig.core.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    assert [UnifiedRecord.from_json(m.value).role for m in rig.sink.transactions[0].messages] == ["primary", "primary"]


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[tuple[CollectorCore, FakeSink]]:
    sink = FakeSink()
    quick = settings.model_copy(update={"collect": settings.collect.model_copy(update={"tick_s": 0.5})})
    core = CollectorCore(quick, SystemClock(), sink, FakeSnapshot())
    task = asyncio.create_task(core.run())
    yield core, sink
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_loop_publishes_received_results_at_the_deadline(running: tuple[CollectorCore, FakeSink]):
    core, sink = running
    tick = SystemClock().now_ms() // 500 * 500 + 500

    async def published() -> bool:
        return any(transaction.tick_ts == tick for transaction in sink.transactions)

    core.submit(answer("coinmarketcap", PRICES, tick))
    await eventually_async(published)
    (transaction,) = [transaction for transaction in sink.transactions if transaction.tick_ts == tick]
    assert {UnifiedRecord.from_json(m.value).fallback_reason for m in transaction.messages} == {"timeout"}


def test_the_first_provider_with_a_turn_is_the_primary(rig: Rig):
    rig.core.submit(not_due("coingecko"))
    rig.core.submit(answer("coinmarketcap", PRICES))
    rig.turn()
    records = [UnifiedRecord.from_json(message.value) for message in rig.sink.transactions[0].messages]
    assert {(record.provider, record.role, record.fallback_reason) for record in records} == {("coinmarketcap", "primary", None)}
    assert rig.core.stats.fallback_assets == 0
    (record,) = rig.tick_records()
    assert (set(record["results"]), record["idle"]) == ({"coinmarketcap"}, ["coingecko"])


def test_a_tick_without_any_turn_is_not_a_gap(rig: Rig):
    for tick in range(5):
        rig.clock.ms = T0 + tick * TICK_MS + 20
        for provider in ("coingecko", "coinmarketcap"):
            rig.core.submit(not_due(provider, T0 + tick * TICK_MS))
        rig.turn()
    stats = rig.core.stats
    assert (stats.unplanned_ticks_total, stats.gaps_total, stats.empty_ticks_total) == (5, 0, 0)
    assert rig.sink.transactions == []
    now = rig.clock.now_ms()
    assert rig.core.healthy(now + TICK_MS)
    assert rig.core.uncovered(now) == "no provider's plan covered 5 ticks (CRYPTOVIZ_COLLECT__PROVIDERS: add an exchange)"
    assert rig.core.uncovered(now + 101 * TICK_MS) == ""


def test_a_failure_of_the_only_provider_with_a_turn_is_a_gap(rig: Rig):
    rig.core.submit(not_due("coingecko"))
    rig.core.submit(failed("coinmarketcap", FallbackReason.UNAVAILABLE))
    rig.turn()
    assert rig.core.stats.gaps_total == 2


def test_lines_of_a_tick_have_its_id_and_the_fetch_ids(rig: Rig):
    first, second = answer("coingecko", PRICES), failed("coinmarketcap", FallbackReason.UNAVAILABLE)
    with log_lines() as lines:
        rig.core.submit(first)
        rig.core.submit(second)
        rig.turn()
    assert [(line["tick_ts"], line["fetch_id"]) for line in lines.of("result_received")] == [(T0, first.fetch_id), (T0, second.fetch_id)]
    (closed,) = lines.of("tick_closed")
    assert (closed["tick_ts"], closed["fetch_ids"]) == (T0, f"{first.fetch_id},{second.fetch_id}")


def test_a_result_without_a_call_has_no_fetch_id_in_the_lines_of_a_tick(rig: Rig):
    first, held = answer("coingecko", PRICES), replace(failed("coinmarketcap", FallbackReason.QUOTA), fetch_id="")
    with log_lines() as lines:
        rig.core.submit(held)
        rig.core.submit(first)
        rig.turn()
    assert [line["fetch_ids"] for line in lines.of("tick_closed")] == [first.fetch_id]


def test_a_gap_line_has_the_tick(rig: Rig):
    with log_lines() as lines:
        for provider in ("coingecko", "coinmarketcap"):
            rig.core.submit(failed(provider, FallbackReason.UNAVAILABLE))
        rig.turn()
    assert [line["tick_ts"] for line in lines.of("gap_begins")] == [T0]
