"""How the foreground command ends, with a real control service, or another process in place of the cluster."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from cryptoviz.cli import cluster as cluster_module
from cryptoviz.cli.commands.run import _start
from cryptoviz.cli.leash import Leash, Stop, held_home
from cryptoviz.cli.startup import run_in_foreground
from cryptoviz.cli.terminal import terminal
from cryptoviz.cluster_record import Access, ClusterRecord, read_record, write_record
from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.settings import Settings, dump_settings_file, load_settings
from tests.support.control_server import serving
from tests.support.pipeline import environment
from tests.support.waiting import eventually


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CRYPTOVIZ_HOME", str(tmp_path / "home"))
    with serving(tmp_path / "home") as here:
        here.settings.run_dir.mkdir(mode=0o700, exist_ok=True)
        dump_settings_file(here.settings, here.settings.run_dir / "settings.json")
        yield here.settings


@pytest.fixture
def cluster(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The home is locked, as by the command."""
    with HomeLock(settings.home, "cryptoviz demo"), subprocess.Popen(["sleep", "300"]) as process:
        write_record(settings.home, ClusterRecord(ProcessIdentity.of(process.pid), "127.0.0.1:1", Access.of(settings)))
        yield process
        process.kill()


class Foreground:
    """`run_in_foreground` in a thread."""

    def __init__(self, settings: Settings, cluster: subprocess.Popen[bytes], pool: ThreadPoolExecutor) -> None:
        self.output = io.StringIO()
        record = ClusterRecord(ProcessIdentity.of(cluster.pid), "127.0.0.1:1")
        self.code: Future[int] = pool.submit(run_in_foreground, settings, terminal(file=self.output), record, threading.Event())
        eventually(lambda: "engine" in self.output.getvalue())


def test_it_ends_with_exit_code_0_when_down_stops_the_pipeline(settings: Settings, cluster: subprocess.Popen[bytes]) -> None:
    with ThreadPoolExecutor() as pool:
        foreground = Foreground(settings, cluster, pool)
        down = subprocess.run([sys.executable, "-m", "cryptoviz.cli.main", "down"], env=os.environ, capture_output=True, text=True, check=False)
        code = foreground.code.result(240)
    assert (down.returncode, down.stdout.splitlines()[-1]) == (0, "Stopped."), down.stderr
    assert (code, foreground.output.getvalue().splitlines()[-1]) == (0, "Stopped by `cryptoviz down`.")


def test_a_cluster_that_ends_by_itself_is_an_error(settings: Settings, cluster: subprocess.Popen[bytes]) -> None:
    with ThreadPoolExecutor() as pool:
        foreground = Foreground(settings, cluster, pool)
        cluster.kill()
        code = foreground.code.result(240)
    assert code == 1
    assert "The Ray cluster ended unexpectedly" in foreground.output.getvalue().splitlines()[-1]


def test_down_during_the_start_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program in place of `ray start` that never becomes ready."""
    home = tmp_path / "home"
    for name, value in environment(home, 1.0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cluster_module, "_ray_command", lambda *_: ["sleep", "300"])
    with held_home(load_settings("demo"), "cryptoviz demo") as lock, Leash(lock) as leash, ThreadPoolExecutor() as pool:
        start = pool.submit(_start, load_settings("demo"), terminal(file=io.StringIO()), Stop(), leash, "", detach=False)
        eventually(lambda: start.done() or read_record(home) is not None)
        command = [sys.executable, "-m", "cryptoviz.cli.main", "down", "--demo"]
        down = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
        with pytest.raises(EngineUnavailable, match="stopped by `cryptoviz down` during the start"):
            start.result(240)
    assert (down.returncode, down.stdout.splitlines()[-1]) == (0, "Stopped."), down.stderr
