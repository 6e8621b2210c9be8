"""What the dashboard reads from a lake in a real object store: SQL in a child process, files by day, provenance."""

from __future__ import annotations

import asyncio
import csv
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pyarrow.parquet as pq
import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.errors import QueryError, QueueFull
from cryptoviz.lake import Lake
from cryptoviz.lake.parts import parse_part
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms, utc
from dashboard.feeds.lake_browser import LakeBrowser
from dashboard.feeds.provider_prices import ProviderPrices
from dashboard.feeds.sql_runner import SqlResult, SqlRunner
from dashboard.sql_child import SqlLimits
from tests.support.engines import object_store
from tests.support.http_server import http_server
from tests.support.records import TICK, record
from tests.support.stored_lake import StoredLake
from tests.unit.actors.recorded_run import T0, Site
from tests.unit.dashboard.recorded_polls import last_of_minutes, recorded_polls

pytestmark = [pytest.mark.integration]

TICKS = 60
COINS = len(DEFAULT_ASSETS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An hour of all coins, a tick per minute, and two dead letters."""
    with object_store(tmp_path_factory.mktemp("pages")) as running:
        lake = StoredLake(running)
        lake.ticks(TICKS)
        lake.stream([b"<b>garbage</b>", None])
        yield running


@pytest.fixture
def runner(settings: Settings) -> Iterator[SqlRunner]:
    made = SqlRunner(settings, SqlLimits(seconds=240, rows=1000, result_bytes=4 * 2**20))
    yield made
    made.close()


def ask(runner: SqlRunner, sql: str) -> SqlResult:
    return runner.run(runner.prepare(sql))


def test_a_query_gives_its_rows_and_both_files(runner: SqlRunner) -> None:
    found = ask(runner, "SELECT symbol, price, tick_ts, [1, 2] AS list FROM prices WHERE symbol = 'ETH' ORDER BY tick_ts LIMIT 3")
    expected = [record(TICK + number * 60_000).price for number in range(3)]
    assert found.rows["price"].to_pylist() == expected
    assert not found.cut
    assert pq.read_table(io.BytesIO(found.parquet())).equals(found.rows)
    rows = list(csv.DictReader(io.StringIO(found.csv().decode())))
    assert [float(row["price"]) for row in rows] == expected
    assert [row["list"] for row in rows] == ["[1, 2]"] * 3
    assert ask(runner, "SELECT count(*) AS n FROM candles_1h").rows["n"].to_pylist() == [COINS]


def test_more_rows_than_the_limit_are_cut_and_it_says_so(runner: SqlRunner) -> None:
    found = ask(runner, "SELECT * FROM range(1000000)")
    assert (found.rows.num_rows, found.cut) == (1000, True)
    assert not ask(runner, "SELECT * FROM range(1000)").cut


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '/tmp/other.db'",
        "SET enable_external_access = true",
        "PRAGMA enable_external_access",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM settings",
        "SELECT getenv('HOME')",
        "CALL pragma_version()",
        "",
        "SELECT",
    ],
)
def test_a_query_reads_the_lakes_tables_and_nothing_else(settings: Settings, sql: str) -> None:
    # In this process: what the child would run, without its start.
    with pytest.raises(QueryError):
        Lake(settings).stream(sql)[1].__next__()


def test_an_error_has_its_place(runner: SqlRunner) -> None:
    with pytest.raises(QueryError, match="pric") as caught:
        ask(runner, "SELECT\n  pric FROM prices")
    assert (caught.value.line, caught.value.column) == (2, 3)


WIDE = "SELECT DISTINCT repeat('x', 200) || range FROM range(20000000)"
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"


@pytest.mark.parametrize(
    ("limits", "sql", "said"),
    [
        (SqlLimits(seconds=240, memory_bytes=64 * 2**20), f"SELECT count(*) FROM ({WIDE})", "(?i)memory"),
        (SqlLimits(seconds=3), ENDLESS, "took longer than 3 s"),
        (SqlLimits(seconds=240, result_bytes=2**20), "SELECT repeat('x', 4000000)", "larger than 1 MiB"),
    ],
)
def test_memory_time_and_size_end_a_query(settings: Settings, limits: SqlLimits, sql: str, said: str) -> None:
    small = SqlRunner(settings, limits)
    try:
        with pytest.raises(QueryError, match=said):
            ask(small, sql)
    finally:
        small.close()


def test_a_cancelled_query_ends_and_frees_its_place(runner: SqlRunner) -> None:
    run = runner.prepare(ENDLESS)
    threading.Timer(1.0, run.cancel).start()
    with pytest.raises(QueryError, match="cancelled"):
        runner.run(run)
    early = runner.prepare("SELECT 1")
    early.cancel()
    with pytest.raises(QueryError, match="cancelled"):
        runner.run(early)
    prepared = [runner.prepare("SELECT 1") for _ in range(10)]
    with pytest.raises(QueueFull):
        runner.prepare("SELECT 1")
    assert len(prepared) == 10
    with pytest.raises(QueryError, match="characters"):
        SqlRunner.prepare(runner, "x" * 20_001)


def test_the_days_are_those_of_the_log(settings: Settings) -> None:
    browser = LakeBrowser(settings)
    days = browser.days()
    found = {one.table: one for one in days}
    assert (found["prices"].rows, found["prices"].day) == (TICKS * COINS, datetime.fromtimestamp(TICK / 1000, UTC).date())
    assert found["prices"].size > 0
    counts, letters = browser.dead_letters()
    assert sum(counts.values()) == len(letters) == found["dead_letters"].rows == 2
    assert {letter.value for letter in letters} == {"<b>garbage</b>", "(null)"}
    assert browser.newest_tick("ethereum") == TICK + (TICKS - 1) * 60_000


def test_a_price_is_traced_to_its_record_and_file(settings: Settings) -> None:
    tick_ms = TICK + 7 * 60_000
    found = LakeBrowser(settings).trace("ethereum", tick_ms)
    assert found is not None
    price = found.price
    assert (price.topic, price.values["price"], price.values["asset_id"]) == (settings.kafka.stream_topic, record(tick_ms).price, "ethereum")
    part = parse_part(str(price.file))
    assert part is not None
    assert part.start <= price.offset <= part.end
    exchange = found.exchange
    assert exchange is not None
    assert (exchange.topic, exchange.values["fetch_id"]) == (settings.kafka.raw_topic, price.values["fetch_id"])
    part = parse_part(str(exchange.file))
    assert part is not None
    assert part.start <= exchange.offset <= part.end
    assert LakeBrowser(settings).trace("ethereum", tick_ms + 1) is None


async def test_each_providers_price_is_that_of_its_recorded_poll_and_the_chosen_one_that_of_the_lake(settings: Settings) -> None:
    site = Site()
    async with http_server(site.answer) as site.url:
        run, said = await recorded_polls(site, "coingecko", "kraken", "binance")
        await run.aclose()
    rows = run.rows()
    lake = StoredLake(settings)
    lake.raw([orjson.dumps(row) for row in rows.raw_rows], T0)
    lake.stream([orjson.dumps(row) for row in rows.price_rows], T0)
    reader = Lake(settings)
    prices = await asyncio.to_thread(ProviderPrices(run.settings, reader, run.clock).read, "bitcoin", "1m", 0)
    assert prices.series == {(name, polls[0][1]): last_of_minutes(polls) for name, polls in said.items()}
    stored = reader.prices("bitcoin", start=utc(T0), end=utc(T0 + 60_000)).arrow().to_pylist()
    assert {row["provider"] for row in stored} == {"coingecko"}
    chosen = {epoch_ms(row["tick_ts"]) // 60_000 * 60_000: row["price"] for row in stored}
    assert dict(prices.series["coingecko", "USD"]) == chosen
