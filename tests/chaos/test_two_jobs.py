"""Fault 13 for the lake: two pipelines on one lake. The second is refused with the name of the first, and takes over when that has ended."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from cryptoviz.settings import Settings
from spark_jobs.tables.lease import LeaseHeld
from tests.chaos.rig import ROUNDS, Figures, Load, Progress, assert_same_sets, rows_committed
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import LakeApart, LakeHost, host_lake, ray_cluster
from tests.support.measure import say
from tests.support.ports import free_port
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


def passed(settings: Settings, rows: int) -> bool:
    return rows_committed(settings) > rows


def other_home(settings: Settings, home: Path) -> Settings:
    """Another pipeline with the same Kafka and the same lake."""
    return settings.model_copy(update={"home": home, "lake": settings.lake.model_copy(update={"ui_port": free_port()})})


def test_of_two_lake_jobs_one_works_and_the_other_says_who(tmp_path: Path) -> None:
    settings = lake_settings(tmp_path / "one")
    figures = Figures("fault 13")
    with engines(settings), ray_cluster() as cluster:
        feed = Feed(settings)
        at_work = host_lake(cluster, settings, "lake-0")
        at_work.start()
        with Load(feed):
            for number in range(ROUNDS):
                waiting = host_lake(cluster, other_home(settings, tmp_path / f"other-{number}"), f"lake-{number + 1}")
                eventually(lambda: rows_committed(settings) > 0, 60)
                pid = at_work.probe().pid
                with pytest.raises(LeaseHeld, match=f"another lake job holds the lease .* process {pid}, since 20.* until 20"):
                    waiting.start()
                before = rows_committed(settings)
                eventually(partial(passed, settings, before + 170), 30)
                assert at_work.probe().healthy
                cluster.kill(at_work.actor)  # permanently, like a lost machine
                gone = Progress(settings, [feed])
                start_when_free(waiting)
                figures.add("takeover from a dead pipeline", gone.made())
                at_work = waiting
        assert_same_sets(settings, [feed])
        os.kill(at_work.probe().pid, signal.SIGKILL)
    figures.tell()


def start_when_free(host: LakeHost | LakeApart) -> None:
    """Retry, like the controller."""

    def started() -> bool:
        try:
            host.start()
        except LeaseHeld as refused:
            say("refused:", str(refused)[:160])
            return False
        return True

    eventually(started, 60, every_s=2)
