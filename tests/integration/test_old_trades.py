"""A table of trades of the version that stored `trade_key`, a required column, is used by this one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cryptoviz.lake import Lake
from cryptoviz.lake.schema import TRADES
from cryptoviz.lake.verify import read_lake
from cryptoviz.settings import Settings
from cryptoviz.trades.record import Trade
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support import lake_tables
from tests.support.engines import object_store
from tests.support.lake_readers import READERS
from tests.support.lake_tables import TableWriter, trade_rows

pytestmark = [pytest.mark.integration]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = pa.field("trade_key", pa.string(), nullable=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path, compact_files=2) as settings:
        yield settings


def trades(first: int, last: int, day: int = 0) -> list[Trade]:
    at_us = round((START + timedelta(days=day)).timestamp()) * 1_000_000
    return [
        Trade.numbered(
            venue="binance", venue_symbol="BTCUSDT", asset_id="bitcoin", quote_currency="USDT", trade_number=number, price="37000.5", size="0.25",
            side="buy", venue_ts=at_us + number * 1_000, ingest_ts=at_us + number * 1_000 + 40_000, source="stream", connection="c",
        )
        for number in range(first, last)
    ]  # fmt: skip


def test_rows_with_and_without_the_key_are_read_verified_and_compacted(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    old = trades(1, 50)
    with monkeypatch.context() as earlier:
        earlier.setitem(lake_tables.SCHEMAS, "trades", TRADES.insert(0, KEY))
        TableWriter(store, "trades").write(trade_rows(old).add_column(0, KEY, pa.array([one.trade_key for one in old], pa.string())))
    for first, last, day in ((50, 70, 0), (70, 90, 1)):
        writer = TableWriter(store, "trades")
        writer.write(trade_rows(trades(first, last, day), writer.next_offset))

    def check() -> None:
        for reader in READERS:
            rows = reader(store, "trades").sort_by("trade_number")
            assert rows.column("trade_number").to_pylist() == list(range(1, 90)), reader.__name__
        for name in ("delta", "plain"):
            seen = read_lake(store, "trades", name)
            assert (seen.offsets.distinct, seen.events.repeated) == (89, 0)
        lake = Lake(store)
        assert lake.trades(columns=["trade_number"]).arrow().column(0).to_pylist() == list(range(1, 90))
        keys = {row["trade_number"]: row["trade_key"] for row in lake.trades().arrow().to_pylist()}
        assert keys == {one.trade_number: one.trade_key for one in old} | dict.fromkeys(range(50, 90))
        assert lake.query("SELECT count(*) AS n FROM trades").arrow().to_pylist() == [{"n": 89}]

    check()
    now = START + timedelta(days=3)
    result = run_round(RoundContext(store, store.home / "scratch", now=lambda: now), [step for step in STEPS if step.name != "gaps"])
    assert not result.failures
    assert result.figures["rows_merged"] == 89
    check()
