"""A child process that cannot outlive this process: supervised, logged to a file, stopped gracefully or by force."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from cryptoviz.errors import EngineUnavailable
from cryptoviz.local.ownership import make_private
from cryptoviz.log import get_logger
from cryptoviz.telemetry.log_rotation import rotate

__all__ = ["ChildProcess", "SerialThread", "bound_to_parent", "spawn_bound", "tail"]

T = TypeVar("T")

_PYTHON = sys.executable
# Enough for the last lines of a failed start.
_TAIL_BYTES = 16 * 1024

# Runs between fork and the real program: requests SIGKILL when the spawning thread ends, checks whether it has already ended, sets a private umask
# and executes the program. A separate program instead of `preexec_fn`, which is unsafe in processes with threads (gRPC, Ray, librdkafka).
_SHIM = """
import ctypes, os, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
if os.getppid() != parent:
    sys.exit("the parent ended before the start")
os.umask(0o077)
try:
    os.execvp(program[0], program)
except OSError as error:
    sys.exit(f"cannot run {program[0]}: {error}")
"""


class ChildProcess:
    """A program run as a child, in its own process group, with its output appended to `log_file`.

    The kernel kills it (SIGKILL) when this process ends for any reason, including `kill -9`. Secrets belong in `env`, never in `command`.
    Thread-safe, but `start` and `stop` must not run concurrently.

    Args:
        name: used in log lines and errors.
        command: program and arguments.
        log_file: created with its folder if missing; bounded in size (`cryptoviz.telemetry.log_rotation`).
        env: the complete environment of the child; None inherits.
        cwd: working directory; None inherits.
    """

    def __init__(self, name: str, command: Sequence[str], log_file: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.name = name
        self.command = tuple(command)
        self.log_file = log_file
        self._env = env
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.poll() is None else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs or before its start. Also rotates its log."""
        if self._process is None:
            return None
        rotate(self.log_file)
        return self._process.poll()

    def start(self) -> None:
        """Start the process unless it runs. Returns at once; the caller probes whether the program is ready.

        Raises:
            EngineUnavailable: the operating system cannot start the process.
        """
        if self.running:
            return
        make_private(self.log_file.parent)
        rotate(self.log_file)
        try:
            with self.log_file.open("ab") as log:
                self._process = spawn_bound(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self._env, cwd=self._cwd, start_new_session=True
                )
        except OSError as error:
            raise EngineUnavailable(f"cannot start {self.name}: {error}", engine=self.name, address=self.command[0]) from error
        get_logger(self.name).info("process_started", pid=self._process.pid, log=str(self.log_file))

    def stop(self, grace_s: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL of the whole group after `grace_s` seconds. Returns the exit code, None if it never ran."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                get_logger(self.name).warning("process_killed_after_grace", pid=process.pid, grace_s=grace_s)
        _kill_group(process.pid)
        code = process.wait()
        get_logger(self.name).info("process_ended", pid=process.pid, code=code)
        self._process = None
        return code

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, for messages."""
        return tail(self.log_file, lines)


class SerialThread:
    """Runs blocking calls one after the other in a thread of its own, each in the context of its caller, which names the log file.

    For the start and stop of a child process: the thread of a cancelled call continues, so a stop after it must wait for it.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """The result of the call, made after the earlier ones. If cancelled before its turn, it is not made."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, call, *arguments)


def bound_to_parent(command: Sequence[str]) -> list[str]:
    """The command with a prefix, so that the kernel kills it when the thread or process that starts it ends, for any reason."""
    return [_PYTHON, "-I", "-S", "-c", _SHIM, str(os.getpid()), *command]


def spawn_bound(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends, for any reason. `options`: of `subprocess.Popen`."""
    return _spawner().run(lambda: subprocess.Popen(bound_to_parent(command), **options))


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file; empty if it is missing."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


class _Spawner:
    """A thread that lives as long as the process and spawns all children.

    The kernel's parent-death signal fires when the *thread* that started the child ends (prctl(2)), and callers' threads are short-lived.
    """

    def __init__(self) -> None:
        self.owner_pid = os.getpid()
        self._work: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._loop, name="child-spawner", daemon=True).start()

    def run(self, spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((spawn, answer))
        return answer.result()

    def _loop(self) -> None:
        while True:
            spawn, answer = self._work.get()
            try:
                answer.set_result(spawn())
            except BaseException as error:  # noqa: BLE001 (handed to the waiting caller)
                answer.set_exception(error)


_lock = threading.Lock()
_current: list[_Spawner] = []


def _spawner() -> _Spawner:
    """The spawner of this process. A forked process has no threads of the original, so it gets a new spawner."""
    with _lock:
        if not _current or _current[0].owner_pid != os.getpid():
            _current[:] = [_Spawner()]
        return _current[0]
