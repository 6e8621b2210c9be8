"""The lake component: one job at a time, and a new job after the query has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from cryptoviz.components import Probe
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings, load_settings
from spark_jobs.streaming import actor as module
from spark_jobs.streaming.actor import LakeActor
from tests.support.waiting import eventually_async


class Job:
    """A lake job that does nothing; all instances are in `made`."""

    made: ClassVar[list[Job]] = []
    fails = False
    gate = threading.Event()

    def __init__(self, settings: Settings, on_other_nodes: object, spark_ended: Callable[[], None]) -> None:
        self.ended = False
        self.spark_ended = spark_ended
        self.calls: list[str] = []
        Job.made.append(self)

    def prepare(self) -> None:
        self.calls.append("prepare")

    def start(self) -> None:
        self.calls.append("start")
        Job.gate.wait(120)
        if Job.fails:
            raise EngineUnavailable("no Kafka", engine="kafka")

    def abandon(self) -> None:
        self.calls.append("abandon")
        Job.gate.set()

    def stop(self) -> None:
        self.calls.append("stop")

    def probe(self) -> Probe:
        return Probe(running=True, healthy=not self.ended, message="the query failed: X" if self.ended else "up to date")


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeActor:
    monkeypatch.setattr("spark_jobs.streaming.job.LakeJob", Job)
    monkeypatch.setattr(module, "log_to_file", lambda settings, name: None)
    monkeypatch.setattr(Job, "made", [])
    Job.gate.set()
    return LakeActor(load_settings(home=tmp_path))


async def test_a_second_start_does_nothing(actor: LakeActor) -> None:
    assert not (await actor.probe()).running
    await actor.start()
    await actor.start()
    assert [job.calls for job in Job.made] == [["start"]]
    assert (await actor.probe()).running


async def test_a_prepared_job_is_the_one_that_is_started(actor: LakeActor) -> None:
    await actor.prepare()
    await actor.prepare()
    assert not (await actor.probe()).running
    await actor.start()
    await actor.prepare()
    assert [job.calls for job in Job.made] == [["prepare", "start"]]


async def test_a_prepared_job_that_was_never_started_is_stopped(actor: LakeActor) -> None:
    await actor.prepare()
    await actor.stop()
    await actor.stop()
    assert [job.calls for job in Job.made] == [["prepare", "stop"]]


async def test_a_job_whose_query_has_ended_is_not_running_and_is_replaced(actor: LakeActor) -> None:
    await actor.start()
    Job.made[0].ended = True
    probe = await actor.probe()
    assert (probe.running, probe.healthy, probe.message) == (False, False, "the query failed: X")
    await actor.start()
    assert [job.calls for job in Job.made] == [["start", "stop"], ["start"]]
    assert (await actor.probe()).running


async def after_its_spark_ended(actor: LakeActor, job: Job) -> None:
    job.ended = True
    await asyncio.to_thread(job.spark_ended)
    assert actor._succession is not None
    await actor._succession


async def test_the_end_of_spark_starts_the_next_at_once_and_stays_in_the_probe_until_the_controller_calls_start(actor: LakeActor) -> None:
    await actor.start()
    await after_its_spark_ended(actor, Job.made[0])
    assert [job.calls for job in Job.made] == [["start", "stop"], ["prepare"]]
    probe = await actor.probe()
    assert (probe.running, probe.message) == (False, "the query failed: X")
    await actor.start()
    assert [job.calls for job in Job.made] == [["start", "stop"], ["prepare", "start"]]
    assert (await actor.probe()).running


async def test_a_stop_ends_the_successor_of_a_job_whose_spark_ended(actor: LakeActor) -> None:
    await actor.start()
    await after_its_spark_ended(actor, Job.made[0])
    await actor.stop()
    assert [job.calls for job in Job.made] == [["start", "stop"], ["prepare", "stop"]]


async def test_a_stopped_job_has_no_successor(actor: LakeActor) -> None:
    await actor.start()
    await actor.stop()
    await after_its_spark_ended(actor, Job.made[0])
    assert [job.calls for job in Job.made] == [["start", "stop"]]


async def test_a_start_that_fails_leaves_nothing_behind(actor: LakeActor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "fails", True)
    with pytest.raises(EngineUnavailable):
        await actor.start()
    assert Job.made[0].calls == ["start", "stop"]
    assert not (await actor.probe()).running


async def test_a_stop_ends_a_start_instead_of_waiting_for_it(actor: LakeActor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "fails", True)
    Job.gate.clear()
    starting = asyncio.create_task(actor.start())
    await eventually_async(lambda: _has_begun(Job.made))
    async with asyncio.timeout(60):
        await actor.stop()
    with pytest.raises(EngineUnavailable):
        await starting
    assert Job.made[0].calls == ["start", "abandon", "stop"]
    assert not (await actor.probe()).running


async def _has_begun(jobs: list[Job]) -> bool:
    return bool(jobs) and jobs[0].calls == ["start"]
