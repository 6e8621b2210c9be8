"""`python -I -S ray_watch.py NAME=PID...`: waits for the processes of a Ray node, its children, and ends all of them when one ends, or on SIGTERM.

`ray start --block` does the same, but keeps everything in memory that started the node: 68 MB instead of 5. `ray_head` becomes this program once the
node runs. It therefore imports little, and nothing of Ray.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

__all__ = ["main"]

_GRACE_S = 1.0
"""For each process, from SIGTERM to SIGKILL, as in Ray's own command."""
_POLL_S = 0.02


class _Stop(Exception):
    """SIGTERM."""


def _on_signal(number: int, frame: object) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stop


def _ended(pid: int) -> bool:
    """Whether a child has ended, also if it was waited for before."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE_S
        with contextlib.suppress(ProcessLookupError):
            if not _ended(pid):
                os.kill(pid, number)
        while not _ended(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def main(arguments: list[str]) -> int:
    """Wait and end the processes in the order of the arguments. Returns the exit code 1, as Ray's command."""
    watched = {int(pid): name for name, pid in (argument.split("=", 1) for argument in arguments)}
    signal.signal(signal.SIGTERM, _on_signal)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked by the program that became this one
        while True:
            pid, status = os.wait()
            if pid in watched:
                ended = f"Ray's {watched.pop(pid)} ended (exit code {os.waitstatus_to_exitcode(status)}); its other processes are ended\n"
                with contextlib.suppress(OSError):  # a log on a full disk, which may be what ended the process
                    os.write(1, ended.encode())
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                break
    except _Stop:
        pass
    for pid in watched:
        _end(pid)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
