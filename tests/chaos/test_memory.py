"""Fault 5: more bytes than the executor has memory. It processes them in pieces; if the system kills it nevertheless, another continues."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from cryptoviz.kafka import producer as kafka_producer
from cryptoviz.settings import Settings
from tests.chaos.rig import ROUNDS, Figures, Keeper, Load, Progress, assert_same_sets, rows_committed
from tests.chaos.test_lake_kill import executor
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import host_lake, ray_cluster
from tests.support.measure import say
from tests.support.records import TICK, exchange
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

BODY = "x" * (1 << 20)
BODIES = 700
"""As many bodies of the largest size as the executor has megabytes, and more."""
_LIMIT_S = 120


def test_a_backlog_of_the_largest_bodies_is_taken_within_the_executors_memory(tmp_path: Path) -> None:
    """Also if the system kills the executor meanwhile, as it does when the machine has no memory left."""
    settings = lake_settings(tmp_path)
    figures = Figures("fault 5")
    with engines(settings), ray_cluster() as cluster:
        feed = Feed(settings)
        host = host_lake(cluster, settings)
        for number in range(ROUNDS):
            fill(settings, feed, number)
            for i in range(70):
                feed.tick(TICK + number * 1_000_000 + i * 1000)
            host.start()
            first = Progress(settings, [feed])
            with Keeper(host) as keeper, Load(feed, first_tick=TICK + 500_000_000 + number * 50_000_000):
                figures.add("backlog of 700 MiB of bodies", taken(settings, feed, first))
                say("replaced:", keeper.replaced, "refused:", keeper.refused, "peak MiB of the executor's processes:", peak_mib())
                assert (keeper.replaced, keeper.refused) == ([], [])
                fill(settings, feed, number + 100)
                os.kill(eventually(executor, 30), signal.SIGKILL)
                figures.add("executor ended by the system", taken(settings, feed, Progress(settings, [feed])))
            eventually(lambda: rows_committed(settings) == feed.rows and rows_committed(settings, "raw") == feed.exchanges, 60)
            assert host.probe().healthy
            host.stop()
        assert_same_sets(settings, [feed])
    figures.tell()


def taken(settings: Settings, feed: Feed, since: Progress) -> float:
    """Seconds until all current bodies are in the lake and ticks continue."""
    bodies = feed.exchanges
    eventually(lambda: rows_committed(settings, "raw") >= bodies, _LIMIT_S)
    return since.made(_LIMIT_S)


def fill(settings: Settings, feed: Feed, number: int) -> None:
    producer = kafka_producer(settings.kafka, {"message.max.bytes": 4 << 20})
    for i in range(BODIES):
        value = exchange(TICK + number * 1_000_000 + i * 1000, body=BODY).to_json()
        producer.produce(settings.kafka.raw_topic, value, key=b"coingecko")
        producer.poll(0)
        if i % 50 == 0:
            producer.flush(30)
    assert producer.flush(60) == 0
    feed.exchanges += BODIES


def peak_mib() -> str:
    """Peak memory of each process of the executor: its JVM, its Python daemon, the daemon's workers."""
    peaks = []
    for process in [psutil.Process(executor()), *psutil.Process(executor()).children(recursive=True)]:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peaks.append(next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))
    return json.dumps(peaks)
