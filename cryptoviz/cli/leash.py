"""Ties a cluster to the command that starts it: the home lock, and a pipe that the cluster's guard sees closed when the command dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self

from cryptoviz.cluster_guard import DETACH, KILL
from cryptoviz.errors import PreflightError
from cryptoviz.local.home import claim
from cryptoviz.local.home_lock import HomeLock
from cryptoviz.local.private import OTHERS
from cryptoviz.local.process_identity import ProcessIdentity, wait_ended
from cryptoviz.settings import Settings

__all__ = ["Leash", "Stop", "held_home"]

_KILL_WAIT_S = 5.0
_ENDED = b"Interrupted a second time; everything is ended at once.\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Leash:
    """The tie of one command to one home. The guard inherits the lock and the pipe's read end."""

    def __init__(self, lock: HomeLock) -> None:
        self._lock = lock
        self._read, self._write = os.pipe()
        self._guard: ProcessIdentity | None = None
        # A reference keeps Python from warning about a child process without a wait.
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def inherited(self) -> tuple[int, int]:
        """Descriptors for the guard: pipe, lock."""
        return self._read, self._lock.descriptor

    def tie(self, process: subprocess.Popen[bytes]) -> None:
        """Register the guard process."""
        self._process = process
        self._guard = ProcessIdentity.of(process.pid)

    def detach(self) -> None:
        """Let the cluster outlive this command; the guard keeps the lock."""
        if self._guard is not None:
            self._lock.name_holder(self._guard.pid)
            self._say(DETACH)
            self._guard = None

    def kill(self) -> None:
        """End the cluster at once and wait for its guard. Safe in a signal handler, and a no-op when nothing runs."""
        if self._guard is not None:
            self._say(KILL)
            wait_ended([self._guard], _KILL_WAIT_S)

    def close(self) -> None:
        """End the cluster unless detached."""
        self.kill()
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the guard has ended
            os.write(self._write, word)


class Stop:
    """Signal handling of a command. The first signal requests a stop and interrupts a start; the second kills the cluster; the third exits."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.leash: Leash | None = None
        self.breaks_off = True
        self._times = 0

    def install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._times += 1
        self.asked.set()
        if self._times > 1:
            if self.leash is not None and self._times == 2:
                self.leash.kill()
                with contextlib.suppress(OSError):  # without Python's buffers, whose lock the interrupted code may hold
                    os.write(2, _ENDED)
            os._exit(130)  # exit handlers could block
        if self.breaks_off:
            raise KeyboardInterrupt


@contextlib.contextmanager
def held_home(settings: Settings, command: str) -> Iterator[HomeLock]:
    """Claim the home for this pipeline and hold its lock for the duration of the block.

    Raises:
        SettingsError: the directory cannot be a pipeline's home.
        PreflightError: another command holds the lock.
    """
    claim(settings.home)
    before = os.umask(OTHERS)  # for all files that this process and its children create from now on
    try:
        with HomeLock(settings.home, command) as lock:
            yield lock
    except OSError as error:
        if error.filename and str(error.filename).startswith(str(settings.home)):
            raise PreflightError(f"cannot use {error.filename}: {error.strerror} (CRYPTOVIZ_HOME)", problems=["home"]) from error
        raise
    finally:
        os.umask(before)
