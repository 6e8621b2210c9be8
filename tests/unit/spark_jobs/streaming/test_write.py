"""Files of a task: names, days, dead letters, skipped rows; and that they are a pure function of the records."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cryptoviz.lake.objects import S3Access, TableAddress
from cryptoviz.lake.schema import DEAD_LETTERS, PRICES, file_schema
from spark_jobs.streaming import write as module
from spark_jobs.streaming.write import TopicSpec, WriteSpec, write_parts
from spark_jobs.tables.parquet import TablePart
from spark_jobs.tables.record_spec import PRICES_SPEC, RAW_SPEC
from tests.support.records import DAY_MS, TICK, exchange, record

TOPIC_ID = "0a1b2c3d-0000-4000-8000-000000000001"
RAW_ID = "ffffffff-0000-4000-8000-000000000002"
TABLES = {name: TableAddress(name, "bucket", f"{name}/") for name in ("prices", "raw", "dead_letters")}


class Store:
    """An object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, address: TableAddress, path: str, data: pa.Buffer) -> None:
        self.objects[address.key(path)] = data.to_pybytes()

    def table(self, key: str) -> pa.Table:
        return pq.read_table(io.BytesIO(self.objects[key]))


def plan(skip_below: Any = None) -> WriteSpec:
    topics = {"stream": TopicSpec(TOPIC_ID, PRICES_SPEC), "raw": TopicSpec(RAW_ID, RAW_SPEC)}
    return WriteSpec(topics, TABLES, S3Access("http://x", "r", "k", "the-secret"), 4096, skip_below or {})


def batch(values: Sequence[bytes | None], first: int = 10, step: int = 1) -> pa.RecordBatch:
    """Record batches as read from Kafka."""
    count = len(values)
    return pa.record_batch(
        {
            "offset": pa.array([first + i * step for i in range(count)], pa.int64()),
            "timestamp": pa.array([TICK + 300] * count, pa.timestamp("ms", tz="UTC")),
            "key": pa.array([b"bitcoin"] * count, pa.binary()),
            "value": pa.array(values, pa.binary()),
        }
    )


def run(batches: Sequence[pa.RecordBatch], skip_below: Any = None, topic: str = "stream", partition: int = 1) -> tuple[Store, list[TablePart]]:
    store = Store()
    return store, list(write_parts(batches, topic, partition, plan(skip_below), store.put))


def values(count: int, start: int = TICK) -> list[bytes]:
    return [record(start + i).to_json() for i in range(count)]


def test_one_file_for_one_day_named_by_its_offsets() -> None:
    store, results = run([batch(values(3), first=10, step=2), batch(values(2, TICK + 50), first=16)])
    key = "prices/year=2025/month=11/day=24/part-0a1b2c3d-1-10-17.snappy.parquet"
    assert list(store.objects) == [key]
    rows = store.table(key)
    assert rows.schema.equals(file_schema(PRICES))
    assert rows.column("kafka_offset").to_pylist() == [10, 12, 14, 16, 17]
    assert set(rows.column("kafka_topic_id").to_pylist()) == {TOPIC_ID}
    (written,) = results
    assert written.table == "prices"
    assert (written.part.path, written.part.size, written.part.rows) == (key.removeprefix("prices/"), len(store.objects[key]), 5)


def test_file_is_snappy_with_statistics_where_readers_prune() -> None:
    store, results = run([batch(values(3))])
    meta = pq.read_metadata(io.BytesIO(next(iter(store.objects.values()))))
    columns = {meta.row_group(0).column(i).path_in_schema: meta.row_group(0).column(i) for i in range(meta.num_columns)}
    assert {column.compression for column in columns.values()} == {"SNAPPY"}
    assert "DELTA_LENGTH_BYTE_ARRAY" in columns["event_id"].encodings
    for name in ("tick_ts", "asset_id", "price", "kafka_offset"):
        assert columns[name].statistics.has_min_max
    assert json.loads(results[0].part.stats) == {
        "numRecords": 3,
        "minValues": {"tick_ts": "2025-11-24T16:00:00.000000Z", "asset_id": "bitcoin", "price": 37_000.5 + TICK % 997, "kafka_offset": 10},
        "maxValues": {"tick_ts": "2025-11-24T16:00:00.002000Z", "asset_id": "bitcoin", "price": 37_002.5 + TICK % 997, "kafka_offset": 12},
        "nullCount": {"tick_ts": 0, "asset_id": 0, "price": 0, "kafka_offset": 0},
    }


def test_late_rows_go_to_their_own_day_under_the_same_range() -> None:
    late = record(TICK - DAY_MS).to_json()
    store, _ = run([batch([*values(2), late, *values(1, TICK + 9)])])
    assert {key: rows for key in store.objects for rows in [store.table(key).column("kafka_offset").to_pylist()]} == {
        "prices/year=2025/month=11/day=23/part-0a1b2c3d-1-10-13.snappy.parquet": [12],
        "prices/year=2025/month=11/day=24/part-0a1b2c3d-1-10-13.snappy.parquet": [10, 11, 13],
    }


def test_bad_records_lie_in_dead_letters_with_their_bytes() -> None:
    store, results = run([batch([*values(1), b"junk", None, *values(1, TICK + 1)])])
    dead = store.table("dead_letters/year=2025/month=11/day=24/part-0a1b2c3d-1-10-13.snappy.parquet")
    assert dead.schema.equals(file_schema(DEAD_LETTERS))
    first, second = dead.to_pylist()
    assert first == {
        "topic": "stream", "kafka_ts": datetime(2025, 11, 24, 16, 0, 0, 300_000, UTC), "key": b"bitcoin", "value": b"junk",
        "reason": first["reason"], "kafka_topic_id": TOPIC_ID, "kafka_partition": 1, "kafka_offset": 11,
    }  # fmt: skip
    assert first["reason"].startswith("not_json: ")
    assert (second["value"], second["kafka_offset"]) == (None, 12)
    assert {written.table: written.part.rows for written in results} == {"prices": 2, "dead_letters": 2}


def test_rows_below_a_tables_progress_are_not_written_again() -> None:
    """A crash between the commits of dead letters and prices: the next run reads the records again for prices only."""
    records = [*values(1), b"junk", *values(1, TICK + 1), b"more junk", *values(1, TICK + 2)]
    store, _ = run([batch(records)], {"dead_letters": {(TOPIC_ID, 1): 13}, "prices": {(TOPIC_ID, 1): 10}})
    assert {key.split("/")[0]: store.table(key).column("kafka_offset").to_pylist() for key in store.objects} == {
        "prices": [10, 12, 14],
        "dead_letters": [13],
    }
    assert "dead_letters/year=2025/month=11/day=24/part-0a1b2c3d-1-13-14.snappy.parquet" in store.objects
    store, _ = run([batch(records)], {"dead_letters": {(TOPIC_ID, 1): 15}, "prices": {(TOPIC_ID, 1): 15}})
    assert store.objects == {}


def test_a_repeated_task_writes_the_same_bytes() -> None:
    records = [*values(600), b"junk", record(TICK - DAY_MS).to_json()]
    first, _ = run([batch(records)])
    second, _ = run([batch(records[:100]), batch(records[100:], first=110)])
    assert first.objects == second.objects


def test_a_big_backlog_is_cut_into_files_that_do_not_overlap(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 2000)
    store, _ = run([batch(values(3), first=0), batch(values(3), first=3), batch(values(3), first=6)])
    assert sorted(key.rpartition("/")[2] for key in store.objects) == [
        "part-0a1b2c3d-1-0-2.snappy.parquet",
        "part-0a1b2c3d-1-3-5.snappy.parquet",
        "part-0a1b2c3d-1-6-8.snappy.parquet",
    ]


def test_each_topic_fills_its_own_table() -> None:
    store, _ = run([batch([exchange(TICK).to_json()])], topic="raw", partition=0)
    assert list(store.objects) == ["raw/year=2025/month=11/day=24/part-ffffffff-0-10-10.snappy.parquet"]
    store, _ = run([batch(values(2), first=5)], partition=0)
    assert list(store.objects) == ["prices/year=2025/month=11/day=24/part-0a1b2c3d-0-5-6.snappy.parquet"]


def test_empty_task_writes_nothing() -> None:
    store, results = run([])
    assert store.objects == {}
    assert results == []


def test_the_secret_shows_in_no_text_of_the_plan() -> None:
    assert "the-secret" not in repr(plan())


def test_a_name_to_avoid_becomes_two_files_with_the_same_rows() -> None:
    """Offsets 10 to 13; the names of the files 10 to 13 and 10 to 12 must not be used again."""
    values = [record(TICK + i).to_json() for i in range(4)]
    store, whole = run([batch(values)])
    path = whole[0].part.path
    shorter = path.replace("-10-13.", "-10-12.")
    plain = plan()
    avoiding = WriteSpec(plain.topics, plain.tables, plain.access, plain.max_bytes, avoid={"prices": frozenset({path, shorter})})
    other = Store()
    parts = list(write_parts([batch(values)], "stream", 1, avoiding, other.put))
    names = [part.part.path for part in parts]
    assert names == [path.replace("-10-13.", "-10-11."), path.replace("-10-13.", "-12-12."), path.replace("-10-13.", "-13-13.")]
    assert sum(part.part.rows for part in parts) == 4
    rows = pa.concat_tables([other.table(f"prices/{name}") for name in names])
    assert rows.equals(store.table(f"prices/{path}"))


def test_a_part_names_its_ticks() -> None:
    values = [record(TICK + 60_000 * n).to_json() for n in (0, 0, 1)]
    (part,) = run([batch(values)])[1]
    assert part.ticks == (TICK, TICK + 60_000)
    many = [record(TICK + 1000 * n).to_json() for n in range(module.TICKS_SHOWN + 5)]
    (part,) = run([batch(many)])[1]
    assert part.ticks == tuple(TICK + 1000 * n for n in range(module.TICKS_SHOWN))
    (dead,) = run([batch([b"not a record"])])[1]
    assert dead.ticks == ()
