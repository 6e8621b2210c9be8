"""The chaos tests of `make test`: with one rig, the driver is killed, then the object store fails."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.chaos.rig import SEED, Figures, Keeper, Load, Progress, assert_same_sets, probe_of
from tests.chaos.test_store_faults import strike, through
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import host_lake, ray_cluster
from tests.support.ports import free_port
from tests.support.s3_proxy import S3Proxy
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.short, pytest.mark.timeout(1200)]

FAULTS = ("503 SlowDown", "commit's answer lost", "upload reset")
KILLS = 2


def test_kills_and_store_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    direct = lake_settings(tmp_path)
    chance = random.Random(SEED)
    figures = Figures("short")
    port = free_port()
    with engines(direct), S3Proxy(port, direct.s3.port, SEED) as proxy, ray_cluster() as cluster:
        host = host_lake(cluster, through(direct, port))
        host.start()
        feed = Feed(direct)
        with Keeper(host), Load(feed):
            eventually(lambda: host.probe().delivered, 120, every_s=0.2)
            for name in FAULTS:
                strike(name, proxy, host, direct, chance)
                figures.add(name, Progress(direct, [feed]).made())
            for _ in range(KILLS):
                threading.Event().wait(chance.uniform(0.5, 4.0))  # a seeded moment of a batch
                os.kill(eventually(lambda: (seen := probe_of(host)) and seen.pid, 120), signal.SIGKILL)
                figures.add("driver killed", Progress(direct, [feed]).made())
        assert_same_sets(direct, [feed])
    figures.tell()
