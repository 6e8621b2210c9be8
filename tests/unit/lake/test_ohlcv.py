"""Candles compared with an independent computation in pandas, for several seeds: ties, two quotes, backfilled and late rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cryptoviz.lake.ohlcv import (
    CANDLES,
    INTERVALS,
    CandleFile,
    candle_sql,
    coarser_sql,
    day_end_ms,
    parse_candle_file,
    whole_buckets,
    whole_days,
)  # fmt: skip
from cryptoviz.lake.parts import Compacted
from spark_jobs.maintenance.candles import days_to_make, make_candles
from spark_jobs.maintenance.compaction.plan import DayFile
from tests.support.candle_oracle import expected_candles, same_candles
from tests.support.lake_tables import price_rows

DAY = date(2026, 3, 1)
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


def odd_ticks(seed: int, start: int = START, hours: int = 24) -> pa.Table:
    """Irregular ticks of three coins in two currencies, some at equal times, live and backfilled, unordered."""
    random = np.random.default_rng(seed)
    stamps = sorted({start + int(ms) for ms in random.integers(0, hours * HOUR, 400)} | {start})
    again = [stamps[i] for i in random.integers(0, len(stamps), 80)]
    pieces = [
        price_rows(stamps, seed=seed, assets=("bitcoin", "ethereum", "solana"), quotes=("USD", "USDT")),
        price_rows(again, seed=seed + 1, first_offset=10_000, assets=("bitcoin", "solana"), kind="backfill", lag_ms=86_400_000),
        price_rows(again[:20], seed=seed + 2, first_offset=20_000, assets=("bitcoin",), lag_ms=300),
    ]
    rows = pa.concat_tables(pieces)
    return rows.take(pa.array(random.permutation(rows.num_rows))).combine_chunks()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("interval", INTERVALS)
def test_candles_are_those_of_an_independent_computation(seed: int, interval: str) -> None:
    ticks = odd_ticks(seed)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("prices", ticks)
        found = connection.sql(candle_sql(interval)).to_arrow_table()
        same_candles(found, expected_candles(ticks, interval))
        connection.execute(f"CREATE TABLE minutes AS {candle_sql('1m')}")
        same_candles(connection.sql(coarser_sql(interval, "minutes")).to_arrow_table(), expected_candles(ticks, interval))


@pytest.mark.parametrize("seed", range(3))
def test_present_day_has_only_candles_that_have_ended(seed: int) -> None:
    ticks = odd_ticks(seed)
    until_ms = START + 13 * HOUR + 7 * 60_000
    until = pd.Timestamp(until_ms, unit="ms", tz="UTC")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("prices", ticks)
        count, made = make_candles("prices", connection, until_ms)
    assert count == int((ticks.to_pandas()["tick_ts"] < until).sum())
    for interval, rows in made.items():
        expected = expected_candles(ticks, interval)
        width = pd.Timedelta(INTERVALS[interval])
        same_candles(rows.drop_columns(["interval"]), expected[expected["ts"] + width <= until])
        assert rows.schema.names == [name for name in CANDLES.names if name not in ("year", "month", "day")]
        assert set(rows["interval"].to_pylist()) <= {interval}


def price_file(rows: int, last_ms: int | None, day: date = DAY) -> DayFile:
    return DayFile(Compacted.of([str(rows)], day).path, 1, rows, 10, day, last_ms)


def candle_files(ticks: int, until_ms: int, day: date = DAY) -> list[DayFile]:
    return [DayFile(CandleFile(day, interval, ticks, until_ms).path, 1, 1, 50, day) for interval in INTERVALS]


END = day_end_ms(DAY)
NEXT_DAY = datetime(2026, 3, 2, 5, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, 0, 40, tzinfo=UTC)
NOON_MS = START + 12 * HOUR


@pytest.mark.parametrize(
    ("now", "candles", "until"),
    [
        (NEXT_DAY, [], END),
        (NEXT_DAY, candle_files(100, END), None),
        (NEXT_DAY, candle_files(99, END), END),  # a late row
        (NEXT_DAY, candle_files(101, END), None),  # the day was removed, and these are late rows
        (NEXT_DAY, candle_files(100, END)[:3], END),
        (NEXT_DAY, candle_files(100, NOON_MS), END),  # the day has ended since
        (NOON, [], NOON_MS),
        (NOON, candle_files(100, NOON_MS - 60_000), None),  # nothing new
        (NOON, candle_files(90, NOON_MS - 60_000), NOON_MS),
        (NOON, candle_files(90, NOON_MS + HOUR), NOON_MS),  # the clock was ahead when they were written
        (NOON, candle_files(100, NOON_MS + HOUR), None),
        (NOON, candle_files(90, NOON_MS), None),  # no other bucket has ended
        (datetime(2026, 3, 1, 0, 0, 50, tzinfo=UTC), [], None),  # no bucket has ended yet
    ],
)  # fmt: skip
def test_only_days_with_other_ticks_are_made(now: datetime, candles: list[DayFile], until: int | None) -> None:
    found = days_to_make({DAY: [price_file(60, NOON_MS - 3 * HOUR), price_file(40, NOON_MS - 2 * HOUR - 1)]}, {DAY: candles} if candles else {}, now)
    assert [one.until_ms for one in found] == ([] if until is None else [until])


@pytest.mark.parametrize(("minute", "made"), [(7, False), (9, False), (10, True), (11, True), (59, True), (60, True), (61, True)])
@pytest.mark.parametrize("known", [True, False])
def test_a_bucket_that_ends_after_the_last_tick_is_made(minute: int, made: bool, known: bool) -> None:
    """The last tick is at 12:06:30, and the candles end at 12:07: five minutes end at 12:10, the hour at 13:00."""
    now = NOON + timedelta(minutes=minute)
    tick_ms = NOON_MS + 6 * 60_000 + 30_000
    until = [
        one.until_ms
        for one in days_to_make({DAY: [price_file(100, tick_ms if known else None)]}, {DAY: candle_files(100, NOON_MS + 7 * 60_000)}, now)
    ]
    assert until == ([NOON_MS + minute * 60_000] if made else [])
    # Once the hour has ended, no bucket with a tick is left.
    hour = candle_files(100, NOON_MS + HOUR)
    assert days_to_make({DAY: [price_file(100, tick_ms)]}, {DAY: hour}, now + timedelta(hours=5)) == []


def test_file_name_and_back() -> None:
    file = CandleFile(DAY, "5m", 123, END)
    assert file.path == f"year=2026/month=3/day=1/part-candles-5m-123-{END}.snappy.parquet"
    assert parse_candle_file(file.path) == file
    for path in (file.path.replace("5m", "7m"), file.path.replace("day=1", "day=32"), file.path + "x", "part-candles-5m-1-2.snappy.parquet"):
        assert parse_candle_file(path) is None


def test_stored_day_counts_only_with_the_ticks_it_was_made_from() -> None:
    path = CandleFile(DAY, "1h", 100, END).path
    assert whole_days([path], "1h", {DAY: 100}) == {DAY: path}
    assert whole_days([path], "1h", {}) == {DAY: path}  # the ticks are past their retention
    assert whole_days([path], "1h", {DAY: 99}) == {DAY: path}  # and late ticks have come since
    assert whole_days([path], "1h", {DAY: 101}) == whole_days([path], "1m", {DAY: 100}) == {}
    assert whole_days([CandleFile(DAY, "1h", 100, NOON_MS).path], "1h", {DAY: 100}) == {}


def test_range_is_widened_to_whole_buckets() -> None:
    low, high = datetime(2026, 3, 1, 10, 7, 30, tzinfo=UTC), datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
    assert whole_buckets(timedelta(minutes=5), low, high) == (datetime(2026, 3, 1, 10, 5, tzinfo=UTC), high)
    assert whole_buckets(timedelta(days=1), low, high) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert whole_buckets(timedelta(hours=1), None, low + timedelta(seconds=1))[1] == high
