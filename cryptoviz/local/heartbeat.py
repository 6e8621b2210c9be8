"""Heartbeat of an event loop in another process on the same machine: the loop writes the time of its last run to a file of one line.

A busy loop writes late and a dead loop never; a request with a timeout could not distinguish the two. Times are of the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["HEARTBEAT_FILE", "LIVENESS_PATH", "Heartbeat", "seconds_since_beat"]

HEARTBEAT_FILE = "dashboard-heartbeat"
"""File name in the run directory."""
LIVENESS_PATH = "/healthz"
"""URL path of the dashboard that answers 200 while its server accepts requests."""

_WIDTH = 40  # constant length, written in place: works on a full disk


class Heartbeat:
    """Writer of a heartbeat. `beat` takes microseconds; call it from one thread."""

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.beat()

    def beat(self) -> None:
        os.pwrite(self._file, f"{os.getpid()} {self._clock_ns()}".ljust(_WIDTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        os.close(self._file)


def seconds_since_beat(path: Path, pid: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> float | None:
    """Seconds since the last heartbeat of process `pid`; None if it has not written yet."""
    try:
        fields = path.read_bytes().split()
        writer, beat_ns = int(fields[0]), int(fields[1])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, (clock_ns() - beat_ns) / 1e9) if writer == pid else None
