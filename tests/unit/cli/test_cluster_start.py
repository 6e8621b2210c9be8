"""Failed starts of Ray, with a program in place of `ray start` that prints Ray's messages."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz import cluster_record
from cryptoviz.cli import cluster
from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.ownership import make_private
from cryptoviz.settings import Settings, claim_home, load_settings

TOO_SLOW = "Exception: The current node timed out during startup. This could happen because ..."


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


def ray_says(monkeypatch: pytest.MonkeyPatch, starts: Path, *texts: str) -> None:
    """The n-th start prints the n-th text; a successful start keeps running."""
    cases = "".join(f"{number}) echo '{text}';;" for number, text in enumerate(texts, 1))
    script = (
        f"echo start >> {starts}; case $(wc -l < {starts}) in {cases} esac; case $(wc -l < {starts}) in {len(texts)}) exec sleep 60;; esac; exit 1"
    )
    monkeypatch.setattr(cluster, "_ray_command", lambda *_: ["sh", "-c", script])


def test_a_node_that_was_too_slow_is_started_again(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = tmp_path / "starts"
    ray_says(monkeypatch, starts, TOO_SLOW, TOO_SLOW, "Ray runtime started.")
    begun: list[int] = []
    record = cluster.start_ray(settings, meanwhile=lambda: begun.append(1))
    try:
        assert record.process.is_alive
        assert starts.read_text() == "start\n" * 3
        assert len(begun) == 3
    finally:
        assert cluster.stop_ray(settings, record)
    assert not record.process.is_alive
    assert cluster._started == []  # waited for, so that Python warns of none


@pytest.mark.parametrize(("text", "count"), [(TOO_SLOW, 3), ("ConnectionError: a port is taken", 1)])
def test_a_node_that_never_comes_up_is_an_error_with_the_end_of_its_log(
    settings: Settings, tmp_path: Path, text: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    ray_says(monkeypatch, starts, *[text] * 3, "Ray runtime started.")
    with pytest.raises(EngineUnavailable, match=f"(?s)Ray did not start.*{text[:20]}"):
        cluster.start_ray(settings)
    assert starts.read_text() == "start\n" * count
    assert cluster_record.read_record(settings.home) is None


def test_the_process_that_creates_the_controller_waits_and_ends_with_its_command(settings: Settings) -> None:
    claim_home(settings)
    make_private(settings.run_dir)
    with cluster.ControllerLaunch(settings) as launch:
        first = launch.begin()
        second = launch.begin()
        assert first.returncode == -signal.SIGKILL
        assert second.poll() is None
        assert not cluster_record.settings_file(settings).exists()  # the start of Ray writes it
    assert second.returncode == -signal.SIGKILL


def test_without_a_command_that_waits_no_cluster_is_joined() -> None:
    command = [sys.executable, "-m", "control", "--address", "127.0.0.1:1", "--wait"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (1, "")
