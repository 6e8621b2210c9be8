"""A loop's heartbeat, read by another process."""

from __future__ import annotations

import os
from pathlib import Path

from cryptoviz.local.heartbeat import Heartbeat, seconds_since_beat


def test_the_reader_sees_when_the_loop_last_ran(tmp_path: Path) -> None:
    now = [5_000_000_000]
    path = tmp_path / "run" / "beats"
    beats = Heartbeat(path, lambda: now[0])
    now[0] += 2_500_000_000
    assert seconds_since_beat(path, os.getpid(), lambda: now[0]) == 2.5
    beats.beat()
    assert seconds_since_beat(path, os.getpid(), lambda: now[0]) == 0.0
    assert path.stat().st_size == 40
    assert path.stat().st_mode & 0o777 == 0o600
    beats.close()


def test_beats_of_an_earlier_process_are_none(tmp_path: Path) -> None:
    path = tmp_path / "beats"
    assert seconds_since_beat(path, 7) is None
    Heartbeat(path).close()
    assert seconds_since_beat(path, os.getpid() + 1) is None
    path.write_bytes(b"not a beat")
    assert seconds_since_beat(path, os.getpid()) is None
