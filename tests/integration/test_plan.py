"""The lake job's batch plan in a real store: its owner, its latency, and the store's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptoviz.errors import LakeError
from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.objects import S3Access
from cryptoviz.settings import Settings
from spark_jobs.streaming.batch_plan import BatchPlan
from spark_jobs.streaming.job import PLAN
from tests.support.engines import object_store
from tests.support.measure import say

pytestmark = pytest.mark.integration

WRITES = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path) as settings:
        yield settings


def test_a_plan_costs_one_small_put_and_an_overtaken_run_gets_none(store: Settings) -> None:
    cell = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, PLAN)
    first, second = BatchPlan(cell, "one"), BatchPlan(cell, "two")
    assert first.take_over().ranges == {}
    took_ms = []
    for number in range(WRITES):
        begun = time.monotonic()
        first.write({("6c1f4ac0-8a4b-4c6d-9a51-0f2e3d4c5b6a", partition): (number * 100, number * 100 + 100) for partition in range(4)})
        took_ms.append((time.monotonic() - begun) * 1000)
    say(f"plan of a batch: median {statistics.median(took_ms):.1f} ms, slowest {max(took_ms):.1f} ms of {WRITES}")
    assert second.take_over().ranges["6c1f4ac0-8a4b-4c6d-9a51-0f2e3d4c5b6a", 3] == (5900, 6000)
    with pytest.raises(LakeError, match="run two"):
        first.write({})
    second.write({})
    assert abs((cell.now() - datetime.now(UTC)).total_seconds()) < 60
    before = cell.now()
    assert S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, "no/such").now() >= before
