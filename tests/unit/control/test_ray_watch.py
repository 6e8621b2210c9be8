"""The program that a node's start becomes: real children, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from control import ray_watch

# Starts children in the order of its arguments, says their ids once they are ready, and becomes the watch, as ray_head does.
PARENT = """
import os, signal, subprocess, sys
program, *children = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
started = []
for child in children:
    name, script = child.split("=", 1)
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    started.append((name, process.pid))
print(*(pid for _, pid in started), flush=True)
os.execv(sys.executable, [sys.executable, "-I", "-S", program, *(f"{name}={pid}" for name, pid in started if name != "dashboard")])
"""
CHILD = """
import signal
signal.signal(signal.SIGTERM, signal.{})
signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM}})
print(flush=True)
while True:
    signal.pause()
"""
WAITS, IGNORES = CHILD.format("SIG_DFL"), CHILD.format("SIG_IGN")


def start(*children: str) -> tuple[subprocess.Popen[str], list[int]]:
    arguments = [sys.executable, "-c", PARENT, str(Path(ray_watch.__file__)), *children]
    watch = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    return watch, [int(pid) for pid in watch.stdout.readline().split()]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("child", [WAITS, IGNORES], ids=["ends", "ignores it"])
def test_sigterm_ends_every_child(child: str) -> None:
    watch, pids = start(f"raylet={child}", f"gcs_server={child}")
    watch.send_signal(signal.SIGTERM)
    output, errors = watch.communicate(timeout=300)
    assert (output, errors, watch.returncode) == ("", "", 1)
    assert [is_gone(pid) for pid in pids] == [True, True]


def test_the_end_of_a_process_is_reported_and_ends_the_others() -> None:
    watch, pids = start(f"raylet={WAITS}", f"gcs_server={IGNORES}")
    os.kill(pids[0], signal.SIGKILL)
    output, errors = watch.communicate(timeout=300)
    assert (output, errors, watch.returncode) == ("Ray's raylet ended (exit code -9); its other processes are ended\n", "", 1)
    assert is_gone(pids[1])


def test_the_end_of_another_child_changes_nothing() -> None:
    watch, pids = start(f"raylet={WAITS}", f"dashboard={WAITS}")
    os.kill(pids[1], signal.SIGKILL)
    os.kill(pids[0], signal.SIGKILL)  # the first message is about the raylet, so the dashboard's end was not taken for one
    output, _ = watch.communicate(timeout=300)
    assert output == "Ray's raylet ended (exit code -9); its other processes are ended\n"


def test_two_signals_end_the_children_once() -> None:
    watch, pids = start(f"raylet={IGNORES}", f"gcs_server={WAITS}")
    watch.send_signal(signal.SIGTERM)
    watch.send_signal(signal.SIGTERM)
    output, errors = watch.communicate(timeout=300)
    assert (output, errors, watch.returncode) == ("", "", 1)
    assert [is_gone(pid) for pid in pids] == [True, True]


def test_a_log_that_takes_no_line_does_not_keep_the_others_from_being_ended() -> None:
    """As on a full disk, a likely reason for the end of a process of Ray."""
    watch, pids = start(f"raylet={WAITS}", f"gcs_server={WAITS}")
    assert watch.stdout is not None
    watch.stdout.close()
    os.kill(pids[0], signal.SIGKILL)
    _, errors = watch.communicate(timeout=300)
    assert (errors, watch.returncode) == ("", 1)
    assert is_gone(pids[1])
