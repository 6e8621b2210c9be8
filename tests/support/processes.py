"""Processes of the machine. Any of them may end between two looks at it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil


def arguments_of(process: psutil.Process) -> list[str]:
    """None if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):  # also of a ZombieProcess
        return process.cmdline()
    return []


def line_of(process: psutil.Process) -> str:
    """Arguments in one line; Ray's workers begin it with a title."""
    return " ".join(arguments_of(process))


def names_of(processes: Iterable[psutil.Process]) -> list[str]:
    """Process id and name of those that still run."""
    names = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(f"{process.pid} {process.name()}")
    return names


def children_with(text: str) -> list[psutil.Process]:
    """Running children of this process that have the text in an argument."""
    return [child for child in psutil.Process().children() if any(text in argument for argument in arguments_of(child))]


def processes_of(home: Path) -> list[psutil.Process]:
    """Running processes whose arguments, environment or working directory contain this home, and all processes below them."""
    found, others = {}, {}
    for process in psutil.process_iter():
        try:
            text, parent = "\0".join(process.cmdline()) + "\0".join(process.environ().values()) + process.cwd(), process.ppid()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid == os.getpid():
            continue
        if str(home) in text:
            found[process.pid] = process
        else:
            others[process.pid] = (parent, process)
    # Ray's agents and the modules of its dashboard overwrite arguments and environment with a title.
    while below := {pid: process for pid, (parent, process) in others.items() if parent in found and pid not in found}:
        found |= below
    return list(found.values())


def kill_all(home: Path) -> list[str]:
    """Kill every process of this home, so that none affects other tests. Their ids and names."""
    processes = processes_of(home)
    names = names_of(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return names
