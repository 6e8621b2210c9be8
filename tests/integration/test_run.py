"""`cryptoviz demo` in the foreground: output, and no leftovers after Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cryptoviz.client import ControlClient
from cryptoviz.cluster_record import ClusterRecord, write_record
from cryptoviz.errors import CryptoVizError
from cryptoviz.local.home import claim
from cryptoviz.local.process_identity import ProcessIdentity
from cryptoviz.settings import load_settings_file
from tests.support.pipeline import CRYPTOVIZ, environment
from tests.support.processes import kill_all, names_of, processes_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]


def test_interrupt_during_the_start_ends_everything_with_exit_code_0(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen([CRYPTOVIZ, "demo"], env=environment(home, 1.0), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:

        def kafka_runs() -> bool:
            assert process.poll() is None, process.communicate()[0]
            try:
                with ControlClient.from_settings(load_settings_file(home / "run" / "settings.json")) as client:
                    return str(client.get("kafka").state) == "RUNNING"
            except CryptoVizError:
                return False

        eventually(kafka_runs, 240, 0.3)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    finally:
        end(process)
        left = kill_all(home)
    assert process.returncode == 0, output
    assert left == []
    assert "REPLAYED DATA" in output
    removed = subprocess.run([CRYPTOVIZ, "reset", "--demo", "--yes"], env=environment(home, 1.0), capture_output=True, text=True, check=False)
    assert removed.returncode == 0, removed.stderr
    assert not home.exists()


def test_down_in_another_shell_ends_every_command_of_the_pipeline_with_exit_code_0(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = environment(home, 1.0)
    demo = started_demo(home, env)
    watching: list[subprocess.Popen[str]] = []
    try:
        said(demo, "Ctrl-C stops everything")
        for command in (["status", "--watch"], ["logs", "kafka", "--follow"]):
            watching.append(subprocess.Popen([CRYPTOVIZ, *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            said(watching[-1], "kafka")
        down = subprocess.run([CRYPTOVIZ, "down", "--demo"], env=env, capture_output=True, text=True, timeout=300, check=False)
        ended = [(process.communicate(timeout=300)[0], process.returncode) for process in (demo, *watching)]
    finally:
        for process in (demo, *watching):
            end(process)
        none_left(home)
    assert (down.returncode, down.stdout.splitlines()[-1]) == (0, "Stopped.")
    assert [(output.splitlines()[-1], code) for output, code in ended] == [
        ("Stopped by `cryptoviz down`.", 0), ("The pipeline was stopped.", 0), ("The pipeline was stopped.", 0)
    ]  # fmt: skip


def test_a_used_port_is_reported_with_its_process_and_setting_before_anything_starts(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", 1.0)
    with socket.create_server(("127.0.0.1", int(env["CRYPTOVIZ_KAFKA__PORT"]))):
        done = subprocess.run([CRYPTOVIZ, "demo"], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "CRYPTOVIZ_KAFKA__PORT" in done.stderr
    assert env["CRYPTOVIZ_KAFKA__PORT"] in done.stderr
    assert processes_of(tmp_path) == []


def test_a_start_that_fails_does_not_blame_the_stop_of_an_earlier_cluster(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = environment(home, 1.0)
    claim(home)
    write_record(home, ClusterRecord(replace(ProcessIdentity.own(), start_ticks=1), "127.0.0.1:1", stopping=True))
    with socket.create_server(("127.0.0.1", int(env["CRYPTOVIZ_KAFKA__PORT"]))):
        done = subprocess.run([CRYPTOVIZ, "demo"], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "CRYPTOVIZ_KAFKA__PORT" in done.stderr


def test_wrong_setting_is_named_with_its_value(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", 1.0) | {"CRYPTOVIZ_COLLECT__TICK_S": "often"}
    done = subprocess.run([CRYPTOVIZ, "demo"], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "CRYPTOVIZ_COLLECT__TICK_S" in done.stderr
    assert "often" in done.stderr


def started_demo(home: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([CRYPTOVIZ, "demo"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process: subprocess.Popen[str], text: str) -> None:
    """Read a demo's output up to a line that contains `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError("".join(lines))


def end(process: subprocess.Popen[str]) -> None:
    """Kill it if it runs, and close its output, which processes that it started may hold open."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def none_left(home: Path) -> None:
    """Check that no process of this home is left; a remaining process is killed, so that it does not affect other tests."""
    try:
        eventually(lambda: not names_of(processes_of(home)), 60, 0.2)
    finally:
        assert kill_all(home) == []


@pytest.mark.parametrize(
    ("moment", "signals"),
    [
        ("Starting Ray", [signal.SIGINT]),
        ("Starting the controller", [signal.SIGTERM, signal.SIGINT]),
        ("Ctrl-C stops everything", [signal.SIGINT, signal.SIGINT]),
        ("Ctrl-C stops everything", [signal.SIGHUP, signal.SIGTERM, signal.SIGTERM]),
        ("Starting the controller", [signal.SIGKILL]),
    ],
    ids=["interrupted start", "two in the start", "two at once", "three at once", "killed"],
)
def test_signals_at_any_moment_leave_no_process(tmp_path: Path, moment: str, signals: list[signal.Signals]) -> None:
    home = tmp_path / "home"
    env = environment(home, 1.0)
    process = started_demo(home, env)
    try:
        said(process, moment)
        for number in signals:
            process.send_signal(number)
        process.communicate(timeout=300)
        # The kernel merges two equal signals that arrive before the first is handled: then it is a single Ctrl-C of a running pipeline.
        merged = len(signals) > len(set(signals)) == 1
        assert process.returncode in ((-signal.SIGKILL,) if signal.SIGKILL in signals else (0, 130) if merged else (130,))
    finally:
        end(process)
        none_left(home)
    # The next command works.
    removed = subprocess.run([CRYPTOVIZ, "reset", "--demo", "--yes"], env=env, capture_output=True, text=True, check=False)
    assert removed.returncode == 0, removed.stderr
    assert not home.exists()
