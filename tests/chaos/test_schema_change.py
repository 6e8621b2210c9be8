"""Fault 23: the lake job starts on tables written by other versions of the code: with fewer columns, with more, with another type."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from cryptoviz.errors import LakeError
from cryptoviz.lake import Lake
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.schema import PRICES, RAW, file_schema
from spark_jobs.tables.record_spec import PRICES_SPEC, FieldSpec, JsonType, RecordSpec
from tests.chaos.rig import ROUNDS, SEED
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import caught_up, host_lake, ray_cluster
from tests.support.measure import say
from tests.support.records import TICK, record
from tests.support.stored_lake import StoredLake
from tests.support.topics import Feed

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SENTIMENT = pa.field("sentiment", pa.float64(), nullable=False)
# The other version: no spread, and a required sentiment.
OTHER = pa.schema([column for column in PRICES if column.name != "spread_bps"]).insert(0, SENTIMENT)


def other_spec() -> RecordSpec:
    """Records of that version."""
    fields = [FieldSpec("sentiment", JsonType.NUMBER, True, SENTIMENT, False), *(field for field in PRICES_SPEC.fields if field.name != "spread_bps")]
    return replace(PRICES_SPEC, schema=file_schema(OTHER), fields=tuple(fields))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_fields_come_and_go_and_a_type_change_is_refused(tmp_path: Path, number: int) -> None:
    count = random.Random(SEED + number).randrange(600, 2000)
    settings = lake_settings(tmp_path)
    with engines(settings), ray_cluster() as cluster:
        feed, lake = Feed(settings), Lake(settings)
        values = [orjson.dumps(orjson.loads(record(TICK + i * 1000).to_json()) | {"sentiment": i / 10}) + b"\n" for i in range(count)]
        feed.publish([(b"bitcoin", value) for value in values])
        texts = RAW.set(RAW.names.index("status"), pa.field("status", pa.string()))
        other = StoredLake(settings, "other", spec=other_spec(), prices=OTHER, raw=texts)
        assert other.take_from_kafka() == count

        # A changed type: the job names the column and does not start; the tables are unchanged.
        host = host_lake(cluster, settings)
        version = lake.version()
        with pytest.raises(LakeError, match=r"table raw: column status has type string in the table and integer in this version"):
            host.start()
        assert not host.probe().running
        assert (lake.version(), lake.prices(columns=["sentiment"]).arrow().num_rows) == (version, count)

        # Fields added and removed: one table.
        client, raw = minio_client(S3Access.of(settings.s3)), table_address(settings.s3, "raw")
        for item in list(client.list_objects(raw.bucket, prefix=raw.prefix, recursive=True)):
            client.remove_object(raw.bucket, item.object_name)
        begun = time.monotonic()
        host.start()
        say("start on a table of another version, s:", round(time.monotonic() - begun, 1))
        for i in range(30):
            feed.tick(TICK + 10_000_000 + i * 1000)
        report = caught_up(settings)
        host.stop()
        rows = Lake(settings).prices(columns=["tick_ts", "sentiment", "spread_bps"]).arrow().to_pylist()
    assert report.ok, report.to_text()
    old, new = rows[:count], rows[count:]
    assert [row["sentiment"] for row in old] == [i / 10 for i in range(count)]
    assert {row["spread_bps"] for row in old} == {None}
    assert len(new) == 30 * 17
    assert {(row["sentiment"], row["spread_bps"]) for row in new} == {(None, 0.5)}
