"""Process identity that does not depend on the wall clock.

A start time in UTC is derived from the clock and moves with it. The kernel counts the start in ticks since boot, which no clock step changes; with
the boot and the namespaces that the numbers belong to, it identifies a process uniquely.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessIdentity", "descendants", "environments", "monotonic_origin", "processes_with", "wait_ended"]

_PROC = Path("/proc")
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identity of a process. Two identities are equal if and only if they denote the same process.

    Attributes:
        boot: boot id of the machine; empty if unavailable.
        namespaces: pid and time namespaces, in which `pid` and `start_ticks` are valid.
        pid: process id.
        start_ticks: start time in clock ticks since boot.
    """

    boot: str
    namespaces: str
    pid: int
    start_ticks: int

    @classmethod
    def own(cls) -> ProcessIdentity:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of the process that has the pid now.

        Raises:
            ProcessLookupError: no such process.
        """
        return cls(_boot_id(), _namespaces(), pid, _start_ticks(pid))

    @property
    def is_comparable(self) -> bool:
        """Whether the process can be checked from here: same boot, same namespaces."""
        return (self.boot, self.namespaces) == (_boot_id(), _namespaces())

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended, including zombies. False if unknown."""
        if not self.is_comparable:
            return False
        try:
            state, start_ticks = _state(self.pid)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return start_ticks != self.start_ticks or state in "ZX"

    @property
    def is_alive(self) -> bool:
        """Whether the process is known to run."""
        return self.is_comparable and not self.has_ended

    def send(self, number: int) -> bool:
        """Send a signal to this process, and never to a later process with its pid. Returns False if it has ended or permission is denied."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(self.pid)
            try:
                # Check after opening: the descriptor then refers to this process, not to a later one with its pid.
                if not self.is_alive:
                    return False
                signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
            return True
        return False


def monotonic_origin() -> str:
    """Identifies the start of the monotonic clock: times with equal origin are comparable. Empty if unknown."""
    boot = _boot_id()
    return f"{boot} {_namespace('time')}" if boot else ""


def descendants(root: int) -> list[ProcessIdentity]:
    """Present descendants of a process, without the process itself."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat_fields(pid)[1]), []).append(pid)
    found, waiting = [], [root]
    while waiting:
        for child in children.pop(waiting.pop(), ()):
            waiting.append(child)
            with contextlib.suppress(OSError):
                found.append(ProcessIdentity.of(child))
    return found


def environments() -> Iterator[tuple[ProcessIdentity, list[bytes]]]:
    """Processes of this user, with the `NAME=value` entries of their initial environment."""
    for pid in _pids():
        try:
            process = ProcessIdentity.of(pid)
            variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if process.is_alive:
            yield process, variables


def processes_with(variable: str, value: str) -> list[ProcessIdentity]:
    """Other processes of this user that were started with `variable=value` in their environment."""
    wanted = os.fsencode(f"{variable}={value}")
    return [process for process, variables in environments() if process.pid != os.getpid() and wanted in variables]


def wait_ended(processes: Iterable[ProcessIdentity], timeout_s: float) -> list[ProcessIdentity]:
    """Wait until all processes have ended. Returns those that still run after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if process.is_alive]
    while left and time.monotonic() < deadline:
        select.select([], [], [], _POLL_S)
        left = [process for process in left if process.is_alive]
    return left


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespaces() -> str:
    return f"{_namespace('pid')} {_namespace('time')}"


def _namespace(kind: str) -> str:
    try:
        return str((_PROC / "self/ns" / kind).readlink())
    except OSError:
        return ""


def _start_ticks(pid: int) -> int:
    return _state(pid)[1]


def _state(pid: int) -> tuple[str, int]:
    fields = _stat_fields(pid)
    return fields[0], int(fields[19])


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat after the second: state, parent, ... The second, the name in brackets, may contain any character."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    return text.rpartition(")")[2].split()
