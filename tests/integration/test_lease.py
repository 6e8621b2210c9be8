"""The lease on a real object store: its conditional puts and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.conditional_object import ObjectChanged, S3ConditionalObject
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.settings import Settings
from spark_jobs.tables.lease import Holder, Lease, LeaseHeld, lease_of
from tests.support.engines import object_store
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A MinIO, and a factory of settings for two pipelines."""
    with object_store(tmp_path_factory.mktemp("lease"), lease_s=12) as settings:
        yield settings


def test_a_state_is_replaced_only_by_who_has_seen_it(store: Settings) -> None:
    cell = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, "_leases/test cell.json")
    assert cell.read() is None
    began = time.monotonic()
    first = cell.write(b"one", None)
    with pytest.raises(ObjectChanged):
        cell.write(b"two", None)
    second = cell.write(b"two", first)
    with pytest.raises(ObjectChanged):
        cell.write(b"three", first)
    seen = cell.read()
    assert seen is not None
    assert (seen.content, seen.etag) == (b"two", second)
    assert 0 <= seen.age_s <= time.monotonic() - began + 1  # the store's time has whole seconds
    minio_client(S3Access.of(store.s3)).remove_object(store.s3.lake_bucket, "_leases/test cell.json")
    with pytest.raises(ObjectChanged):
        cell.write(b"three", second)


def test_a_second_pipeline_is_refused_until_the_first_gives_the_lease_back(store: Settings) -> None:
    first, other_work = lease_of(store, "lake", "p1", "run1"), lease_of(store, "maintenance", "p2", "run2")
    with first, other_work, pytest.raises(LeaseHeld, match=r"run run1 .* since .* until"):
        lease_of(store, "lake", "p2", "run2").acquire()
    with lease_of(store, "lake", "p2", "run2"):
        pass


def test_a_holder_that_renews_no_more_is_overtaken_when_its_time_is_up(store: Settings) -> None:
    """Its machine is lost: its process state is unknown here."""
    cell = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, "_leases/lake.json")
    gone = Holder("lake", "p1", "run1", "elsewhere", "boot", 1, "home", "then", "later", 600.0)
    seen = cell.read()
    etag = cell.write(gone.to_json(), seen.etag if seen else None)
    mine = lease_of(store, "lake", "p2", "run2")
    with pytest.raises(LeaseHeld):
        mine.acquire()
    cell.write(replace(gone, until="soon", lasts_s=1.0).to_json(), etag)

    def taken() -> bool:
        try:
            mine.acquire()
        except LeaseHeld:
            return False
        return True

    eventually(taken, every_s=0.5)
    mine.release()


def test_a_holder_keeps_it_past_its_time_by_renewing(store: Settings) -> None:
    with lease_of(store, "lake", "p1", "run1") as lease:
        first = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, "_leases/lake.json").read()
        assert first is not None
        until = Holder.from_json(first.content).until

        def renewed_past() -> bool:
            seen = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, "_leases/lake.json").read()
            return seen is not None and Holder.from_json(seen.content).since < until < Holder.from_json(seen.content).until

        eventually(renewed_past, every_s=0.2)
        assert lease.lost == ""


def test_a_missing_store_is_reported(store: Settings) -> None:
    access = replace(S3Access.of(store.s3), endpoint="http://127.0.0.1:9")
    holder = Holder("lake", "p", "r", "h", "b", 1, "home", "", "", 3.0)
    with pytest.raises(EngineUnavailable, match="_leases/x"):
        Lease(S3ConditionalObject(access, store.s3.lake_bucket, "_leases/x"), holder).acquire()
