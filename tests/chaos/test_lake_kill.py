"""Faults 3 and 4: kill -9 of the lake's driver actor, its executor and its application master in the midst of batches, under load."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray.exceptions

from cryptoviz.lake import Lake
from cryptoviz.settings import Settings
from spark_jobs.job import lake_id
from spark_jobs.predecessor import marked_processes
from spark_jobs.session import RUN_VARIABLE
from tests.helpers import eventually
from tests.lake import TICK, Feed, LakeHost, caught_up, engines, host_lake, lake_settings, ray_cluster, say

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

KILLS = 5
SEED = 20221108


class Load(threading.Thread):
    """Ticks of 17 coins about ten times a second until told to stop."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(daemon=True)
        self._feed = feed
        self._stop_now = threading.Event()

    def run(self) -> None:
        tick = TICK
        while not self._stop_now.wait(0.1):
            self._feed.tick(tick)
            tick += 1000

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join(30)


def probe(host: LakeHost) -> object:
    """None while Ray re-makes the actor."""
    try:
        return host.probe()
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        return None


def rows_committed(lake: Lake) -> int:
    return int(lake.query("SELECT count(*) AS n FROM prices").column("n")[0].as_py())


def recover(host: LakeHost, lake: Lake, before: int) -> None:
    """What the controller does: start the actor that Ray has re-made; then wait for the first new row."""

    def restarted() -> bool:
        seen = probe(host)
        if seen is None:
            return False
        if not seen.running:
            host.start()
        return True

    eventually(restarted, 60, every_s=0.1)
    eventually(lambda: rows_committed(lake) > before, 60, every_s=0.1)


def test_killed_driver_loses_and_doubles_nothing(tmp_path: Path) -> None:
    settings = lake_settings(tmp_path)
    chance = random.Random(SEED)
    recoveries: list[float] = []
    with engines(settings), ray_cluster() as cluster:
        host = host_lake(cluster, settings)
        host.start()
        feed, lake = Feed(settings), Lake(settings)
        with Load(feed):
            eventually(lambda: rows_committed(lake) > 0, 60)
            for _ in range(KILLS):
                threading.Event().wait(chance.uniform(0.5, 4.0))  # a seeded moment of a batch
                os.kill(host.probe().pid, signal.SIGKILL)
                killed_s = time.monotonic()
                recover(host, lake, rows_committed(lake))
                recoveries.append(time.monotonic() - killed_s)
        report = caught_up(settings)
    # The goal is 30 s with two cores of one's own; on a busy machine the figures say how busy it was, so they are told and not asserted.
    say("recovery after kill -9, s:", json.dumps([round(one, 1) for one in recoveries]), "load average", os.getloadavg()[0])
    say(report.to_text())
    assert feed.rows > 1000
    assert report.ok, report.to_text()
    assert [one.rows for one in report.comparisons] == [feed.rows, feed.rows, feed.exchanges, feed.exchanges]


def java_workers(session: str) -> dict[int, psutil.Process]:
    """The Java workers of this Ray session: the application master and the executor."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if process.name() == "java" and "io.ray.runtime.runner.worker.DefaultWorker" in command and any(session in part for part in command):
                found[process.pid] = process
    return found


def executor_pid(settings: Settings) -> int:
    """The parent of the marked Python daemon."""
    marked = marked_processes(RUN_VARIABLE, lake_id(settings), "none")
    return next(parent.pid for process in marked if (parent := process.parent()) is not None and parent.name() == "java")


def test_killed_executor_is_replaced_and_a_dead_application_master_shows(tmp_path: Path) -> None:
    settings = lake_settings(tmp_path)
    with engines(settings), ray_cluster() as cluster:
        session = Path(cluster._private.worker._global_node.get_session_dir_path()).name
        host = host_lake(cluster, settings)
        host.start()
        feed, lake = Feed(settings), Lake(settings)
        with Load(feed):
            eventually(lambda: rows_committed(lake) > 0, 60)
            first = executor_pid(settings)
            os.kill(first, signal.SIGKILL)
            killed_s, before = time.monotonic(), rows_committed(lake)
            eventually(lambda: rows_committed(lake) > before + 34, 90, every_s=0.1)
            say("executor replaced, first rows after s:", round(time.monotonic() - killed_s, 1))
            assert host.probe().running
            second = eventually(lambda: (pid := executor_pid(settings)) != first and pid, 20)
            master = next(pid for pid in java_workers(session) if pid not in (first, second))
            os.kill(master, signal.SIGKILL)
            killed_s = time.monotonic()
            probe = eventually(lambda: not (seen := host.probe()).healthy and seen, 60)
            say("dead application master seen after s:", round(time.monotonic() - killed_s, 1), probe)
        # What the controller does with a component that stays degraded.
        os.kill(host.probe().pid, signal.SIGKILL)
        recover(host, lake, rows_committed(lake) - 1)
        report = caught_up(settings)
    assert report.ok, report.to_text()
    assert [one.rows for one in report.comparisons] == [feed.rows, feed.rows, feed.exchanges, feed.exchanges]
