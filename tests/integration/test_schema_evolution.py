"""Versions of the code with other columns on one table in a real MinIO, read by three kinds of reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from cryptoviz.errors import LakeError
from cryptoviz.lake import Lake
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.schema import PRICES, file_schema
from cryptoviz.settings import Settings
from spark_jobs.maintenance.compaction.merge import Compactor
from spark_jobs.maintenance.days import days_of
from spark_jobs.maintenance.steps import LAYOUTS
from spark_jobs.tables.record_spec import PRICES_SPEC, FieldSpec, JsonType, RecordSpec
from spark_jobs.tables.schema_evolution import stored_schema
from tests.support.engines import object_store
from tests.support.records import DAY_MS, TICK, record
from tests.support.stored_lake import StoredLake

pytestmark = [pytest.mark.integration]

SENTIMENT = pa.field("sentiment", pa.float64())


def with_column(column: pa.Field) -> pa.Schema:
    """Schema of newer code: another column before Kafka's columns."""
    place = PRICES.names.index("kafka_topic_id")
    return PRICES.insert(place, column)


def without(*names: str) -> pa.Schema:
    return pa.schema([column for column in PRICES if column.name not in names])


def with_type(name: str, kind: pa.DataType) -> pa.Schema:
    return PRICES.set(PRICES.names.index(name), PRICES.field(name).with_type(kind))


def spec_of(schema: pa.Schema) -> RecordSpec:
    """Record spec of that code."""
    known = {field.name: field for field in PRICES_SPEC.fields} | {"sentiment": FieldSpec("sentiment", JsonType.NUMBER, False, SENTIMENT, False)}
    own = file_schema(schema)
    return replace(PRICES_SPEC, schema=own, fields=tuple(known[name] for name in own.names if not name.startswith("kafka_")))


def value(tick_ts: int, **more: object) -> bytes:
    return orjson.dumps(orjson.loads(record(tick_ts).to_json()) | more, option=orjson.OPT_APPEND_NEWLINE)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """An empty lake."""
    with object_store(tmp_path) as running:
        yield running


def table_of(settings: Settings) -> DeltaTable:
    return DeltaTable(table_address(settings.s3, "prices").uri, storage_options=settings.s3.storage_options())


def by_delta(settings: Settings, column: str) -> list[object]:
    values: list[object] = table_of(settings).to_pyarrow_table(columns=["tick_ts", column]).sort_by("tick_ts").column(column).to_pylist()
    return values


def by_lake(settings: Settings, column: str) -> list[object]:
    values: list[object] = Lake(settings).prices(columns=[column]).arrow().column(column).to_pylist()
    return values


def by_folder(settings: Settings, column: str) -> list[object]:
    """A plain Parquet reader that merges the files' schemas, which is required for files of several versions."""
    filesystem, root = S3Access.of(settings.s3).filesystem(), table_address(settings.s3, "prices").root
    found = ds.dataset(root, filesystem=filesystem, partitioning="hive")
    schema = pa.unify_schemas([found.schema, *(fragment.physical_schema for fragment in found.get_fragments())])
    whole = ds.dataset(root, schema=schema, filesystem=filesystem, partitioning="hive").to_table().sort_by("tick_ts")
    values: list[object] = whole.column(column).to_pylist()
    return values


def test_a_new_column_is_null_in_old_days_and_stays_when_the_older_code_returns(settings: Settings) -> None:
    StoredLake(settings, "old").stream([value(TICK)])
    before = Lake(settings).version()
    newer = with_column(SENTIMENT)
    StoredLake(settings, "new", spec=spec_of(newer), prices=newer).stream([value(TICK + DAY_MS, sentiment=0.75)], TICK + DAY_MS)
    StoredLake(settings, "old again").stream([value(TICK + 2 * DAY_MS, sentiment=0.5)], TICK + 2 * DAY_MS)
    for read in (by_delta, by_lake, by_folder):
        assert read(settings, "sentiment") == [None, 0.75, None], read.__name__
        assert read(settings, "price") == [record(TICK + i * DAY_MS).price for i in range(3)], read.__name__
    lake = Lake(settings)
    assert lake.query("SELECT count(sentiment) AS n, count(*) AS m FROM prices").arrow().to_pylist() == [{"n": 1, "m": 3}]
    assert "sentiment" in lake.prices().arrow().column_names
    assert lake.prices(version=before, columns=["price", "sentiment"]).arrow().to_pylist() == [{"price": record(TICK).price, "sentiment": None}]


def test_a_required_column_that_the_code_no_longer_has_is_read_as_null_from_then_on(settings: Settings) -> None:
    StoredLake(settings, "old").stream([value(TICK)])
    fewer = without("disagrees", "spread_bps")
    StoredLake(settings, "new", spec=spec_of(fewer), prices=fewer).stream([value(TICK + DAY_MS)], TICK + DAY_MS)
    for read in (by_delta, by_lake, by_folder):
        assert read(settings, "disagrees") == [False, None], read.__name__
        assert read(settings, "spread_bps") == [0.5, None], read.__name__
    assert {field.name: field.nullable for field in table_of(settings).schema().fields}["disagrees"]


def test_merging_the_files_of_two_versions_keeps_the_columns_of_both(settings: Settings, tmp_path: Path) -> None:
    newer, fewer = with_column(SENTIMENT), without("disagrees")
    StoredLake(settings, "new", spec=spec_of(newer), prices=newer).stream([value(TICK, sentiment=0.75)])
    StoredLake(settings, "fewer", spec=spec_of(fewer), prices=fewer).stream([value(TICK + 1000)])
    StoredLake(settings, "plain").stream([value(TICK + 2000)])
    table, layout = table_of(settings), LAYOUTS["prices"]
    (files,) = days_of(table).values()
    layout = replace(layout, schema=stored_schema(table, layout.schema))
    done = Compactor(table_address(settings.s3, "prices"), layout, minio_client(S3Access.of(settings.s3)), tmp_path).compact(table, files)
    assert (done.files, done.rows) == (3, 3)
    for read in (by_delta, by_lake, by_folder):
        assert read(settings, "sentiment") == [0.75, None, None], read.__name__
        assert read(settings, "disagrees") == [False, None, False], read.__name__


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            with_type("rank", pa.string()),
            r"table prices: column rank has type integer in the table and string .*Nothing was changed.*CRYPTOVIZ_S3__PRICES_BUCKET",
        ),
        (with_type("rank", pa.int64()), r"column rank has type integer in the table and long in this version"),
        (with_column(pa.field("mood", pa.string(), nullable=False)), r"column mood is new and required.*Make the column nullable"),
    ],
)
def test_a_change_that_old_rows_cannot_follow_is_refused_and_changes_nothing(settings: Settings, schema: pa.Schema, message: str) -> None:
    StoredLake(settings, "old").stream([value(TICK)])
    before = Lake(settings).version()
    with pytest.raises(LakeError, match=message):
        StoredLake(settings, "new", prices=schema)
    assert Lake(settings).version() == before


def test_the_older_job_is_fenced_before_the_columns_change(settings: Settings) -> None:
    older = StoredLake(settings, "old")
    older.stream([value(TICK)])
    newer = with_column(SENTIMENT)
    StoredLake(settings, "new", spec=spec_of(newer), prices=newer)
    with pytest.raises(LakeError, match=r"another lake job \(run new\) has taken over"):
        older.stream([value(TICK + 1000)])
    again = StoredLake(settings, "new again", spec=spec_of(newer), prices=newer)
    again.stream([value(TICK + 1000, sentiment=1.5)])
    assert by_delta(settings, "sentiment") == [None, 1.5]
