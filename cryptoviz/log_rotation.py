"""Logs of bounded size, whoever writes them.

A log is copied to `<name>.1` and emptied in place, because an engine's output goes on to the file that it was started with. Writers append.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import BinaryIO

__all__ = ["GENERATIONS", "ROTATE_BYTES", "earlier", "rotate"]

ROTATE_BYTES = 20 * 1024 * 1024
"""An engine writes this in some days, a component that fails at each tick in some hours."""
GENERATIONS = 2
"""A component's logs take at most three times `ROTATE_BYTES`, and what is written until the next look."""


def earlier(path: Path, generation: int = 1) -> Path:
    """Where the lines before those in the log are."""
    return path.with_name(f"{path.name}.{generation}")


def rotate(path: Path, limit_bytes: int = ROTATE_BYTES, keep: int = GENERATIONS) -> bool:
    """Empty the log when it is larger than the limit, after its content was kept. Cheap when it is not. Safe from several processes at once."""
    try:
        if path.stat().st_size <= limit_bytes:
            return False
        with path.open("r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(log.fileno()).st_size <= limit_bytes:
                return False
            _keep(log, path, keep)
            log.truncate(0)
    except OSError:
        return False  # it is gone, another rotates it, or the disk fails: a log is no reason to fail
    return True


def _keep(log: BinaryIO, path: Path, keep: int) -> None:
    scratch = path.with_name(f"{path.name}.tmp")
    try:
        for generation in range(keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                earlier(path, generation).replace(earlier(path, generation + 1))
        with scratch.open("wb") as copy:
            # To the end as it is then: what is written meanwhile is part of it.
            shutil.copyfileobj(log, copy, 1024 * 1024)
        scratch.replace(earlier(path))
    except OSError:
        # A full disk: this log gives its place back instead of filling it further.
        scratch.unlink(missing_ok=True)
