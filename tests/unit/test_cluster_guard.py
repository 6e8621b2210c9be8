"""The root of a cluster's processes: in any case none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cryptoviz.cluster_guard import DETACH, KILL
from cryptoviz.local.process_identity import ProcessIdentity, processes_with, wait_ended
from tests.support.waiting import eventually

# A child in a separate session that ignores SIGTERM, and a daemon whose parent has ended.
TREE = """
import os, signal, subprocess, sys, time
subprocess.Popen(["setsid", sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
subprocess.Popen(["sh", "-c", "setsid sleep 600 & setsid sleep 601 &"]).wait()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
{then}
"""
SLEEP = "time.sleep(600)"


@contextmanager
def guarded(mark: str, then: str = SLEEP, *, leash: bool = True) -> Iterator[tuple[subprocess.Popen[str], int]]:
    read, write = os.pipe()
    command = [
        sys.executable,
        "-m",
        "cryptoviz.cluster_guard",
        str(read if leash else -1),
        os.devnull,
        "--",
        sys.executable,
        "-c",
        TREE.format(then=then),
    ]
    guard = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, pass_fds=(read,), start_new_session=True, env=dict(os.environ) | {"MARK": mark}
    )
    os.close(read)
    try:
        assert guard.stdout is not None
        assert guard.stdout.readline() == "ready\n"
        yield guard, write
    finally:
        for process in processes_with("MARK", mark):
            process.send(signal.SIGKILL)
        guard.kill()
        guard.communicate()
        os.close(write)


def let_go(write: int) -> None:
    """Close the pipe's writer; the descriptor number stays in use until the end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, write)
    os.close(nothing)


def family(mark: str) -> list[ProcessIdentity]:
    return processes_with("MARK", mark)


def test_sigterm_asks_first_and_leaves_nothing(tmp_path: object) -> None:
    mark = f"term-{os.getpid()}"
    with guarded(mark) as (guard, _):
        assert len(eventually(lambda: family(mark) if len(family(mark)) >= 5 else [])) >= 5
        guard.send_signal(signal.SIGTERM)
        assert guard.wait(120) == 7
        assert family(mark) == []


@pytest.mark.parametrize("how", ["word", "end of the pipe"])
def test_the_leash_ends_it(how: str) -> None:
    mark = f"leash-{how}-{os.getpid()}"
    with guarded(mark) as (guard, write):
        if how == "word":
            os.write(write, KILL)
        else:
            let_go(write)
        guard.wait(120)
        assert family(mark) == []


def test_detached_it_outlives_its_starter() -> None:
    mark = f"detached-{os.getpid()}"
    with guarded(mark) as (guard, write):
        os.write(write, DETACH)
        let_go(write)
        eventually(lambda: len(family(mark)) >= 5)
        with pytest.raises(subprocess.TimeoutExpired):
            guard.wait(1)
        # Signals of a terminal do not reach it.
        guard.send_signal(signal.SIGINT)
        guard.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            guard.wait(1)
        guard.send_signal(signal.SIGTERM)
        guard.wait(120)
        assert family(mark) == []


def test_a_second_word_shortens_the_grace() -> None:
    mark = f"twice-{os.getpid()}"
    with guarded(mark, "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)") as (guard, write):
        assert guard.stdout is not None
        assert guard.stdout.readline() == "deaf\n"
        guard.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            guard.wait(1)
        os.write(write, KILL)
        guard.wait(7)  # less than the usual 8 s
        assert family(mark) == []


def test_when_the_command_ends_its_orphans_do() -> None:
    mark = f"ends-{os.getpid()}"
    with guarded(mark, "sys.exit(3)") as (guard, _):
        assert guard.wait(120) == 3
        assert family(mark) == []


def test_a_killed_guard_s_command_is_asked_to_end() -> None:
    mark = f"killed-{os.getpid()}"
    with guarded(mark) as (guard, _):
        root = next(process for process in family(mark) if process.pid != guard.pid)
        guard.kill()
        assert wait_ended([root], 10) == []
