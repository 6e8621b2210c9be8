"""The table of candles in a real MinIO: readers get the candles of the ticks, with late rows and concurrent maintenance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from cryptoviz.lake import Lake
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.ohlcv import INTERVALS, INTERVALS_MS, parse_candle_file
from cryptoviz.settings import Settings
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support.candle_oracle import expected_candles, same_candles
from tests.support.engines import object_store
from tests.support.lake_readers import READERS
from tests.support.lake_tables import TableWriter, delta_rows, object_names, plain_rows, price_rows
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

DAY_MS = 86_400_000
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
DAYS = 3
PRESENT = START + (DAYS - 1) * DAY_MS
NOON = datetime.fromtimestamp((PRESENT + DAY_MS // 2) / 1000, UTC)
COINS = ("bitcoin", "ethereum")
OURS = [step for step in STEPS if step.name != "gaps"]  # which needs Kafka


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path, compact_files=5) as settings:
        yield settings


def a_round(settings: Settings, now: datetime = NOON) -> dict[str, float]:
    result = run_round(RoundContext(settings, settings.home / "scratch", now=lambda: now), OURS)
    assert not result.failures
    return dict(result.figures)


def check(settings: Settings, lake: Lake) -> None:
    """All intervals, by SQL and by function, against pandas over all ticks."""
    ticks = delta_rows(settings, "prices")
    newest = DeltaTable(table_address(settings.s3, "prices").uri, storage_options=settings.s3.storage_options()).version()
    eventually(lambda: lake.version() == newest)  # a read of the log is cached for a quarter of a second
    for interval in INTERVALS:
        expected = expected_candles(ticks, interval)
        same_candles(lake.query(f"SELECT * FROM candles_{interval}").arrow(), expected)
        same_candles(lake.candles("bitcoin", interval).arrow(), expected[expected["asset_id"] == "bitcoin"])


@pytest.mark.parametrize("seed", range(3))
def test_readers_get_what_all_ticks_say_however_late_they_came(store: Settings, seed: int) -> None:
    random = np.random.default_rng(seed)
    writer, lake = TableWriter(store, "prices"), Lake(store)

    def write(low: int, high: int, kind: str = "live") -> None:
        stamps = sorted({int(ms) for ms in random.integers(low, high, 40)})
        rows = price_rows(stamps, seed=writer.next_offset, first_offset=writer.next_offset, assets=COINS, kind=kind, quotes=("USD", "USDT"))
        writer.write(rows)

    for day in range(DAYS):
        write(START + day * DAY_MS, START + day * DAY_MS + DAY_MS // 2)
    check(store, lake)
    for step in range(6):
        match int(random.integers(0, 3)) if step else 0:
            case 0:
                a_round(store)
            case 1:
                write(PRESENT, PRESENT + DAY_MS // 2)
            case _:
                write(START, PRESENT, kind=str(random.choice(["live", "backfill"])))
        check(store, lake)
    a_round(store)
    check(store, lake)
    assert a_round(store).get("candle_days_made", 0) == 0


def test_only_days_with_new_ticks_are_made_and_each_is_replaced_whole(store: Settings) -> None:
    writer = TableWriter(store, "prices")
    for day in range(DAYS):
        writer.write(price_rows([START + day * DAY_MS + i * 60_000 for i in range(60)], first_offset=writer.next_offset, assets=COINS))
    assert a_round(store)["candle_days_made"] == DAYS
    first = set(object_names(store, "candles"))
    assert len(first) == DAYS * len(INTERVALS)
    writer.write(price_rows([START + 90_500], first_offset=writer.next_offset, assets=COINS))
    figures = a_round(store)
    assert (figures["candle_days_made"], figures["candle_ticks_read"]) == (1, 61 * 2)
    second = set(object_names(store, "candles"))
    changed = [parse_candle_file(path) for path in second - first]
    assert {(file.day.day, file.interval, file.ticks) for file in changed if file} == {(1, interval, 122) for interval in INTERVALS}
    assert len(second) == len(first)

    plain, delta = (read(store, "candles") for read in READERS)
    assert plain.num_rows == delta.num_rows
    ticks = delta_rows(store, "prices")
    for interval in INTERVALS:
        found = delta.filter(pc.equal(delta["interval"], interval)).drop_columns(["interval", "year", "month", "day"])
        expected = expected_candles(ticks, interval)
        same_candles(found, expected[expected["ts"] < PRESENT_TS] if interval == "1d" else expected)
        # The table has complete candles of past days; of the current day the ended buckets: an hour of minutes, and no day.


def test_new_ticks_are_added_to_known_candles_and_a_late_tick_makes_the_day_again(store: Settings) -> None:
    writer = TableWriter(store, "prices")

    def write(ticks: list[int]) -> None:
        writer.write(price_rows(ticks, seed=writer.next_offset, first_offset=writer.next_offset, assets=COINS))

    def ticks_read(minute: int) -> float:
        """Of a round half a minute after this one has ended. Checks all candles of the table."""
        until = datetime.fromtimestamp(PRESENT / 1000 + minute * 60, UTC)
        read = a_round(store, until + timedelta(seconds=30))["candle_ticks_read"]
        stored = READERS[1](store, "candles")
        for interval, width in INTERVALS_MS.items():
            found = stored.filter(pc.equal(stored["interval"], interval)).drop_columns(["interval", "year", "month", "day"])
            expected = expected_candles(delta_rows(store, "prices"), interval)
            same_candles(found, expected[expected["ts"] + timedelta(milliseconds=width) <= until])
        return read

    # Three ticks a minute of two coins, for ten minutes; the round merges the five files into one.
    for begin in range(0, 30, 6):
        write([PRESENT + i * 20_000 for i in range(begin, begin + 6)])
    assert ticks_read(5) == 5 * 3 * 2
    assert ticks_read(8) == 5 * 3 * 2  # those of minutes 5 to 9, without 30 earlier ones
    write([PRESENT + i * 20_000 for i in range(30, 33)])
    assert ticks_read(10) == 3 * 3 * 2  # minutes 8 to 10
    write([PRESENT + 90_500])
    assert ticks_read(11) == 11 * 3 * 2 + 2
    assert len(object_names(store, "candles")) == len(INTERVALS)


LATER = int(datetime(2035, 3, 1, tzinfo=UTC).timestamp() * 1000)
"""A day after the modification times of the files, as in a pipeline that runs."""


class Killed(BaseException):
    """The end of a round's process."""


def killed() -> None:
    raise Killed


def nothing() -> None:
    pass


@pytest.mark.parametrize("seed", range(2))
def test_the_table_has_the_candles_of_all_ticks_after_any_schedule(store: Settings, seed: int) -> None:
    """From an evening to the next day, with pauses: ticks, late ones, backfills, and rounds between whose steps others commit or that are killed. A
    minute or hours later a round makes the table complete for both readers: all candles that have ended, once.
    """
    chance = np.random.default_rng(seed)
    writer, now_ms = TableWriter(store, "prices"), LATER + 22 * 3_600_000

    def write(low: int, high: int, kind: str = "live") -> None:
        stamps = sorted({int(ms) for ms in chance.integers(low, high, int(chance.integers(1, 20)))})
        writer.write(price_rows(stamps, seed=writer.next_offset, first_offset=writer.next_offset, assets=COINS, kind=kind))

    def live() -> None:
        write(now_ms - 60_000, now_ms)

    def late() -> None:
        write(LATER, now_ms, str(chance.choice(["live", "backfill"])))

    def one_of(*actions: Callable[[], None]) -> None:
        actions[int(chance.integers(0, len(actions)))]()

    def run(check: Callable[[], None]) -> None:
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        assert not run_round(RoundContext(store, store.home / "scratch", now=lambda: now, check=check), OURS).failures

    for _ in range(12):
        one_of(late, nothing, live, live, live)
        with contextlib.suppress(Killed):
            run(lambda: one_of(live, late, killed, *[nothing] * 5))
        now_ms += int(chance.choice([60_000, 120_000, 400_000, 3_600_000, 5 * 3_600_000], p=[0.4, 0.2, 0.2, 0.15, 0.05]))
        run(nothing)
        settled = datetime.fromtimestamp((now_ms - 30_000) // 60_000 * 60, UTC)
        ticks = [plain_rows(store, "prices"), delta_rows(store, "prices")]
        assert [rows.num_rows for rows in ticks] == [writer.rows] * 2
        for stored in (read(store, "candles") for read in READERS):
            for interval, width in INTERVALS_MS.items():
                found = stored.filter(pc.equal(stored["interval"], interval)).drop_columns(["interval", "year", "month", "day"])
                expected = expected_candles(ticks[0], interval)
                same_candles(found, expected[expected["ts"] + timedelta(milliseconds=width) <= settled])


PRESENT_TS = datetime.fromtimestamp(PRESENT / 1000, UTC)


def test_ranges_give_whole_candles(store: Settings) -> None:
    writer, lake = TableWriter(store, "prices"), Lake(store)
    writer.write(price_rows([START + i * 10_000 for i in range(2000)], assets=COINS))
    a_round(store)
    low, high = "2026-03-01T01:02:30Z", "2026-03-01T02:00:30Z"
    expected = expected_candles(delta_rows(store, "prices"), "5m")
    chosen = expected[(expected["asset_id"] == "bitcoin") & (expected["ts"] >= "2026-03-01T01:00Z") & (expected["ts"] <= "2026-03-01T02:00Z")]
    same_candles(lake.candles("BTC", "5m", start=low, end=high).arrow(), chosen)


@dataclass(frozen=True)
class RemovedDay:
    """A lake whose first day retention has removed, and its candles of an hour before that."""

    settings: Settings
    writer: TableWriter
    expected: pd.DataFrame


@pytest.fixture
def removed_day(tmp_path: Path) -> Iterator[RemovedDay]:
    """Its settings remove no further day."""
    with object_store(tmp_path, prices_keep_days=1) as settings:
        writer = TableWriter(settings, "prices")
        for day in range(DAYS):
            writer.write(price_rows([START + day * DAY_MS + i * 60_000 for i in range(60)], first_offset=writer.next_offset, assets=COINS))
        expected = expected_candles(delta_rows(settings, "prices"), "1h")
        no_retention = settings.model_copy(update={"lake": settings.lake.model_copy(update={"prices_keep_days": None})})
        a_round(no_retention)
        assert a_round(settings)["files_expired"] == 1
        yield RemovedDay(no_retention, writer, expected)


def test_candles_outlive_their_ticks(removed_day: RemovedDay) -> None:
    same_candles(Lake(removed_day.settings).query("SELECT * FROM candles_1h").arrow(), removed_day.expected)


def test_a_late_tick_of_a_removed_day_leaves_its_candles(removed_day: RemovedDay) -> None:
    """As of a backfill of a day that retention has removed."""
    settings, writer = removed_day.settings, removed_day.writer
    writer.write(price_rows([START + 5 * 60_000 + 30_000], first_offset=writer.next_offset, assets=COINS))
    same_candles(Lake(settings).query("SELECT * FROM candles_1h").arrow(), removed_day.expected)
    a_round(settings)
    same_candles(Lake(settings).query("SELECT * FROM candles_1h").arrow(), removed_day.expected)
