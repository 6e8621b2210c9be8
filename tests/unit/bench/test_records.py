"""The benchmarks' records are valid records."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from bench.lake.records import START_MS, Shape, records
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.records import UnifiedRecord
from spark_jobs.streaming.decode import decode
from spark_jobs.tables.record_spec import PRICES_SPEC
from tests.support.records import binary

COUNT = 17 * 40


@pytest.mark.parametrize("shape", ["short", "full"])
def test_the_lake_takes_each_record_as_a_row(shape: Shape) -> None:
    values = [value for _, value in records(COUNT, shape)]
    done = decode(binary(values), pa.array([START_MS + 10_000_000] * COUNT, pa.int64()), PRICES_SPEC, 4096)
    assert done.bad == ()
    assert len(set(done.rows.column("event_id").to_pylist())) == COUNT
    assert set(done.rows.column("asset_id").to_pylist()) == {asset.asset_id for asset in DEFAULT_ASSETS}


def test_a_full_record_is_byte_for_byte_what_the_collector_writes() -> None:
    for _, value in records(COUNT, "full"):
        assert UnifiedRecord(**json.loads(value)).to_json() == value


def test_a_short_record_has_the_size_that_is_promised() -> None:
    sizes = [len(value) for _, value in records(COUNT, "short")]
    assert 370 <= sum(sizes) / COUNT <= 390


def test_same_arguments_same_bytes() -> None:
    assert list(records(100, "full", seed=5)) == list(records(100, "full", seed=5))
    assert list(records(100, "full", seed=5)) != list(records(100, "full", seed=6))


def test_ticks_are_whole_and_in_order() -> None:
    ticks = [json.loads(value)["tick_ts"] for _, value in records(17 * 3, tick_ms=60_000)]
    assert ticks == [START_MS + tick * 60_000 for tick in range(3) for _ in range(17)]
