"""Faults 12 and 14: Ray's raylet or GCS is killed, and the pipeline gets SIGTERM. No process is left, and the next start works in the same home."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.idle import kind_of
from cryptoviz.client import AsyncControlClient
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import load_settings_file
from tests.chaos.pipeline_rig import Recovery, assert_exact, live
from tests.chaos.rig import ROUNDS, Figures
from tests.support.measure import say
from tests.support.pipeline import CRYPTOVIZ, Demo, environment
from tests.support.processes import kill_all, names_of, processes_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2400)]

RAYLET, GCS = "raylet", "ray gcs"
END_S = 30.0
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextlib.contextmanager
def foreground(home: Path, env: dict[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Demo]]:
    """`cryptoviz demo` in the foreground, whose components all run; no process is left."""
    with log.open("wb") as output:
        process = subprocess.Popen([CRYPTOVIZ, "demo"], env=env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:

        def ready() -> Demo:
            assert process.poll() is None, log.read_text()
            assert "Ctrl-C stops everything" in log.read_text(), log.read_text()
            return Demo(load_settings_file(home / "run" / "settings.json"), env)

        demo = eventually(ready, 180, 0.2)
        demo.await_rows()
        yield process, demo
    finally:
        process.kill()
        process.wait()
        kill_all(home)


def ended(process: subprocess.Popen[bytes], home: Path, log: Path) -> int:
    """Exit code of the command, after which no process is left."""
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{names_of(processes_of(home))} still run; {log.read_text()}") from None
    eventually(lambda: not names_of(processes_of(home)), 5, 0.1)
    return code


async def order_of_the_end(demo: Demo, started: threading.Event) -> list[str]:
    """What a client sees of the end: NOT_SERVING, and the first component that stops."""
    seen: list[str] = []
    metadata = (("authorization", f"Bearer {demo.settings.token_file.read_text().strip()}"),)

    async def health() -> None:
        async with grpc.aio.insecure_channel(demo.settings.control.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=60)
            async for answer in watch:
                started.set()
                if answer.status == NOT_SERVING:
                    seen.append("NOT_SERVING")
                    return

    async def states() -> None:
        with contextlib.suppress(CryptoVizError):
            async with AsyncControlClient.from_settings(demo.settings, retry=None) as client:
                async for pipeline in client.watch(timeout_s=60):
                    if any(str(one.state) == "STOPPED" for one in pipeline.components):
                        seen.append("STOPPED")
                        return

    await asyncio.gather(health(), states())
    return seen


def terminated(process: subprocess.Popen[bytes], demo: Demo) -> None:
    """One SIGTERM to the command, watched by a client."""
    started, result = threading.Event(), []
    watcher = threading.Thread(target=lambda: result.append(asyncio.run(order_of_the_end(demo, started))))
    watcher.start()
    assert started.wait(20)
    process.send_signal(signal.SIGTERM)
    watcher.join(60)
    assert result == [["NOT_SERVING", "STOPPED"]]


def terminated_twice(process: subprocess.Popen[bytes], demo: Demo) -> None:
    """The second one while the first drains."""
    process.send_signal(signal.SIGTERM)
    with demo.control() as client:
        client.wait(10, lambda pipeline: any(str(one.state) == "STOPPING" for one in pipeline.components))
    process.send_signal(signal.SIGTERM)


def terminated_all(process: subprocess.Popen[bytes], demo: Demo) -> None:
    """As a machine that shuts down: every process at once, also the engines."""
    for one in processes_of(demo.settings.home):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    del process


def killed(kind: str, demo: Demo) -> None:
    (victim,) = (one for one in processes_of(demo.settings.home) if kind_of(one) == kind)
    victim.kill()


ENDS = {
    "SIGTERM": (0, ""),
    RAYLET: (1, "The Ray cluster ended unexpectedly"),
    "SIGTERM twice": (130, "Interrupted a second time"),
    "SIGTERM to all processes": (None, ""),
    GCS: (1, "The Ray cluster ended unexpectedly"),
}
"""Exit code and last words of the command."""


def test_a_cluster_that_ended_leaves_no_process_and_its_next_start_works(tmp_path: Path) -> None:
    home, log, figures = tmp_path / "home", tmp_path / "output", Figures("faults 12 and 14")
    env = environment(home, 0.5)
    back: Recovery | None = None
    for last, how in itertools.pairwise(["", *list(ENDS) * ROUNDS, ""]):
        with foreground(home, env, log) as (process, demo):
            if back is not None:
                figures.add(f"start after {last}", back.made(demo))
            known = len(live(demo))
            eventually(lambda more=known + 100: len(live(demo)) >= more, 60, 0.3)  # type: ignore[misc]
            if how:
                end(how, process, demo, log)
                back = Recovery()
            else:
                assert_exact(demo)
    figures.tell()


def end(how: str, process: subprocess.Popen[bytes], demo: Demo, log: Path) -> None:
    """Make the cluster end, and check what the command says of it."""
    asked_s = time.monotonic()
    if how in (RAYLET, GCS):
        killed(how, demo)
    else:
        {"SIGTERM": terminated, "SIGTERM twice": terminated_twice, "SIGTERM to all processes": terminated_all}[how](process, demo)
    code = ended(process, demo.settings.home, log)
    say(f"{how}: ended after {time.monotonic() - asked_s:.1f} s, exit code {code}")
    expected, words = ENDS[how]
    assert expected is None or code == expected, log.read_text()
    assert words in log.read_text()
