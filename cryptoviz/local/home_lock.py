"""Exclusive lock on a home. The kernel releases it when the last process that holds it ends, for any reason."""

from __future__ import annotations

import fcntl
import json
import os
import select
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptoviz.errors import PreflightError
from cryptoviz.local.home import LOCK
from cryptoviz.local.ownership import make_private

__all__ = ["HomeLock", "engine_lock"]

_WRITE_WAIT_S = 1.0
"""The holder writes its name right after it has taken the lock."""


class HomeLock:
    """Held from `acquire` to `release`, and by every process that inherits its descriptor.

    Args:
        home: an existing directory.
        command: description of the holder, for error messages.
        name: name of the lock file in `home`.
    """

    def __init__(self, home: Path, command: str, name: str = LOCK) -> None:
        self._path = home / name
        self._command = command
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            PreflightError: another process holds it; the message names the command, the process and the time.
        """
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(descriptor)
                os.close(descriptor)
                message = f"{holder} is using {self._path.parent}; wait until it ends, or stop it"
                raise PreflightError(message, problems=["locked"]) from None
            if _is_at(descriptor, self._path):
                break
            os.close(descriptor)  # a reset removed the file between the two calls; retry with the new file
        self._descriptor = descriptor
        self.name_holder(os.getpid())

    def name_holder(self, pid: int) -> None:
        """Write the holder's process id into the lock file, for error messages."""
        if self._descriptor is not None:
            text = json.dumps({"pid": pid, "command": self._command, "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    @property
    def descriptor(self) -> int:
        """The descriptor; a process that inherits it holds the lock too."""
        if self._descriptor is None:
            raise ValueError("lock not held")
        return self._descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


def engine_lock(home: Path, engine: str) -> HomeLock:
    """Lock held by the process that runs an embedded engine on this home, and by a reset."""
    make_private(home / "run")
    return HomeLock(home / "run", f"{engine} of this home", f"{engine}.lock")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    deadline = time.monotonic() + _WRITE_WAIT_S
    while True:
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            return f"`{holder['command']}` (process {holder['pid']}, since {holder['since']})"
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return "another command"
            select.select([], [], [], 0.02)
