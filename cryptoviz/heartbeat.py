"""Whether the event loop of another process on this machine runs, without asking that loop: it writes when it last ran into a file of one line.

A loop that is busy beats late and one that is dead not at all; a request to it could not tell the two apart within a time limit. The stamps are of
the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["HEARTBEAT_FILE", "Heartbeat", "seconds_since_beat"]

HEARTBEAT_FILE = "dashboard-heartbeat"
"""In the run directory."""

_WIDTH = 40  # always as long, written in place: a full disk stops no beat


class Heartbeat:
    """The writer's side. `beat` may be called from one thread; it takes microseconds."""

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.beat()

    def beat(self) -> None:
        """The loop runs now."""
        os.pwrite(self._file, f"{os.getpid()} {self._clock_ns()}".ljust(_WIDTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """No more beats."""
        os.close(self._file)


def seconds_since_beat(path: Path, pid: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> float | None:
    """Time since the loop of process `pid` last ran; None when it has not written yet."""
    try:
        fields = path.read_bytes().split()
        writer, beat_ns = int(fields[0]), int(fields[1])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, (clock_ns() - beat_ns) / 1e9) if writer == pid else None
