"""Candles from trades in a real MinIO: readers get the candles of all trades, with late trades, refills and maintenance at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoviz.lake import Lake
from cryptoviz.lake.trade_ohlcv import TRADE_INTERVALS
from cryptoviz.settings import Settings
from cryptoviz.trades.candles import candles_of
from cryptoviz.trades.gap_tracker import GapTracker
from cryptoviz.trades.record import Trade
from dashboard.feeds.trade_history import TradeHistory
from dashboard.views.trade_bars import bar_of
from dashboard.views.trade_rows import Instrument
from spark_jobs.maintenance import candle_table
from spark_jobs.maintenance import trade_candles as builder
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support.engines import object_store
from tests.support.lake_readers import READERS
from tests.support.lake_tables import TableWriter, object_names, price_rows, trade_rows
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

US = 1_000_000
DAY_US = 86_400 * US
START_US = round(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * US
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
OURS = [step for step in STEPS if step.name != "gaps"]  # which needs Kafka


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path, compact_files=5) as settings:
        yield settings.model_copy(update={"streams": settings.streams.model_copy(update={"venues": ("kraken", "binance")})})


def trade(number: int, at_us: int, venue: str = "binance", symbol: str = "BTCUSDT", quote: str = "USDT") -> Trade:
    return Trade.numbered(
        venue=venue, venue_symbol=symbol, asset_id="bitcoin", quote_currency=quote, trade_number=number,
        price=f"{37_000 + number % 97}.{number % 100:02}", size=f"0.{number % 999 + 1:08}", side="buy" if number % 3 else "sell",
        venue_ts=at_us, ingest_ts=at_us + 40_000, source="stream", connection="c",
    )  # fmt: skip


def a_round(settings: Settings, now: datetime = NOON) -> dict[str, float]:
    result = run_round(RoundContext(settings, settings.home / "scratch", now=lambda: now), OURS)
    assert not result.failures
    return dict(result.figures)


def newest(lake: Lake, writer: TableWriter) -> None:
    """A read of the log is cached for a quarter of a second."""
    eventually(lambda: lake.query("SELECT count(*) AS n FROM trades").arrow().column("n")[0].as_py() == writer.rows)


def same(found: list[dict[str, Any]], trades: Sequence[Trade], interval: str) -> None:
    tracker = GapTracker("binance", "BTCUSDT")
    for one in sorted(trades, key=lambda each: each.trade_number or 0):
        tracker.accept([one], START_US)
    expected = candles_of(trades, interval, tracker.open_gaps(), tracker.seen_us or 0, quiet_rows=True)
    assert [round(row["ts"].timestamp() * US) for row in found] == [one.open_us for one in expected]
    for place, (row, candle) in enumerate(zip(found, expected, strict=True)):
        names = [name for name in row.keys() & set(candle.__struct_fields__) if name not in ("complete", "vwap")]
        assert {name: row[name] for name in names} == {name: getattr(candle, name) for name in names}
        assert row["complete"] == (candle.complete and 0 < place < len(found) - 1)


def test_readers_get_the_candles_of_all_trades_however_late_they_came(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades of three days, a tenth of them late; rounds of maintenance in between, which compact files under the sums."""
    monkeypatch.setattr(builder, "NEW_TRADES", 50)
    chance = np.random.default_rng(7)
    times = np.sort(chance.integers(START_US, START_US + round(2.4 * DAY_US), 300))
    every = [trade(number, int(at)) for number, at in enumerate(times, 1)]
    late = [one for one in every if chance.random() < 0.1]
    writer, lake = TableWriter(store, "trades"), Lake(store)
    written: list[Trade] = []

    def write(trades: Sequence[Trade]) -> None:
        writer.write(trade_rows(trades, writer.next_offset))
        written.extend(trades)

    def check(intervals: Sequence[str]) -> None:
        newest(lake, writer)
        for interval in intervals:
            same(lake.trade_candles(interval=interval).arrow().to_pylist(), written, interval)

    on_time = [one for one in every if one not in late]
    read = 0.0
    for begin in range(0, len(on_time), 70):
        write(on_time[begin : begin + 70])
        read += a_round(store)["trade_candle_trades_read"]
        check(("1m", "4h"))
    assert read <= len(on_time)  # each trade at most once
    for begin in range(0, len(late), 20):
        write(late[begin : begin + 20])
        check(("5m", "1h"))
        a_round(store)
    check(tuple(TRADE_INTERVALS))
    assert all(row["complete"] for row in lake.trade_candles(interval="1h").arrow().to_pylist()[1:-1])
    assert a_round(store).get("trade_candle_days_made", 0) == 0
    counts = {reader(store, "trade_candles").num_rows for reader in READERS}
    assert len(counts) == 1
    assert counts.pop() > 0


def test_a_range_gives_the_candles_of_the_whole(store: Settings) -> None:
    writer, lake = TableWriter(store, "trades"), Lake(store)
    writer.write(trade_rows([trade(number, START_US + number * 20 * US) for number in range(1, 2000)]))
    a_round(store)
    for interval, low, high in (("1m", "2026-03-01T01:02:30Z", "2026-03-01T02:00:30Z"), ("1s", "2026-03-01T01:00Z", "2026-03-01T01:05Z")):
        whole = lake.trade_candles(interval=interval).arrow().to_pylist()
        part = lake.trade_candles("BTC", interval, start=low, end=high, venues="binance", symbols="BTCUSDT").arrow().to_pylist()
        assert part == [row for row in whole if part[0]["ts"] <= row["ts"] <= part[-1]["ts"]]
        assert all(row["complete"] for row in part)
    assert lake.trade_candles("ETH", "1m").arrow().num_rows == 0
    assert lake.query("SELECT sum(trades) AS n FROM trade_candles_15m").arrow().column("n").to_pylist() == [1999]


def test_a_gap_makes_its_candles_incomplete_until_it_is_refilled(store: Settings) -> None:
    writer, lake = TableWriter(store, "trades"), Lake(store)
    minutes = [trade(number, START_US + number * 60 * US) for number in range(1, 20)]
    writer.write(trade_rows([one for one in minutes if one.trade_number not in (9, 10)]))
    a_round(store)

    def incomplete() -> list[int]:
        rows = lake.trade_candles(interval="1m").arrow().to_pylist()
        return [row["ts"].minute for row in rows if not row["complete"]]

    assert incomplete() == [1, 8, 11, 19]
    writer.write(trade_rows([one for one in minutes if one.trade_number in (9, 10)], writer.next_offset))
    newest(lake, writer)
    assert incomplete() == [1, 19]


def test_candles_prefers_complete_ones_from_trades_and_says_so(store: Settings) -> None:
    """Kraken is the first of the venues, and has no trade in the fourth minute; Binance is quoted in another currency."""
    TableWriter(store, "prices").write(price_rows([START_US // 1000 + i * 30_000 for i in range(1, 20)], assets=("bitcoin",)))
    kraken = [trade(n, START_US + n * 60 * US, "kraken", "BTC/USD", "USD") for n in range(1, 7) if n != 4]
    coinbase = [trade(n, START_US + n * 60 * US, "coinbase", "BTC-USD", "USD") for n in range(1, 7)]
    TableWriter(store, "trades").write(trade_rows([*kraken, *coinbase]))
    lake = Lake(store)
    rows = lake.candles("BTC", "1m").arrow().to_pylist()
    found = {row["ts"].minute: (row["source"], row["complete"]) for row in rows}
    polled, traded = ("polled", None), ("trades:coinbase", True)
    assert found == {0: polled, 1: polled, 2: ("trades:kraken", True), 3: traded, 4: traded, 5: traded, **dict.fromkeys(range(6, 10), polled)}
    by_minute = {row["ts"].minute: row for row in rows}
    assert (by_minute[2]["volume"], by_minute[2]["trades"], by_minute[2]["ticks"]) == (0.00000003, 1, 2)
    assert (by_minute[7]["volume"], by_minute[7]["trades"]) == (None, None)
    assert {row["source"] for row in lake.candles("BTC", "1m", source="polled").arrow().to_pylist()} == {"polled"}
    assert {row["source"] for row in lake.candles("BTC", "15m").arrow().to_pylist()} == {"trades:kraken"}
    assert lake.candles("BTC", "1m", source="trades:coinbase").arrow().num_rows == 6
    off = Lake(store.model_copy(update={"streams": store.streams.model_copy(update={"venues": ()})}))
    assert {row["source"] for row in off.candles("BTC", "1m").arrow().to_pylist()} == {"polled"}


def test_candles_outlive_their_trades(store: Settings) -> None:
    writer, lake = TableWriter(store, "trades"), Lake(store)
    for day in range(3):
        first = writer.rows
        writer.write(trade_rows([trade(first + i + 1, START_US + day * DAY_US + i * 60 * US) for i in range(60)], writer.next_offset))
    before = lake.trade_candles(interval="5m").arrow()
    a_round(store)
    short = store.model_copy(update={"lake": store.lake.model_copy(update={"trades_keep_days": 1})})
    assert a_round(short)["files_expired"] == 1
    assert Lake(store).trade_candles(interval="5m").arrow().equals(before)


def test_a_late_trade_of_a_removed_day_leaves_its_candles(store: Settings) -> None:
    """It comes after the retention of its round: 60 minutes with a trade each are stored, of which the table of trades has none any more."""
    writer = TableWriter(store, "trades")
    for day in range(3):
        first = writer.rows
        writer.write(trade_rows([trade(first + i + 1, START_US + day * DAY_US + i * 60 * US) for i in range(60)], writer.next_offset))
    a_round(store)
    short = store.model_copy(update={"lake": store.lake.model_copy(update={"trades_keep_days": 1})})
    assert a_round(short)["files_expired"] == 1
    writer.write(trade_rows([trade(0, START_US + 90 * 60 * US)], writer.next_offset))
    assert a_round(store).get("trade_candle_days_made", 0) == 0
    rows = Lake(store).trade_candles(interval="1h", end="2026-03-02T00:00Z").arrow().to_pylist()
    assert [row["trades"] for row in rows] == [60, 1]
    assert a_round(short)["files_expired"] == 1
    rows = Lake(store).trade_candles(interval="1h", end="2026-03-02T00:00Z").arrow().to_pylist()
    assert [row["trades"] for row in rows] == [60]


def test_a_round_that_was_killed_leaves_no_candles_twice(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    TableWriter(store, "trades").write(trade_rows([trade(n, START_US + n * 60 * US) for n in range(1, 50)]))

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(candle_table, "replace_files", dies)
        with pytest.raises(KeyboardInterrupt):
            a_round(store)
    left = set(object_names(store, "trade_candles"))
    assert len(left) == 2  # of minutes and hours, in no commit
    assert a_round(store)["trade_candle_days_made"] == 1
    names = set(object_names(store, "trade_candles"))
    assert len(names) == 2
    assert not names & left


def test_the_page_gets_the_trades_before_a_second(store: Settings) -> None:
    """The feed has the later ones: the last bar holds a part of its interval."""
    writer = TableWriter(store, "trades")
    every = [trade(number, START_US + number * 7 * US) for number in range(1, 2000)]
    writer.write(trade_rows(every))
    a_round(store)
    until_us = START_US + 2 * 3600 * US + 1234 * US
    instrument = Instrument("binance", "BTCUSDT", "bitcoin", "USDT")
    bars = TradeHistory(store).past(instrument, "1h", START_US // 1000, until_us).bars
    taken = [one for one in every if (one.venue_ts or 0) < until_us]
    expected = [bar_of(one) for one in candles_of(taken, "1h", (), until_us, quiet_rows=False)]
    assert bars == expected
    assert bars[-1].last == taken[-1].trade_number
    for since_us in (until_us - 600 * US, until_us - 10 * US):
        (part,) = TradeHistory(store).past(instrument, "1h", since_us // 1000, until_us).bars
        assert (part.start_ms, part.trades) == (bars[-1].start_ms, sum(since_us <= (one.venue_ts or 0) for one in taken))
