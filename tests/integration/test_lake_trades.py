"""Trades in the lake, by the lake job with a real Kafka, a real MinIO and Spark on Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cryptoviz.kafka import producer
from cryptoviz.lake import Lake
from cryptoviz.lake.verify import verify
from cryptoviz.settings import Settings
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import LakeHost, caught_up, host_lake, ray_cluster
from tests.support.lake_readers import by_delta, by_folder
from tests.support.measure import say
from tests.support.records import TICK
from tests.support.topics import Feed
from tests.support.trades import change, trade, trade_values

pytestmark = [pytest.mark.integration]

TRADES = range(1, 4001)


@dataclass
class Rig:
    settings: Settings
    host: LakeHost


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    base = lake_settings(tmp_path_factory.mktemp("trades"), close_after_s=0, quiet_s=0)
    settings = base.model_copy(update={"streams": base.streams.model_copy(update={"venues": ("binance",), "quote_s": 1.0})})
    with engines(settings), ray_cluster() as ray:
        Feed(settings).tick(TICK)
        publish(settings, trade_values(TRADES))
        host = host_lake(ray, settings)
        host.start()
        yield Rig(settings, host)
        host.stop()


def publish(settings: Settings, trades: list[tuple[bytes, bytes]], changes: tuple[bytes, ...] = (), quotes: tuple[bytes, ...] = ()) -> None:
    """One transaction of trades, changes of gaps, and quotes."""
    out = producer(settings.kafka, {"transactional.id": "trades-test", "linger.ms": 1})
    out.init_transactions(60)
    out.begin_transaction()
    for key, value in trades:
        out.produce(settings.kafka.trades_topic, value, key=key)
    for value in changes:
        out.produce(settings.kafka.trade_gaps_topic, value, key=b"binance:BTCUSDT")
    for value in quotes:
        out.produce(settings.kafka.quotes_topic, value, key=b"binance:BTCUSDT")
    out.commit_transaction(60)


def test_every_trade_is_in_the_lake_once_for_both_readers(rig: Rig) -> None:
    report = caught_up(rig.settings)
    assert report.ok, report.to_text()
    rows = {(one.table, one.reader): one.rows for one in report.comparisons}
    assert rows["trades", "delta"] == rows["trades", "plain"] == len(TRADES)
    assert {by_delta(rig.settings, "trades").num_rows, by_folder(rig.settings, "trades").num_rows} == {len(TRADES)}


def test_readers_return_trades_exactly(rig: Rig) -> None:
    caught_up(rig.settings)
    lake = Lake(rig.settings)
    start = datetime.fromtimestamp(trade(100)["venue_ts"] / 1e6, UTC)
    rows = lake.trades("BTC", start=start, venues="binance", columns=["trade_number", "price", "size", "price_double"]).arrow().to_pylist()
    assert [row["trade_number"] for row in rows] == list(TRADES)[99:]
    sent = trade(100)
    assert rows[0] == {
        "trade_number": 100, "price": Decimal(sent["price"]), "size": Decimal(sent["size"]), "price_double": float(sent["price"]),
    }  # fmt: skip
    assert lake.trades("ETH").arrow().num_rows == 0
    total = lake.query("SELECT sum(price * size::DECIMAL(18, 8)) AS turnover, count(*) AS n FROM trades").arrow().to_pylist()[0]
    assert total["n"] == len(TRADES)
    assert total["turnover"] == pytest.approx(sum(Decimal(trade(n)["price"]) * Decimal(trade(n)["size"]) for n in TRADES))


def test_a_gap_has_its_newest_state_and_its_history(rig: Rig) -> None:
    publish(rig.settings, [], (change("g1", "open", 0), change("g2", "open", 1)))
    publish(rig.settings, trade_values(range(9000, 9001)), (change("g1", "refilled", 2),))
    report = caught_up(rig.settings)
    assert report.ok, report.to_text()
    lake = Lake(rig.settings)
    assert {row["gap_id"]: row["state"] for row in lake.trade_gaps().arrow().to_pylist()} == {"g1": "refilled", "g2": "open"}
    assert lake.trade_gaps(changes=True, columns=["state"]).arrow().column("state").to_pylist() == ["open", "open", "refilled"]


def quote(number: int, **changes: str) -> bytes:
    at_us = trade(number)["ingest_ts"]
    fields = {
        "quote_id": f"a-{number:x}", "venue": "binance", "venue_symbol": "BTCUSDT", "asset_id": "bitcoin", "quote_currency": "USDT",
        "bid": f"{37_000 + number}.10000000", "bid_size": "0.00000001", "ask": f"{37_000 + number}.11", "ask_size": "2", "venue_ts": None,
        "ingest_ts": at_us,
    }  # fmt: skip
    return json.dumps(fields | changes).encode() + b"\n"


def test_quotes_are_in_the_lake_exactly_and_readers_return_them(rig: Rig) -> None:
    publish(rig.settings, [], quotes=tuple(quote(number) for number in range(1, 31)))
    report = caught_up(rig.settings)
    assert report.ok, report.to_text()
    rows = {(one.table, one.reader): one.rows for one in report.comparisons}
    assert rows["quotes", "delta"] == rows["quotes", "plain"] == 30
    lake = Lake(rig.settings)
    start = datetime.fromtimestamp(trade(11)["ingest_ts"] / 1e6, UTC)
    found = lake.quotes("BTC", start=start, symbols="BTCUSDT", columns=["bid", "bid_size", "ask", "ts", "venue_ts"]).arrow().to_pylist()
    assert len(found) == 20
    assert found[0] == {
        "bid": Decimal("37011.1"), "bid_size": Decimal("0.00000001"), "ask": Decimal("37011.11"), "ts": start, "venue_ts": None,
    }  # fmt: skip
    assert lake.query("SELECT max(ask - bid) AS spread FROM quotes").arrow().to_pylist() == [{"spread": Decimal("0.01")}]
    assert lake.quotes("ETH").arrow().num_rows == 0
    result = run_round(RoundContext(rig.settings, rig.settings.home / "scratch", ("quotes",), lambda: datetime.now(UTC)), STEPS)
    assert not result.failures
    assert by_delta(rig.settings, "quotes").num_rows == by_folder(rig.settings, "quotes").num_rows == 30


def test_a_trade_that_is_not_exact_is_a_dead_letter(rig: Rig) -> None:
    bad = json.dumps(trade(9500, price="1e3")).encode() + b"\n"
    publish(rig.settings, [(b"binance:BTCUSDT", bad), *trade_values(range(9501, 9502))])
    report = caught_up(rig.settings)
    assert report.ok, report.to_text()
    (letter,) = Lake(rig.settings).dead_letters().arrow().to_pylist()
    assert (letter["topic"], letter["value"], letter["reason"].split(":")[0]) == (rig.settings.kafka.trades_topic, bad, "wrong_type")


def test_maintenance_compacts_trades_without_a_change(rig: Rig) -> None:
    caught_up(rig.settings)
    before = by_delta(rig.settings, "trades").sort_by("kafka_offset")
    result = run_round(RoundContext(rig.settings, rig.settings.home / "scratch", ("trades", "trade_gaps"), lambda: datetime.now(UTC)), STEPS)
    assert not result.failures
    assert result.figures["merges"] >= 1
    assert by_delta(rig.settings, "trades").select(before.column_names).sort_by("kafka_offset").equals(before)
    assert by_folder(rig.settings, "trades").num_rows == before.num_rows
    assert verify(rig.settings).ok
    say("bytes a trade:", round(result.figures["bytes_after"] / before.num_rows, 1))
