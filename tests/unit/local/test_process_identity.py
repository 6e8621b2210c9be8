"""Real processes, identified independent of clocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from cryptoviz.local.process_identity import ProcessIdentity, descendants, processes_with, wait_ended
from tests.support.waiting import eventually

STEPS_S = (-3600, -2, 2, 3600, 365 * 86_400)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_it_lives_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    process = ProcessIdentity.of(sleeper.pid)
    assert (process.is_alive, process.has_ended) == (True, False)
    assert process.send(signal.SIGKILL)
    # a zombie, since its exit code was not read
    assert wait_ended([process], 5) == []
    assert (process.is_alive, process.has_ended) == (False, True)
    sleeper.wait()
    assert (process.is_alive, process.has_ended) == (False, True)
    assert not process.send(signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        ProcessIdentity.of(sleeper.pid)


def test_another_process_of_the_same_id_is_another(sleeper: subprocess.Popen[bytes]) -> None:
    earlier = replace(ProcessIdentity.of(sleeper.pid), start_ticks=1)
    assert earlier.has_ended
    assert not earlier.send(signal.SIGKILL)
    assert sleeper.poll() is None


@pytest.mark.parametrize("other", [{"boot": "another"}, {"namespaces": "pid:[1]"}], ids=["boot", "namespace"])
def test_a_process_of_another_boot_or_container_is_neither_alive_nor_dead(other: dict[str, Any]) -> None:
    process = replace(ProcessIdentity.own(), **other)
    assert (process.is_alive, process.has_ended, process.send(0)) == (False, False, False)


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_step_of_the_wall_clock_changes_nothing(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like the kernel, this test keeps start ticks and moves the boot time with the clock."""
    before, boot_time_s, now_s = ProcessIdentity.own(), psutil.boot_time(), time.time()
    created_s = psutil.Process().create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time_s + step_s)
    monkeypatch.setattr("time.time", lambda: now_s + step_s)
    # The earlier identification moves with the clock.
    assert psutil.Process().create_time() - created_s == pytest.approx(step_s)
    assert ProcessIdentity.own() == before
    assert before.is_alive


def test_a_name_that_looks_like_more_fields_is_a_name() -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'x) R 1 2 (', 0, 0, 0); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        before = ProcessIdentity.of(process.pid)
        assert process.stdout.readline() == b"ready\n"
        assert ProcessIdentity.of(process.pid) == before
        assert process.pid in [each.pid for each in descendants(os.getpid())]
        process.kill()


def test_descendants_are_found_over_generations(sleeper: subprocess.Popen[bytes]) -> None:
    del sleeper
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); sys.stdin.read(); p.kill()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert [each.pid for each in descendants(child.pid)] == [grandchild]
        assert {child.pid, grandchild} <= {each.pid for each in descendants(os.getpid())}
        assert child.stdin is not None
        child.stdin.close()


def test_processes_are_found_by_their_environment() -> None:
    with subprocess.Popen(["sleep", "600"], env={"MARK": "a=b c", "PATH": os.environ["PATH"]}) as marked:
        eventually(lambda: [each.pid for each in processes_with("MARK", "a=b c")] == [marked.pid])
        assert processes_with("MARK", "a=b") == []
        marked.kill()
