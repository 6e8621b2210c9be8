"""A task's outcome: the written files, and the error of a failed range."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pyarrow as pa
import pytest

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.objects import TableAddress
from cryptoviz.settings import KafkaSettings
from spark_jobs.streaming import tasks as module
from spark_jobs.streaming.kafka_range_reader import OffsetRange
from spark_jobs.streaming.tasks import write_ranges
from spark_jobs.tables.parquet import TablePart
from tests.unit.spark_jobs.streaming.test_write import Store, batch, plan, values

BROKER = KafkaSettings(bootstrap_servers="b:1")
RANGES = [OffsetRange("stream", partition, 10, 13) for partition in range(3)]


def _read(kafka: KafkaSettings, wanted: OffsetRange, seen: object = None) -> Iterator[pa.RecordBatch]:
    assert kafka == BROKER
    yield batch(values(3), first=wanted.start)
    if wanted.partition == 1:
        raise LakeError("offsets [11, 13) are no longer all in Kafka", topic=wanted.topic, partition=1)


def test_a_range_that_fails_keeps_the_others_not_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_range", _read)
    found = list(write_ranges(plan(), BROKER, RANGES, Store().put))
    assert [type(one) for one in found] == [TablePart, LakeError, TablePart]
    assert [one.part.path[-8 - len(".snappy.parquet") :] for one in found if isinstance(one, TablePart)] == [
        "-0-10-12.snappy.parquet",
        "-2-10-12.snappy.parquet",
    ]
    kept = pickle.loads(pickle.dumps(found))
    assert [str(one) for one in kept] == [str(one) for one in found]


def test_a_refusing_store_is_reported_for_each_range(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(address: TableAddress, path: str, data: pa.Buffer) -> None:
        raise EngineUnavailable(f"the object store did not accept {path}: SlowDown", engine="object-store")

    monkeypatch.setattr(module, "read_range", _read)
    monkeypatch.setattr(module, "put_with", lambda access: put)
    found = list(write_ranges(plan(), BROKER, [RANGES[0], RANGES[2]]))
    assert [type(one) for one in found] == [EngineUnavailable, EngineUnavailable]
    assert all(str(one).endswith("SlowDown") for one in found)
