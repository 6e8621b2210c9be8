"""Real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from cryptoviz.engines.process import ChildProcess, tail
from cryptoviz.settings import child_environment
from cryptoviz.telemetry.log_rotation import ROTATE_BYTES
from tests.support.waiting import eventually

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
STUBBORN = (sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def python(code: str, log: Path, **more: Any) -> ChildProcess:
    return ChildProcess("child", (sys.executable, "-c", code), log, **more)


def ended_well(child: ChildProcess) -> bool:
    return child.poll() == 0


def test_stop_asks_first(tmp_path: Path) -> None:
    child = python(
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); time.sleep(600)", tmp_path / "log"
    )
    child.start()
    pid = child.pid
    assert pid is not None
    assert child.running
    eventually(lambda: child.tail() == "ready")
    assert child.stop() == 7
    assert gone(pid)
    assert child.pid is None
    assert child.stop() is None


def test_stop_kills_who_does_not_listen(tmp_path: Path) -> None:
    child = ChildProcess("child", STUBBORN, tmp_path / "log")
    child.start()
    eventually(lambda: child.tail() == "ready")
    assert child.stop(grace_s=0.2) == -signal.SIGKILL


def test_stop_takes_grandchildren_along(tmp_path: Path) -> None:
    child = python("import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)", tmp_path / "log")
    child.start()
    grandchild = int(eventually(child.tail))
    child.stop()
    eventually(lambda: gone(grandchild))


def test_start_is_idempotent_and_works_again_after_an_end(tmp_path: Path) -> None:
    child = ChildProcess("child", SLEEP, tmp_path / "log")
    child.start()
    first = child.pid
    child.start()
    assert child.pid == first
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child.poll() == -signal.SIGKILL)
    assert not child.running
    child.start()
    assert child.running
    assert child.pid != first
    child.stop()


def test_output_is_appended(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    for word in ("one", "two"):
        child = python(f"import sys; print({word!r}); print('err', file=sys.stderr)", log)
        child.start()
        eventually(partial(ended_well, child))
        child.stop()
    assert sorted(log.read_text().split()) == ["err", "err", "one", "two"]


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (ROTATE_BYTES + 1))
    child = python("print('new')", log)
    child.start()
    eventually(lambda: child.poll() == 0)
    child.stop()
    assert log.read_text() == "new\n"
    assert (tmp_path / "log.1").stat().st_size == ROTATE_BYTES + 1


def test_a_missing_program_says_so_in_the_log(tmp_path: Path) -> None:
    child = ChildProcess("child", (str(tmp_path / "nothing"),), tmp_path / "log")
    child.start()
    eventually(lambda: child.poll() == 1)
    assert f"cannot run {tmp_path / 'nothing'}" in child.tail()
    child.stop()


def test_an_engine_gets_no_key_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINMARKETCAP_API_KEY", "canary")
    child = python("import os; print(sorted(os.environ))", tmp_path / "log", env=child_environment({"MINIO_ROOT_USER": "u"}))
    child.start()
    eventually(lambda: child.poll() == 0)
    child.stop()
    assert "MINIO_ROOT_USER" in child.tail()
    assert "COINMARKETCAP_API_KEY" not in child.tail()


def test_the_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    child = ChildProcess("child", SLEEP, tmp_path / "log")
    asking = threading.Thread(target=child.start)
    asking.start()
    asking.join()
    # Long enough for a parent-death signal, if the calling thread were the parent.
    with pytest.raises(AssertionError, match="not true"):
        eventually(lambda: not child.running, timeout_s=0.5)
    child.stop()


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_the_child_dies_with_its_parent(tmp_path: Path, how: str) -> None:
    end = "os.kill(os.getpid(), 9)" if how == "kill" else "os._exit(3)"
    code = f"""
import os, sys
from pathlib import Path
from cryptoviz.log import configure_logging
from cryptoviz.engines.process import ChildProcess
configure_logging()
child = ChildProcess("child", {STUBBORN!r}, Path({str(tmp_path / "log")!r}))
child.start()
print(child.pid, flush=True)
sys.stdin.readline()
{end}
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        eventually(lambda: tail(tmp_path / "log", 1) == "ready")
        assert not gone(pid)
        parent.stdin.write("\n")
        parent.stdin.flush()
        parent.wait(60)
    eventually(lambda: gone(pid))
