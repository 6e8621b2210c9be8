"""Log rotation, also for logs written by engines.

A log is copied to `<name>.1` and truncated in place, because an engine keeps writing to the file descriptor that it was started with. Writers append.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["GENERATIONS", "ROTATE_BYTES", "earlier", "rotate"]

ROTATE_BYTES = 20 * 1024 * 1024
"""Output of an engine in some days, or of a component that fails at each tick in some hours."""
_KEPT_BYTES = 64 * 1024 * 1024
"""A log that grew faster than it is checked keeps its end. The copy ends, even if a program writes faster than it is copied."""
_CHUNK_BYTES = 1024 * 1024
GENERATIONS = 2
"""A component's logs take at most three times `ROTATE_BYTES`, plus what is written before the next check."""


def earlier(path: Path, generation: int = 1) -> Path:
    """The file of an earlier generation of the log."""
    return path.with_name(f"{path.name}.{generation}")


def rotate(path: Path, limit_bytes: int = ROTATE_BYTES, keep: int = GENERATIONS) -> bool:
    """Copy the log to its earlier generation and truncate it, if it is larger than the limit. Cheap otherwise. Safe for concurrent processes."""
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
        return False  # missing, rotated by another process, or a disk error: never fail because of a log
    return True


def _keep(log: BinaryIO, path: Path, keep: int) -> None:
    scratch = path.with_name(f"{path.name}.tmp")
    try:
        for generation in range(keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                earlier(path, generation).replace(earlier(path, generation + 1))
        log.seek(max(0, os.fstat(log.fileno()).st_size - _KEPT_BYTES))
        with scratch.open("wb") as copy:
            # Includes lines that are written during the copy.
            while copy.tell() < 2 * _KEPT_BYTES and (chunk := log.read(_CHUNK_BYTES)):
                copy.write(chunk)
        scratch.replace(earlier(path))
    except OSError:
        # Probably a full disk: the log is truncated without a copy, which frees space.
        scratch.unlink(missing_ok=True)
