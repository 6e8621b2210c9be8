"""Facts about this machine that the doctor judges; the seam that its tests replace."""

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
from cryptoviz.home import untrusted
from cryptoviz.ownership import Fault
from cryptoviz.settings import Settings

__all__ = ["Machine", "ThisMachine"]

_CONNECT_S = 2.0


class Machine(Protocol):
    """What the doctor asks. Sizes in bytes."""

    def python_version(self) -> tuple[int, int]:
        """Major and minor."""
        ...

    def system(self) -> str:
        """Operating system and processor, such as `Linux x86_64`."""
        ...

    def java(self, settings: Settings) -> Path:
        """Home of Java 17. Raises PreflightError."""
        ...

    def missing(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """Jars that are not in the cache."""
        ...

    def damaged(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """Jars in the cache whose content is not the locked one."""
        ...

    def minio(self, settings: Settings) -> Path | None:
        """The built program."""
        ...

    def valkey(self) -> Path | None:
        """The wheel's program."""
        ...

    def port_is_free(self, use: PortUse) -> bool:
        """Whether a server of ours could listen there."""
        ...

    def port_holder(self, port: int) -> Holder | None:
        """Who listens there."""
        ...

    def is_ours(self, settings: Settings, holder: Holder) -> bool:
        """Whether the holder belongs to the pipeline of these settings."""
        ...

    def free_disk(self, path: Path) -> int:
        """Bytes free where `path` is or would be made."""
        ...

    def can_write(self, path: Path) -> bool:
        """Whether we may make files there."""
        ...

    def shared_folder_problem(self) -> str:
        """Why the folder that Ray's is made in is not safe; empty when it is."""
        ...

    def untrusted(self, settings: Settings) -> dict[str, Fault]:
        """By name (`Home`, `Cache`) the first entry in each that another user could have made or changed."""
        ...

    def available_memory(self) -> int:
        """Bytes that new processes can have without swapping, within the limit of a container."""
        ...

    def free_shm(self) -> int:
        """Bytes free in /dev/shm; 0 when there is none."""
        ...

    def reach(self, host: str, port: int) -> str:
        """Empty when a TCP connection succeeds within 2 s, else why it does not."""
        ...


class ThisMachine:
    """The real one."""

    def python_version(self) -> tuple[int, int]:
        """Of this interpreter."""
        return sys.version_info[:2]

    def system(self) -> str:
        """From uname."""
        return f"{platform.system()} {platform.machine()}"

    def java(self, settings: Settings) -> Path:
        """From PATH or the wheel."""
        return java_home(settings)

    def missing(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """By name and size."""
        return missing_jars(settings, which)

    def damaged(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        """By SHA-256."""
        return damaged_jars(settings, which)

    def minio(self, settings: Settings) -> Path | None:
        """From the cache."""
        program = minio_program(settings)
        return program if os.access(program, os.X_OK) else None

    def valkey(self) -> Path | None:
        """From the wheel."""
        return valkey_program()

    def port_is_free(self, use: PortUse) -> bool:
        """By trying."""
        return is_free(use.port, use.host)

    def port_holder(self, port: int) -> Holder | None:
        """From the kernel's table of sockets."""
        return holder_of(port)

    def is_ours(self, settings: Settings, holder: Holder) -> bool:
        """Our processes, or an ancestor of theirs, carry the home or Ray's folder of these settings in their arguments, or work below the home."""
        if holder.pid is None:
            return False
        folder = ray_folder(settings)
        marks = (f"{settings.home}{os.sep}", *((f"{folder}{os.sep}",) if folder else ()))
        try:
            process = psutil.Process(holder.pid)
            # We and our own ancestors (a shell, a test runner) may name the folders too, and are no part of the pipeline.
            asking = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
            line = [each for each in (process, *process.parents()) if each.pid not in asking]
            return any(mark in argument for each in line for argument in _arguments(each) for mark in marks)
        except psutil.Error:
            return False

    def free_disk(self, path: Path) -> int:
        """Of the file system of the nearest folder that exists."""
        return shutil.disk_usage(_existing(path)).free

    def can_write(self, path: Path) -> bool:
        """By the permissions of the nearest folder that exists."""
        return os.access(_existing(path), os.W_OK | os.X_OK)

    def shared_folder_problem(self) -> str:
        """By its owner and mode."""
        return folder_problem()

    def untrusted(self, settings: Settings) -> dict[str, Fault]:
        """By owners and modes."""
        faults = {"Home": untrusted(settings.home), "Cache": cache_fault(settings)}
        return {name: fault for name, fault in faults.items() if fault}

    def available_memory(self) -> int:
        """The smaller of the kernel's estimate and what the container's limit leaves."""
        return min(psutil.virtual_memory().available, _container_leaves())

    def free_shm(self) -> int:
        """Of the tmpfs."""
        shm = Path("/dev/shm")  # noqa: S108 (Ray's object store lies there)
        return shutil.disk_usage(shm).free if shm.is_dir() else 0

    def reach(self, host: str, port: int) -> str:
        """By connecting."""
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S):
                return ""
        except socket.gaierror:
            return f"the name {host!r} is not known here"
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
    """Bytes below the limit of this cgroup (version 2); the machine's whole memory when there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return max(0, int(limit) - used)
    except (OSError, ValueError):  # no such files, or `max`
        return psutil.virtual_memory().total
