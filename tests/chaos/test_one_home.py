"""Concurrent commands on one home: one succeeds, the others are refused, and none ends another's processes. Real processes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.pipeline import CRYPTOVIZ, environment
from tests.support.processes import kill_all, processes_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]


def begun(env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([CRYPTOVIZ, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_starts_and_a_reset_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = environment(home, 1.0)
    starts = [begun(env, "demo", "--detach") for _ in range(3)]
    try:
        results = [(process.communicate(timeout=240), process.returncode) for process in starts]
        won = [code for _, code in results if code == 0]
        refused = [error for (_, error), code in results if code == 1]
        assert (len(won), len(refused)) == (1, 2), results
        assert all("`cryptoviz demo` (process" in error or "already running" in error for error in refused)
        # The first pipeline runs, and two concurrent resets change neither it nor its data.
        resets = [begun(env, "reset", "--demo", "--yes") for _ in range(2)]
        assert [(process.communicate(timeout=60), process.returncode)[1] for process in resets] == [1, 1]
        listed = subprocess.run([CRYPTOVIZ, "status", "--json"], env=env, capture_output=True, text=True, check=False, timeout=60)
        assert listed.returncode == 0, listed.stderr
        assert json.loads(listed.stdout)["components"]
        # Two concurrent stops: both see it ended.
        ends = [begun(env, "down", "--demo") for _ in range(2)]
        assert [(process.communicate(timeout=120), process.returncode)[1] for process in ends] == [0, 0]
        assert processes_of(home) == []
    finally:
        for process in starts:
            process.kill()
        kill_all(home)


def test_resets_at_once_and_beside_a_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = environment(home, 1.0)
    start = begun(env, "demo")
    try:
        eventually(lambda: (home / ".lock").exists(), 60)
        reset = subprocess.run([CRYPTOVIZ, "reset", "--demo", "--yes"], env=env, capture_output=True, text=True, check=False, timeout=60)
        assert reset.returncode == 1
        assert "`cryptoviz demo` (process" in reset.stderr or "the pipeline runs" in reset.stderr
        assert start.poll() is None
        start.send_signal(signal.SIGINT)
        start.communicate(timeout=60)
        eventually(lambda: processes_of(home) == [], 20)
        resets = [begun(env, "reset", "--demo", "--yes") for _ in range(3)]
        for process in resets:
            output, error = process.communicate(timeout=60)
            assert process.returncode == 0 or "`cryptoviz reset` (process" in error, output + error
        assert any(process.returncode == 0 for process in resets)
        assert not home.exists()
    finally:
        start.kill()
        start.communicate()
        kill_all(home)
