"""Merging files, and the proof that nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cryptoviz.errors import LakeError
from cryptoviz.lake.schema import PRICES, file_schema
from spark_jobs.maintenance.compaction import sorted_merge as compact_merge
from spark_jobs.maintenance.compaction.proof import fingerprint, read_batches
from spark_jobs.maintenance.compaction.sorted_merge import merge
from spark_jobs.maintenance.steps import LAYOUTS
from spark_jobs.tables.parquet import encode
from tests.support.lake_tables import ASSETS, price_rows, raw_rows

DAY = 1_772_323_200_000  # 2026-03-01
SCHEMA = file_schema(PRICES)
LAYOUT = LAYOUTS["prices"]
ORIGIN = ["kafka_topic_id", "kafka_partition", "kafka_offset"]


def write(folder: Path, tables: list[pa.Table]) -> list[Path]:
    paths = []
    for i, table in enumerate(tables):
        paths.append(folder / f"in-{i}.parquet")
        paths[-1].write_bytes(encode(table, LAYOUT.stats_columns))
    return paths


def by_origin(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in ORIGIN]).combine_chunks()


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Some minutes of 17 coins."""
    return price_rows([DAY + i * 60_000 for i in range(600)])


@pytest.mark.parametrize("range_bytes", [1 << 30, 400_000])
def test_merged_file_has_the_rows_sorted(tmp_path: Path, rows: pa.Table, range_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one piece and in many ranges, with equal bytes."""
    monkeypatch.setattr(compact_merge, "RANGE_BYTES", range_bytes)
    order = np.random.default_rng(3).permutation(rows.num_rows)
    sources = write(tmp_path, [rows.take(pa.array(part)) for part in np.array_split(order, 7)])
    done = merge(sources, tmp_path / "out.parquet", LAYOUT)
    found = pq.read_table(tmp_path / "out.parquet").cast(SCHEMA)
    assert done.rows == found.num_rows == rows.num_rows
    assert by_origin(found).equals(by_origin(rows))
    assert found.equals(rows.sort_by([("asset_id", "ascending"), ("tick_ts", "ascending")]).combine_chunks())
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.num_row_groups > 1
    assert done.size < sum(path.stat().st_size for path in sources)


def test_merge_is_a_pure_function_of_its_inputs(tmp_path: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write(tmp_path, [rows.slice(0, 4000), rows.slice(4000)])
    merge(sources, tmp_path / "a", LAYOUT)
    merge(sources[::-1], tmp_path / "b", LAYOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_statistics_of_the_log_hold_for_all_rows(tmp_path: Path, rows: pa.Table) -> None:
    stats = json.loads(merge(write(tmp_path, [rows]), tmp_path / "out", LAYOUT).stats)
    assert stats["numRecords"] == rows.num_rows
    assert stats["minValues"]["asset_id"] == min(ASSETS)
    assert stats["maxValues"]["kafka_offset"] == rows.num_rows - 1
    assert stats["minValues"]["price"] == pc.min(rows.column("price")).as_py()
    assert stats["minValues"]["tick_ts"] == "2026-03-01T00:00:00.000000Z"
    assert stats["nullCount"]["price"] == 0


def test_raw_exchanges_are_sorted_by_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_merge, "RANGE_BYTES", 200_000)
    exchanges = raw_rows([DAY + i * 2000 for i in range(400)])
    sources = write_raw(tmp_path, [exchanges.slice(0, 300), exchanges.slice(300)])
    merge(sources, tmp_path / "out", LAYOUTS["raw"])
    found = pq.read_table(tmp_path / "out").cast(exchanges.schema)
    assert found.column("provider").to_pylist() == ["coingecko"] * 400 + ["coinmarketcap"] * 400
    assert by_origin(found).equals(by_origin(exchanges))


def write_raw(folder: Path, tables: list[pa.Table]) -> list[Path]:
    paths = []
    for i, table in enumerate(tables):
        paths.append(folder / f"in-{i}.parquet")
        paths[-1].write_bytes(encode(table, LAYOUTS["raw"].stats_columns))
    return paths


def test_fingerprint_does_not_depend_on_order_or_files(rows: pa.Table) -> None:
    shuffled = rows.take(pa.array(np.random.default_rng(5).permutation(rows.num_rows)))
    assert fingerprint([rows], SCHEMA) == fingerprint([shuffled.slice(0, 77), shuffled.slice(77)], SCHEMA)


@pytest.mark.parametrize("name", SCHEMA.names)
def test_fingerprint_sees_a_change_in_any_column(rows: pa.Table, name: str) -> None:
    few = rows.slice(0, 50)
    index = SCHEMA.get_field_index(name)
    values = few.column(name).to_pylist()
    other = {pa.string(): "x", pa.float64(): 1.5, pa.int32(): 77, pa.int64(): 10**12, pa.bool_(): True}.get(SCHEMA.field(name).type)
    values[7] = other if other is not None else few.column("tick_ts")[7].as_py().replace(microsecond=1)
    changed = few.set_column(index, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    assert fingerprint([changed], SCHEMA) != fingerprint([few], SCHEMA)


def test_fingerprint_sees_lost_doubled_and_swapped_rows(rows: pa.Table) -> None:
    few = rows.slice(0, 50)
    whole = fingerprint([few], SCHEMA)
    assert fingerprint([few.slice(1)], SCHEMA) != whole
    assert fingerprint([few, few.slice(3, 1)], SCHEMA) != whole
    doubled_and_lost = [few.slice(0, 49), few.slice(0, 1)]
    assert fingerprint(doubled_and_lost, SCHEMA) != whole
    prices = few.column("price").to_pylist()
    prices[3], prices[4] = prices[4], prices[3]
    swapped = few.set_column(SCHEMA.get_field_index("price"), SCHEMA.field("price"), pa.array(prices))
    assert fingerprint([swapped], SCHEMA) != whole


def test_file_of_an_older_schema_is_read_with_nulls(tmp_path: Path, rows: pa.Table) -> None:
    path = write(tmp_path, [rows.drop_columns(["change_7d_pct"])])[0]
    assert by_origin(pa.concat_tables(read_batches(path, SCHEMA))).equals(by_origin(rows))  # that column is null in all of them


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.append_column("extra", pa.array([1] * rows.num_rows)),
        lambda rows: rows.set_column(10, "price", rows.column("price").cast(pa.string())),
    ],
)
def test_file_with_columns_that_the_table_cannot_hold_is_refused(tmp_path: Path, rows: pa.Table, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(rows), tmp_path / "odd.parquet")
    with pytest.raises(LakeError, match=r"extra|price"):
        list(read_batches(tmp_path / "odd.parquet", SCHEMA))
