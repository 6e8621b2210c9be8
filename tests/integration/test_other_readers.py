"""Foreign readers get exactly the table's rows from the bucket, as documented in docs/lake.md, also after a checkpoint of the log.

DuckDB and Spark read a local copy of the bucket: their S3 clients are extensions outside of this project's dependencies. Pattern and options are
those of the page.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.engines.java import java_home
from cryptoviz.lake import Lake
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.settings import Settings
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from tests.support.engines import object_store
from tests.support.lake_tables import object_names
from tests.support.records import TICK
from tests.support.stored_lake import StoredLake

pytestmark = [pytest.mark.integration]

PAGE = (Path(__file__).parents[2] / "docs" / "lake.md").read_text(encoding="utf-8")
TICKS = 40
ROWS = TICKS * len(DEFAULT_ASSETS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Forty ticks in four commits, the first two merged, so that the day has files with Snappy and with Zstandard, and a checkpoint of the log."""
    with object_store(tmp_path_factory.mktemp("readers"), compact_files=2) as running:
        stored = StoredLake(running)
        stored.ticks(TICKS // 2, per_batch=10)
        compact = [step for step in STEPS if step.name == "compact"]
        now = datetime.fromtimestamp(TICK / 1000, UTC)
        assert run_round(RoundContext(running, running.home / "scratch", ("prices",), now=lambda: now), compact).figures["merges"] == 1
        stored.ticks(TICKS // 2, TICK + TICKS // 2 * 60_000, per_batch=10)
        address = table_address(running.s3, "prices")
        codecs = {path.split(".")[-2] for path in object_names(running, "prices") if path.endswith(".parquet")}
        assert codecs == {"snappy", "zstd"}
        DeltaTable(address.uri, storage_options=running.s3.storage_options()).create_checkpoint()
        yield running


@pytest.fixture(scope="module")
def events(settings: Settings) -> list[str]:
    found: list[str] = sorted(Lake(settings).prices(columns=["event_id"]).arrow().column("event_id").to_pylist())
    assert len(set(found)) == len(found) == ROWS
    return found


@pytest.fixture(scope="module")
def copy(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local copy of the bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    client = minio_client(S3Access.of(settings.s3))
    names = [item.object_name for item in client.list_objects(settings.s3.prices_bucket, recursive=True)]
    assert any(name.endswith(".checkpoint.parquet") for name in names)
    for name in names:
        client.fget_object(settings.s3.prices_bucket, name, str(folder / name))
    return folder


def example(language: str, word: str) -> str:
    found: str
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in text]
    return found


def selected(sql: str) -> list[tuple[Any, ...]]:
    relation = duckdb.sql(sql)
    assert relation is not None
    return relation.fetchall()


def test_polars_pyarrow_and_pandas_read_the_bucket(settings: Settings, events: list[str]) -> None:
    names: dict[str, Any] = {"load_settings": lambda _: settings}
    exec(compile(example("python", "pl.scan_parquet"), "docs/lake.md", "exec"), names)
    assert sorted(names["in_polars"]["event_id"].to_list()) == events
    assert sorted(names["in_pyarrow"].column("event_id").to_pylist()) == events
    assert sorted(names["in_pandas"]["event_id"]) == events
    assert set(names["in_polars"].columns) >= {"year", "month", "day"}


def test_duckdb_reads_the_day_folders(copy: Path, events: list[str]) -> None:
    select = next(line for line in example("sql", "read_parquet").splitlines() if line.startswith("SELECT"))
    local = select.replace("s3://crypto-data-partitioned", str(copy))
    assert local != select
    assert selected(local) == [(ROWS,)]
    found = selected(local.replace("count(*)", "event_id"))
    assert sorted(event for (event,) in found) == events


SPARK = """
import json, sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
print(json.dumps([row.event_id for row in eval(sys.argv[1]).select("event_id").collect()]))
spark.stop()
"""


def test_spark_reads_the_folder(copy: Path, events: list[str], settings: Settings) -> None:
    """In a separate process, so that the JVM ends with it."""
    call = example("scala", "spark.read").strip().replace("s3a://crypto-data-partitioned", str(copy))
    environment = {"PATH": "/usr/bin:/bin", "JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run([sys.executable, "-c", SPARK, call], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == events
