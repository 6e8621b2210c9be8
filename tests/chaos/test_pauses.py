"""Fault 30 for the lake: the lake job and maintenance are stopped (SIGSTOP) and continued. A superseded process detects it before it does harm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, child_environment, dump_settings_file
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from spark_jobs.streaming.batch_plan import BatchPlan
from spark_jobs.streaming.job import PLAN
from spark_jobs.streaming.start_sweep import StartSweep
from spark_jobs.tables.lease import Holder
from tests.chaos.rig import Figures, Load, Progress, assert_same_sets, rows_committed
from tests.chaos.test_two_jobs import other_home, start_when_free
from tests.support.engines import engines, lake_settings, object_store
from tests.support.lake_job import NAMESPACE, host_lake, lake_apart
from tests.support.lake_tables import TOPIC, TableWriter, delta_rows, plain_rows, price_rows
from tests.support.ray_cluster import ray_on
from tests.support.topics import Feed
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
SHORT = partial(pytest.param, marks=pytest.mark.short)
OURS = [step for step in STEPS if step.name != "gaps"]  # which needs Kafka


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Settings]:
    with object_store(tmp_path, raw_keep_days=None) as settings:
        yield settings


@contextlib.contextmanager
def paused(settings: Settings, what: str, moment: str) -> Iterator[dict[str, Any]]:
    """A child that stops itself at `moment`; at the end it is continued, ends, and returns its outcome."""
    settings_file, result = settings.run_dir / "paused.json", settings.home / "paused-result.json"
    dump_settings_file(settings, settings_file)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.paused_child", what, moment, str(result)],
        env=child_environment({SETTINGS_FILE_VARIABLE: str(settings_file)}), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    said: dict[str, Any] = {}
    try:
        eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, 120)
        yield said
        child.send_signal(signal.SIGCONT)
        assert child.wait(300) == 0
        said.update(json.loads(result.read_text()))
    finally:
        child.kill()
        child.wait(60)


def prices(first_offset: int, ticks: int = 5) -> Any:
    return price_rows([START + (first_offset // 17 + i) * 60_000 for i in range(ticks)], seed=first_offset, first_offset=first_offset)


def same_rows(settings: Settings, rows: int) -> None:
    """Check that every row exists once, for both readers."""
    seen = delta_rows(settings, "prices")
    assert seen["kafka_offset"].to_pylist() == list(range(rows))
    assert plain_rows(settings, "prices").equals(seen)


@pytest.mark.parametrize("moment", ["read", SHORT("delete")])
@pytest.mark.parametrize("planned", [True, False], ids=["planned", "in no plan"])
def test_a_start_that_was_stopped_in_its_sweep_takes_no_file_of_its_successor(store: Settings, moment: str, planned: bool) -> None:
    """The leftover has the name of the successor's batch, since both have the same offsets."""
    writer = TableWriter(store, "prices")
    writer.write(prices(0))
    done = writer.next_offset
    writer.put(prices(done))  # interrupted before its commit
    writer.put(prices(0, 2))  # and a leftover below progress
    client = minio_client(S3Access.of(store.s3))
    cell = S3ConditionalObject(S3Access.of(store.s3), store.s3.lake_bucket, PLAN)
    if planned:
        before = BatchPlan(cell, "before")
        before.take_over()
        before.write({(TOPIC, 0): (done, done + 85)})
    with paused(store, "sweep", moment) as said:
        successor, plan = TableWriter(store, "prices", "successor"), BatchPlan(cell, "successor")
        redo = {key: end for key, (_, end) in plan.take_over().ranges.items() if end > done}
        successor.log.check_ours()
        StartSweep(client, plan, redo, lambda: None).run({"prices": successor.log})
        rows = prices(done)
        plan.write({(TOPIC, 0): (done, done + 85)})
        if plan.avoid:  # like the job's tasks with such a name (`spark_jobs.streaming.write`)
            successor.write(rows.slice(0, 84))
            successor.write(rows.slice(84))
        else:
            successor.write(rows)
        same_rows(store, done + 85)
    assert all("another lake job" in message for message in said["refused"])
    assert len(said["refused"]) >= 2
    same_rows(store, done + 85)


@pytest.mark.parametrize(
    "moment", [SHORT("merged"), "staged", "proved", SHORT("copied"), "committed", "deleted", "check1", SHORT("check2"), "check3"]
)
def test_a_round_that_was_stopped_anywhere_loses_and_doubles_nothing(store: Settings, moment: str) -> None:
    """With leftovers of an interrupted merge, so that both rounds sweep and merge the same files."""
    writer = TableWriter(store, "prices")
    for _ in range(4):
        writer.write(prices(writer.next_offset))
    with contextlib.suppress(RuntimeError):
        run_round(RoundContext(store, store.home / "scratch", at=cut_off), OURS)
    with paused(store, "round", moment):
        assert not run_round(RoundContext(store, store.home / "scratch"), OURS).failures
        assert delta_rows(store, "prices")["kafka_offset"].to_pylist() == list(range(writer.rows))
        writer.write(prices(writer.next_offset))
        run_round(RoundContext(store, store.home / "scratch"), OURS)
    assert delta_rows(store, "prices")["kafka_offset"].to_pylist() == list(range(writer.rows))
    assert not run_round(RoundContext(store, store.home / "scratch"), OURS).failures
    same_rows(store, writer.rows)


def cut_off(stage: str) -> None:
    """A kill here would leave an uncommitted copy."""
    if stage == "copied":
        raise RuntimeError("cut off")


def stop_tree(pid: int) -> list[psutil.Process]:
    """Stop a process and its descendants, which do not include the workers of its Spark executor."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for one in family:
        os.kill(one.pid, signal.SIGSTOP)
    return family


def holder_home(settings: Settings) -> str:
    """Home of the pipeline that holds the lake's lease."""
    seen = S3ConditionalObject(S3Access.of(settings.s3), settings.s3.lake_bucket, "_leases/lake.json").read()
    assert seen is not None
    return Holder.from_json(seen.content).home


def drivers_pause(tmp_path: Path, pause_s: float, lease_s: float) -> None:
    """Stopped for longer than its lease: another pipeline takes over; the first, continued, reports this and writes nothing."""
    settings = lake_settings(tmp_path / "one", lease_s=lease_s)
    theirs = other_home(settings, tmp_path / "two")
    figures = Figures(f"fault 30, {pause_s:.0f} s")
    # Twice the CPUs of a job: the stopped job keeps its CPUs.
    with engines(settings), ray_on(4, NAMESPACE) as cluster, lake_apart(cluster, theirs, "lake-1") as second:
        feed = Feed(settings)
        first = host_lake(cluster, settings, "lake-0")
        first.start()
        with Load(feed):
            eventually(lambda: rows_committed(settings) > 0, 60)
            overtaken = pause_s > lease_s + 1
            stopped = stop_tree(first.probe().pid)
            fault = Progress(settings, [feed])

            def wake() -> None:
                """On a slow machine the other may need longer than the pause to take the lease; Spark starts after that."""
                threading.Event().wait(pause_s)
                try:
                    if overtaken:
                        eventually(lambda: holder_home(settings) == str(theirs.home), 60)
                finally:
                    for one in stopped:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            one.resume()

            with ThreadPoolExecutor(1) as waker:
                woken = waker.submit(wake)
                if overtaken:
                    start_when_free(second)
                    figures.add("taken over", fault.made())
                woken.result()
            if overtaken:
                eventually(lambda: not (seen := first.probe()).healthy and "another lake job" in seen.message, 60)
                assert second.probe().healthy
            figures.add("gone on", Progress(settings, [feed]).made(batches=5))
        assert_same_sets(settings, [feed])
        for host in (second, first) if overtaken else (first,):
            host.stop()
    figures.tell()


def test_a_lake_job_that_was_stopped_for_longer_than_its_lease_notices(tmp_path: Path) -> None:
    drivers_pause(tmp_path, 30.0, 6.0)


@pytest.mark.parametrize("pause_s", [5.0, 20.0, 60.0, 120.0])
def test_a_lake_job_that_was_stopped(tmp_path: Path, pause_s: float) -> None:
    drivers_pause(tmp_path, pause_s, 15.0)
