"""One command at a time on a home, with real processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz.errors import PreflightError
from cryptoviz.local.home import LOCK, claim, remove_data
from cryptoviz.local.home_lock import HomeLock, _holder
from tests.support.waiting import eventually

HOLD = """
import sys
from pathlib import Path
from cryptoviz.errors import PreflightError
from cryptoviz.local.home_lock import HomeLock
try:
    with HomeLock(Path(sys.argv[1]), "cryptoviz demo"):
        print("held", flush=True)
        sys.stdin.read()
except PreflightError as error:
    print(f"refused: {error}", flush=True)
"""


def holder(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def is_held(home: Path) -> str:
    """Description of the holder of a home's lock; empty if it is free."""
    try:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return ""


def test_the_second_is_refused_with_the_holder(tmp_path: Path) -> None:
    claim(tmp_path)
    assert is_held(tmp_path) == ""
    with holder(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(PreflightError, match=rf"`cryptoviz demo` \(process {first.pid}, since 20\d\d-.*Z\)"):
            HomeLock(tmp_path, "cryptoviz reset").acquire()
        assert str(first.pid) in is_held(tmp_path)
        first.kill()
    # The kernel releases the lock of a killed process.
    with HomeLock(tmp_path, "cryptoviz reset"):
        assert f"process {os.getpid()}" in is_held(tmp_path)
    assert is_held(tmp_path) == ""


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    claim(tmp_path)
    started = [holder(tmp_path) for _ in range(6)]
    try:
        lines = [process.stdout.readline() for process in started if process.stdout]
        assert sorted(line.split(":")[0].strip() for line in lines) == ["held", *["refused"] * 5]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_an_heir_keeps_the_lock(tmp_path: Path) -> None:
    claim(tmp_path)
    with HomeLock(tmp_path, "cryptoviz demo") as lock:
        heir = subprocess.Popen(["sleep", "600"], pass_fds=(lock.descriptor,))
        lock.name_holder(heir.pid)
    try:
        assert f"`cryptoviz demo` (process {heir.pid}," in is_held(tmp_path)
    finally:
        heir.kill()
        heir.wait()
    assert is_held(tmp_path) == ""


def test_a_lock_whose_file_a_reset_removed_is_not_taken_for_the_home_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start opens the file, the reset that holds it removes the home and ends, and the start gets the lock of a deleted file."""
    home = tmp_path / "home"
    claim(home)
    reset = HomeLock(home, "cryptoviz reset")
    reset.acquire()
    real = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            calls.append(descriptor)
            remove_data(home)
            claim(home)
            reset.release()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with HomeLock(home, "cryptoviz demo") as lock:
        assert os.path.samestat(os.fstat(lock.descriptor), (home / LOCK).stat())
        assert "`cryptoviz demo`" in is_held(home)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "other").write_text("kept")
    (tmp_path / LOCK).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic"):
        HomeLock(tmp_path, "cryptoviz demo").acquire()
    eventually(lambda: (tmp_path / "other").read_text() == "kept")
