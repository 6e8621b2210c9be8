"""Fault 8: the object store is down, refuses, is slow, full, cuts uploads, or loses answers, under load. The lake waits and catches up."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cryptoviz.components import Probe
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.settings import Settings
from tests.chaos.rig import ROUNDS, SEED, Figures, Keeper, Load, Progress, assert_same_sets, lag_over
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import LakeHost, host_lake, ray_cluster
from tests.support.measure import say
from tests.support.ports import free_port
from tests.support.s3_proxy import Fault, S3Proxy
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

PUT = frozenset({"PUT"})
COMMIT = re.compile(r"/_delta_log/\d{20}\.json")
DATA = re.compile(r"\.parquet")
FAULTS = {
    "down": Fault(down=True),
    "503 SlowDown": Fault(status=503, code="SlowDown"),
    "503 for half of the calls": Fault(status=503, code="SlowDown", chance=0.5),
    "slow": Fault(delay_s=2.5, bytes_per_s=20_000),
    "disk full": Fault(status=507, code="XMinioStorageFull", methods=PUT),
    "upload reset": Fault(cut_after=1000, methods=PUT, path=DATA),
    "commit's answer lost": Fault(lose_answer=True, methods=PUT, path=COMMIT, chance=0.6),
    "every put's answer lost": Fault(lose_answer=True, methods=PUT),
}
SAYS = {
    "down": "object store did not",
    "503 SlowDown": "SlowDown",
    "slow": "object store is slow",
    "disk full": "XMinioStorageFull",
    "upload reset": "object store did not accept",
    "every put's answer lost": "object store did not",
}
"""Faults that hold all work up, and what the state says of each."""


def through(settings: Settings, port: int) -> Settings:
    """The same pipeline, with its object store behind the proxy."""
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})})


def whole_files(settings: Settings) -> int:
    """Check that every Parquet object in the bucket is complete, committed or not."""
    address, client = table_address(settings.s3, "prices"), minio_client(S3Access.of(settings.s3))
    filesystem = S3Access.of(settings.s3).filesystem()
    names = [item.object_name for item in client.list_objects(address.bucket, prefix="year=", recursive=True)]
    for name in names[-40:]:
        pq.read_metadata(f"{address.bucket}/{name}", filesystem=filesystem)
    return len(names)


@pytest.mark.parametrize("names", [list(FAULTS)], ids=["all"])
def test_store_faults_delay_and_lose_nothing(tmp_path: Path, names: list[str]) -> None:
    direct = lake_settings(tmp_path)
    chance = random.Random(SEED)
    figures = Figures("fault 8")
    port = free_port()
    with engines(direct), S3Proxy(port, direct.s3.port, SEED) as proxy, ray_cluster() as cluster:
        host = host_lake(cluster, through(direct, port))
        host.start()
        feed = Feed(direct)
        pid = host.probe().pid
        with Keeper(host) as keeper, Load(feed):
            eventually(lambda: host.probe().delivered, 60, every_s=0.2)
            for _ in range(ROUNDS):
                for name in names:
                    strike(name, proxy, host, direct, chance)
                    figures.add(name, Progress(direct, [feed]).made())
                    eventually(lambda: caught_up_again(host), 60, every_s=0.2)
            assert keeper.replaced == []
            assert keeper.starts == 0
        assert host.probe().pid == pid
        assert_same_sets(direct, [feed])
        say("whole data files:", whole_files(direct))
    figures.tell()


def strike(name: str, proxy: S3Proxy, host: LakeHost, settings: Settings, chance: random.Random) -> None:
    """Inject the fault for a while; faults that block all work must show in the state and in the lag."""
    proxy.set(replace(FAULTS[name], name=name))
    if name in SAYS:
        seen = eventually(lambda: told_of(name, host), 60, every_s=0.2)
        say(f"{name}: {seen.message}")
        before = seen.metrics["lag_records"]
        lag_over(host, before + 100)
    threading.Event().wait(chance.uniform(4.0, 8.0))
    assert name == "down" or proxy.hits > 0
    whole_files(settings)
    proxy.clear()


def told_of(name: str, host: LakeHost) -> Probe:
    """The state that reports the fault."""
    seen: Probe = host.probe()
    assert seen.degraded, f"{name}: {seen}"
    assert SAYS[name] in seen.message, f"{name}: {seen.message}"
    return seen


def caught_up_again(host: LakeHost) -> bool:
    """Wait until there is no fault, and the lag is at most that of a few batches on a busy machine."""
    seen = host.probe()
    return seen.healthy and not seen.degraded and seen.metrics["lag_records"] < 1000
