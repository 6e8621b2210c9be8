"""A log on a full disk: what a component does never fails because of it, and the log says later how many lines are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryptoviz.log import LogFormat, configure_logging, get_logger
from cryptoviz.settings import load_settings
from cryptoviz.telemetry import log_files
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.telemetry.log_sink import LogSink


class Disk:
    """A file on a disk that may be full."""

    def __init__(self) -> None:
        self.content = b""
        self.room = 1 << 20

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = data[: self.room]
        self.content += taken
        self.room -= len(taken)
        return len(taken)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("form", "about"),
    [
        ("logfmt", 'event=lines_not_written lines=3 reason="No space left on device"'),
        ("json", '{"event": "lines_not_written", "lines": 3, "reason": "No space left on device"}'),
    ],
)
def test_lines_are_dropped_and_counted_while_the_disk_is_full(form: LogFormat, about: str) -> None:
    disk = Disk()
    sink = LogSink(disk, form)
    sink.write("first")
    sink.write("\n")
    disk.room = 0
    for _ in range(3):
        assert sink.write("lost\n") == 5
    disk.room = 1000
    sink.write("last\n")
    assert disk.content.decode().splitlines() == ["first", about, "last"]


def test_a_line_that_was_cut_off_is_ended_and_counts_as_lost() -> None:
    disk = Disk()
    sink = LogSink(disk)
    disk.room = 3
    sink.write("cut off\n")
    disk.room = 1000
    sink.write("last\n")
    assert disk.content.decode().splitlines() == ["cut", 'event=lines_not_written lines=1 reason="No space left on device"', "last"]


def test_a_thread_that_logs_into_a_closed_file_does_not_fail(tmp_path: Path) -> None:
    """A component that starts again opens its file again, beside threads of its earlier run."""
    sink = LogSink((tmp_path / "log").open("ab", buffering=0))
    sink.close()
    assert sink.write("late\n") == 5


def test_there_is_a_file_at_every_moment_of_another_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home=tmp_path)

    class Watched(dict[str, object]):
        def __setitem__(self, name: str, tee: object) -> None:
            # As another thread that logs now.
            assert name == "first" or log_files._Router._tee() is not None
            super().__setitem__(name, tee)

    monkeypatch.setattr(log_files, "_tees", Watched())
    log_to_file(settings, "first")
    log_to_file(settings, "second")
    assert list(log_files._tees) == ["second"]
    configure_logging()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_component_on_a_full_disk_logs_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home=tmp_path)
    monkeypatch.setattr("cryptoviz.telemetry.log_files.log_path", lambda *_: Path("/dev/full"))
    with open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123 (as a worker's stderr)
        monkeypatch.setattr(sys, "stderr", full)
        log_to_file(settings, "collector")
        try:
            for number in range(3000):
                get_logger("collector").warning("tick_dropped", number=number)
        finally:
            monkeypatch.undo()
            log_to_file(settings, "another")
            configure_logging()
            with pytest.raises(OSError, match="No space left"):
                full.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_process_whose_stderr_is_on_a_full_disk_logs_without_an_error() -> None:
    """As the dashboard and a round of maintenance, whose stderr is their log."""
    lines = (
        "import os",
        "from cryptoviz.log import get_logger",
        "for _ in range(999): get_logger('dashboard').warning('slow')",
        "print('done', flush=True)",
    )
    script = "\n".join((*lines, "os._exit(0)"))
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=300)
    assert (done.stdout, done.returncode) == ("done\n", 0)
