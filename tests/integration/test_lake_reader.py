"""`cryptoviz.lake` on a small lake in a real MinIO: forms, ranges, points in time, files that change under the reader, hostile SQL, output."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.errors import InvalidTime, QueryError, UnknownAsset, UnknownColumn, VersionNotKept
from cryptoviz.lake import Lake
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.settings import Settings
from spark_jobs.maintenance.compaction.merge import Compactor
from spark_jobs.maintenance.days import days_of
from spark_jobs.maintenance.steps import LAYOUTS
from tests.support.engines import object_store
from tests.support.records import TICK, record
from tests.support.stored_lake import StoredLake
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

COINS = len(DEFAULT_ASSETS)
TICKS = 180
FIRST = datetime.fromtimestamp(TICK / 1000, UTC)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Three hours of all coins, a tick per minute, in three commits, and two dead letters."""
    with object_store(tmp_path_factory.mktemp("reader")) as running:
        lake = StoredLake(running)
        lake.ticks(TICKS)
        lake.stream([b"garbage", None])
        yield running


@pytest.fixture(scope="module")
def lake(settings: Settings) -> Lake:
    return Lake(settings)


def test_each_form_holds_the_same_rows(lake: Lake) -> None:
    columns = ["tick_ts", "asset_id", "price"]
    expected: list[dict[str, Any]] = [
        {"tick_ts": FIRST + timedelta(minutes=i), "asset_id": "ethereum", "price": record(TICK + i * 60_000).price} for i in range(TICKS)
    ]
    arrow = lake.prices("ETH", columns=columns).arrow()
    assert isinstance(arrow, pa.Table)
    assert arrow.to_pylist() == expected
    pandas = lake.prices("ETH", columns=columns).pandas()
    assert isinstance(pandas, pd.DataFrame)
    assert pandas["price"].tolist() == [row["price"] for row in expected]
    polars = lake.prices("ETH", columns=columns).polars()
    assert isinstance(polars, pl.DataFrame)
    assert polars.rows(named=True) == expected
    relation = lake.prices("ETH", columns=columns).duckdb()
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    assert relation.aggregate("count(*), sum(price)").fetchall() == [(TICKS, sum(row["price"] for row in expected))]


def test_start_is_inclusive_and_end_exclusive(lake: Lake) -> None:
    end = FIRST + timedelta(hours=1)
    rows = lake.prices(["BTC", "matic"], start=FIRST.isoformat(), end=end).arrow()
    assert rows.num_rows == 2 * 60
    assert set(rows.column("asset_id").to_pylist()) == {"bitcoin", "polygon"}
    stamps = rows.column("tick_ts").to_pylist()
    assert (stamps[0], stamps[-1]) == (FIRST, end - timedelta(minutes=1))
    assert stamps == sorted(stamps)
    assert lake.prices(start=end + timedelta(days=1)).arrow().num_rows == 0
    assert lake.raw(start=FIRST, end=end).arrow().num_rows == 60
    assert [row["reason"].split(":")[0] for row in lake.dead_letters().arrow().to_pylist()] == ["not_json", "tombstone"]


def test_candles_follow_from_the_ticks(lake: Lake) -> None:
    prices = [record(TICK + i * 60_000).price for i in range(60)]
    first = lake.candles("bitcoin", "1h", end=FIRST + timedelta(hours=1)).arrow().to_pylist()
    assert [(row["ts"], row["open"], row["high"], row["low"], row["close"], row["ticks"]) for row in first] == [
        (FIRST, prices[0], max(prices), min(prices), prices[-1], 60)
    ]


def test_invalid_arguments_are_refused_with_the_valid_ones(lake: Lake) -> None:
    with pytest.raises(UnknownAsset, match="did you mean bitcoin") as unknown:
        lake.prices("bitcon").arrow()
    assert unknown.value.near[0] == "bitcoin"
    with pytest.raises(UnknownColumn, match="did you mean price"):
        lake.prices(columns=["pirce"]).arrow()
    with pytest.raises(InvalidTime, match="without a time zone"):
        lake.prices(start=datetime.fromisoformat("2025-01-01T00:00:00")).arrow()
    for start, end in ((FIRST, FIRST), (FIRST, FIRST - timedelta(days=1))):
        with pytest.raises(InvalidTime, match="is not before end"):
            lake.prices(start=start, end=end).arrow()
    with pytest.raises(InvalidTime, match="ISO 8601"):
        lake.raw(end="yesterday").arrow()
    with pytest.raises(QueryError, match="mutually exclusive"):
        lake.prices(version=1, as_of=FIRST).arrow()
    with pytest.raises(VersionNotKept, match="version 999 cannot be read"):
        lake.prices(version=999).arrow()


def test_a_query_says_where_it_is_wrong(lake: Lake) -> None:
    with pytest.raises(QueryError, match='Referenced column "prise" not found') as error:
        lake.query("SELECT asset_id,\n  prise FROM prices").arrow()
    assert (error.value.line, error.value.column) == (2, 3)
    with pytest.raises(QueryError, match="syntax error") as error:
        lake.query("SELECT price FORM prices WHERE asset_id = 'bitcoin' AND provider = 'coingecko' AND tick_ts > now() AND price > 0").arrow()
    assert (error.value.line, error.value.column) == (1, 19)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY prices TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/stolen.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "CREATE TABLE mine AS SELECT * FROM prices",
        "SELECT * FROM settings",
        "",
    ],
)
def test_a_query_reads_the_lake_and_nothing_else(lake: Lake, sql: str) -> None:
    with pytest.raises(QueryError):
        lake.query(sql).arrow()


def test_what_polars_cannot_hold_is_said(lake: Lake) -> None:
    with pytest.raises(QueryError, match="Polars cannot represent the result"):
        lake.query("SELECT INTERVAL 1 DAY AS took").polars()


def test_a_query_takes_parameters_and_streams(lake: Lake) -> None:
    found = lake.query("SELECT count(*) AS n FROM prices WHERE asset_id = $asset", parameters={"asset": "bitcoin"}).arrow()
    assert found.to_pylist() == [{"n": TICKS}]
    schema, batches = lake.stream("SELECT tick_ts, price FROM prices", rows=500)
    sizes = [batch.num_rows for batch in batches]
    assert schema.names == ["tick_ts", "price"]
    assert sum(sizes) == TICKS * COINS
    assert max(sizes) <= 2048  # DuckDB's own vectors


def test_a_point_in_time_is_what_the_table_held_then(tmp_path: Path) -> None:
    with object_store(tmp_path) as settings:
        writer, lake = StoredLake(settings), Lake(settings)
        writer.ticks(10, per_batch=10)
        then, version = datetime.now(UTC), lake.version()
        threading.Event().wait(0.01)  # commits carry milliseconds
        # A late row of the same hour: the version shows when it was added, event time does not.
        writer.stream([record(TICK + 30_000).to_json()])
        eventually(lambda: lake.version() == version + 1)  # a read of the log is cached for a quarter of a second
        for point in ({"as_of": then}, {"as_of": then.isoformat()}, {"version": version}):
            assert lake.prices(**point).arrow().num_rows == 10 * COINS
        assert lake.query("SELECT count(*) AS n FROM prices", as_of=then).arrow().to_pylist() == [{"n": 10 * COINS}]
        assert lake.prices().arrow().num_rows == 10 * COINS + 1
        assert lake.prices(as_of=then - timedelta(days=365)).arrow().num_rows == 0
        replace_files_by_one(settings, tmp_path)
        # The files of the older version are deleted; its rows are identified by their offsets.
        fresh = Lake(settings)
        assert fresh.prices().arrow().num_rows == lake.prices().arrow().num_rows == 10 * COINS + 1
        assert fresh.prices(version=version).arrow().num_rows == 10 * COINS
        assert fresh.prices("BTC", as_of=then, columns=["tick_ts"]).arrow().num_rows == 10
        assert fresh.query("SELECT count(*) AS n FROM prices", as_of=then).arrow().to_pylist() == [{"n": 10 * COINS}]
        remove_log_entry(settings, version)
        with pytest.raises(VersionNotKept, match="Use ingest_ts for what was known"):
            Lake(settings).prices(version=version).arrow()


def replace_files_by_one(settings: Settings, scratch: Path) -> None:
    """Compaction: one file replaces all others, which are deleted at once."""
    address = table_address(settings.s3, "prices")
    table = DeltaTable(address.uri, storage_options=settings.s3.storage_options())
    (files,) = days_of(table).values()
    Compactor(address, LAYOUTS["prices"], minio_client(S3Access.of(settings.s3)), scratch).compact(table, files)


def remove_log_entry(settings: Settings, version: int) -> None:
    """Remove log entries, like the clean-up after a checkpoint."""
    address = table_address(settings.s3, "prices")
    DeltaTable(address.uri, storage_options=settings.s3.storage_options()).create_checkpoint()
    for number in range(version + 1):
        minio_client(S3Access.of(settings.s3)).remove_object(address.bucket, f"_delta_log/{number:020d}.json")


def test_the_command_writes_each_form(settings: Settings, tmp_path: Path) -> None:
    sql = "SELECT tick_ts, asset_id, price FROM prices WHERE asset_id IN ('bitcoin', 'ripple') ORDER BY tick_ts, asset_id"
    expected = Lake(settings).query(sql).arrow()
    out = {form: tmp_path / f"out.{form}" for form in ("csv", "json", "ndjson", "parquet")}
    for form, file in out.items():
        assert run(settings, "query", sql, "--format", form, "--output", str(file)).returncode == 0
    assert pq.read_table(out["parquet"]).equals(expected)
    rows = list(csv.DictReader(io.StringIO(out["csv"].read_text())))
    assert [(row["asset_id"], float(row["price"])) for row in rows] == [(row["asset_id"], row["price"]) for row in expected.to_pylist()]
    assert [row["price"] for row in json.loads(out["json"].read_text())] == expected.column("price").to_pylist()
    assert len(out["ndjson"].read_text().splitlines()) == 2 * TICKS
    shown = run(settings, "query", "SELECT count(*) AS n FROM prices")
    assert shown.stdout.split() == ["n", str(TICKS * COINS)]
    wrong = run(settings, "query", "SELECT x FROM prices", "--output", str(tmp_path / "never.csv"), "--format", "csv")
    assert wrong.returncode == 1
    assert "LINE 1: SELECT x FROM prices" in wrong.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in out.values())


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with this store."""
    s3 = settings.s3
    environment = {
        "CRYPTOVIZ_HOME": str(settings.home),
        "CRYPTOVIZ_S3__ENDPOINT": s3.endpoint,
        "CRYPTOVIZ_S3__ACCESS_KEY": s3.access_key,
        "CRYPTOVIZ_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        **({"CRYPTOVIZ_S3__CA_FILE": str(s3.ca_file)} if s3.ca_file else {}),
        "PATH": "/usr/bin:/bin",
        "COLUMNS": "120",
    }
    command = [str(Path(sys.executable).with_name("cryptoviz")), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
