"""Facts about this machine for the doctor; replaced by a fake in its tests."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import Protocol

import psutil

from cryptoviz.engines.cache import cache_fault
from cryptoviz.engines.jars import Jar, JarSet, damaged_jars, missing_jars
from cryptoviz.engines.java import java_home
from cryptoviz.engines.minio_build import minio_program
from cryptoviz.engines.ports import Holder, PortUse, holder_of, is_free
from cryptoviz.engines.ray_folder import folder_problem, ray_folder
from cryptoviz.engines.redis_server import valkey_program
from cryptoviz.local.home import untrusted
from cryptoviz.local.ownership import Fault
from cryptoviz.settings import Settings

__all__ = ["UNRESOLVED", "Machine", "ThisMachine"]

UNRESOLVED = "cannot resolve the host name"
"""How `Machine.reach` begins for a wrong name."""

_CONNECT_S = 2.0


class Machine(Protocol):
    """Facts that the doctor checks. Sizes are in bytes."""

    def python_version(self) -> tuple[int, int]:
        """Major and minor version of this interpreter."""

    def system(self) -> str:
        """Operating system and processor architecture, such as `Linux x86_64`."""

    def java(self) -> Path:
        """Home of Java 17, from PATH or the wheel. Raises PreflightError."""

    def missing(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """Jars missing in the cache, by name and size."""

    def damaged(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """Jars in the cache with a wrong SHA-256."""

    def minio(self, settings: Settings) -> Path | None:
        """The built program in the cache, None if missing."""

    def valkey(self) -> Path | None:
        """The program of the wheel, None if missing."""

    def port_is_free(self, use: PortUse) -> bool:
        """Whether a server could listen on the port."""

    def port_holder(self, port: int) -> Holder | None:
        """The process that listens on the port."""

    def is_ours(self, settings: Settings, holder: Holder) -> bool:
        """Whether the process belongs to the pipeline of these settings."""

    def free_disk(self, path: Path) -> int:
        """Free bytes on the file system of `path`, which need not exist."""

    def can_write(self, path: Path) -> bool:
        """Whether files can be created in `path`, which need not exist."""

    def shared_folder_problem(self) -> str:
        """Why the parent of Ray's folder is not safe; empty if it is."""

    def untrusted(self, settings: Settings) -> dict[str, Fault]:
        """By name (`Home`, `Cache`): the first entry of the directory that another user could have created or changed."""

    def available_memory(self) -> int:
        """Bytes available to new processes without swapping: the smaller of the kernel's estimate and the container's limit."""

    def free_shm(self) -> int:
        """Free bytes in /dev/shm; 0 if it does not exist."""

    def reach(self, host: str, port: int) -> str:
        """Why a TCP connection fails; empty if it succeeds within 2 s."""


class ThisMachine:
    """Facts of the real machine."""

    def python_version(self) -> tuple[int, int]:
        return sys.version_info[:2]

    def system(self) -> str:
        return f"{platform.system()} {platform.machine()}"

    def java(self) -> Path:
        return java_home()

    def missing(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        return missing_jars(settings, which)

    def damaged(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        return damaged_jars(settings, which)

    def minio(self, settings: Settings) -> Path | None:
        program = minio_program(settings)
        return program if os.access(program, os.X_OK) else None

    def valkey(self) -> Path | None:
        return valkey_program()

    def port_is_free(self, use: PortUse) -> bool:
        return is_free(use.port, use.host)

    def port_holder(self, port: int) -> Holder | None:
        return holder_of(port)

    def is_ours(self, settings: Settings, holder: Holder) -> bool:
        """True if the process or an ancestor has the home or Ray's folder in its arguments, or its working directory below the home."""
        if holder.pid is None:
            return False
        folder = ray_folder(settings)
        marks = (f"{settings.home}{os.sep}", *((f"{folder}{os.sep}",) if folder else ()))
        try:
            process = psutil.Process(holder.pid)
            # This process and its ancestors (a shell, a test runner) may also name these folders, but are not part of the pipeline.
            asking = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
            line = [each for each in (process, *process.parents()) if each.pid not in asking]
            return any(mark in argument for each in line for argument in _arguments(each) for mark in marks)
        except psutil.Error:
            return False

    def free_disk(self, path: Path) -> int:
        return shutil.disk_usage(_existing(path)).free

    def can_write(self, path: Path) -> bool:
        return os.access(_existing(path), os.W_OK | os.X_OK)

    def shared_folder_problem(self) -> str:
        return folder_problem()

    def untrusted(self, settings: Settings) -> dict[str, Fault]:
        faults = {"Home": untrusted(settings.home), "Cache": cache_fault(settings)}
        return {name: fault for name, fault in faults.items() if fault}

    def available_memory(self) -> int:
        return min(psutil.virtual_memory().available, _container_leaves())

    def free_shm(self) -> int:
        shm = Path("/dev/shm")  # noqa: S108 (Ray's object store uses it)
        return shutil.disk_usage(shm).free if shm.is_dir() else 0

    def reach(self, host: str, port: int) -> str:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S):
                return ""
        except socket.gaierror as error:
            # The name server does not answer: the name may be right.
            return f"no answer to the name {host!r}" if error.errno == socket.EAI_AGAIN else f"{UNRESOLVED} {host!r}"
        except OSError as error:
            return str(error)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return [*process.cmdline(), f"{process.cwd()}{os.sep}"]
    except psutil.Error:
        return []


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _container_leaves() -> int:
    """Bytes left below the limit of this cgroup (version 2); the machine's total memory without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return max(0, int(limit) - used)
    except (OSError, ValueError):  # no such files, or `max`
        return psutil.virtual_memory().total
