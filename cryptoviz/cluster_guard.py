"""`python -m cryptoviz.cluster_guard LEASH LOG -- COMMAND...`: runs the Ray cluster and ends all of its processes.

It is the root of the cluster's process tree and a subreaper: orphaned descendants become its children. It ends the whole tree on SIGTERM, when the
command ends, and by the leash, the read end of a pipe (-1: none): `k` kills at once, `d` detaches, and end of file means that the controlling
command died. It also limits the size of LOG, which receives its own output.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from cryptoviz.local.process_identity import descendants
from cryptoviz.telemetry.log_rotation import rotate

__all__ = ["DETACH", "KILL", "main"]

DETACH, KILL = b"d", b"k"
_GRACE_S = 8.0
_POLL_S = 0.2
_KILL_S = 10.0
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # prctl(2)


class _Guard:
    def __init__(self, leash: int, log: Path) -> None:
        self._leash = leash
        self._log = log
        self._stop = False
        self._root_code: int | None = None

    def run(self, command: list[str]) -> int:
        """Run the command and return its exit code when all of its processes have ended."""
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)
        root = subprocess.Popen([sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), *command], stdin=subprocess.DEVNULL)
        grace_s = self._watch(root.pid)
        if self._root_code is None and grace_s:
            root.send_signal(signal.SIGTERM)
        self._end(root.pid, grace_s)
        root.returncode = self._root_code
        return self._root_code or 0

    def _watch(self, root: int) -> float:
        """Wait until the tree must end; return its grace period in seconds."""
        while not self._stop:
            self._reap(root)
            if self._root_code is not None:
                return 1.0
            rotate(self._log)
            if self._leash < 0:
                select.select([], [], [], _POLL_S)
                continue
            readable, _, _ = select.select([self._leash], [], [], _POLL_S)
            if not readable:
                continue
            word = os.read(self._leash, 1)
            if word != DETACH:
                return 0.0 if word == KILL else _GRACE_S
            os.close(self._leash)
            self._leash = -1
        return _GRACE_S

    def _end(self, root: int, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        while descendants(os.getpid()) and time.monotonic() < deadline and not self._is_killed():
            self._reap(root)
            select.select([], [], [], 0.05)
        deadline = time.monotonic() + _KILL_S
        while (left := descendants(os.getpid())) and time.monotonic() < deadline:
            for process in left:
                process.send(signal.SIGKILL)
            self._reap(root)
            select.select([], [], [], 0.02)
        self._reap(root)

    def _is_killed(self) -> bool:
        return self._leash >= 0 and bool(select.select([self._leash], [], [], 0)[0]) and os.read(self._leash, 1) == KILL

    def _reap(self, root: int) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == root:
                self._root_code = os.waitstatus_to_exitcode(status)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop = True


# The command gets SIGTERM even if this guard is killed.
_SHIM = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_DEATH_SIGNAL}, {int(signal.SIGTERM)}, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent ended before the start")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def main() -> int:
    """Exit code of the command."""
    return _Guard(int(sys.argv[1]), Path(sys.argv[2])).run(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
