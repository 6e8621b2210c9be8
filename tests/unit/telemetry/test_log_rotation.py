"""Logs stay bounded, lines survive a rotation, and writers do not notice it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from cryptoviz.engines.process import ChildProcess
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_path, log_to_file
from cryptoviz.telemetry.log_rotation import earlier, rotate
from tests.support.waiting import eventually


def test_generations_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for text in ("first", "second", "third"):
        log.write_text(text * 3)
        assert rotate(log, 10, 2)
        assert log.read_bytes() == b""
    assert (earlier(log).read_text(), earlier(log, 2).read_text()) == ("third" * 3, "second" * 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]


@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_log_within_its_limit_is_left(tmp_path: Path, size: int) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"x" * size)
    assert not rotate(log, 10)
    assert not rotate(tmp_path / "none.log", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


def test_writers_continue_in_the_same_file(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"one\n" * 5)
        assert rotate(log, 10)
        writer.write(b"two\n")
    assert (log.read_bytes(), earlier(log).read_bytes()) == (b"two\n", b"one\n" * 5)


def test_several_rotate_at_once(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"x" * 5_000_000)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(rotate(log, 10, 5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    assert earlier(log).stat().st_size == 5_000_000
    assert not earlier(log, 2).exists()


def test_on_a_full_disk_the_log_gives_its_place_back(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"x" * 100)
    (tmp_path / "x.log.tmp").symlink_to("/dev/full")
    assert rotate(log, 10)
    assert log.stat().st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


def test_of_a_log_that_grew_faster_than_it_is_checked_the_end_is_kept(tmp_path: Path) -> None:
    """1 GiB, of which the last 64 MiB are kept."""
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        file.truncate(2**30 - 5)
        file.seek(0, 2)
        file.write(b"last\n")
    assert rotate(log)
    assert log.stat().st_size == 0
    assert earlier(log).stat().st_size == 67_108_864
    assert earlier(log).read_bytes().endswith(b"\0last\n")


def test_a_component_that_logs_for_ever_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit 200 kB, 3 files: 600 kB, and 64 kB until the next check. 20 000 lines of 100 characters are 2 MB."""
    monkeypatch.setattr("cryptoviz.telemetry.log_files.rotate", lambda path: rotate(path, 200_000))
    settings = load_settings(home=tmp_path)
    log_to_file(settings, "controller")
    try:
        logger = get_logger("controller")
        for number in range(20_000):
            logger.warning("refused", number=number, text="x" * 40)
    finally:
        log_to_file(settings, "another")
        configure_logging()
    files = sorted(path.name for path in settings.log_dir.glob("controller*"))
    assert files == ["controller.log", "controller.log.1", "controller.log.2"]
    assert sum((settings.log_dir / name).stat().st_size for name in files) <= 3 * 200_000 + 64 * 1024 + 1000
    assert "number=19999" in log_path(settings, "controller").read_text()


def test_the_output_of_an_engine_is_bounded_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptoviz.engines.process.rotate", lambda path: rotate(path, 100_000))
    log = tmp_path / "engine.log"
    child = ChildProcess("engine", (sys.executable, "-u", "-c", "import sys\nwhile sys.stdin.read(0) == '': print('x' * 999)"), log)
    child.start()
    try:
        eventually(lambda: child.running and earlier(log, 2).exists())
        assert child.running
    finally:
        child.stop()
    assert log.stat().st_size < 10_000_000
