"""Child processes of the test."""

from __future__ import annotations

import contextlib

import psutil


def children_with(text: str) -> list[psutil.Process]:
    """Running children of this process that have the text in an argument. A child that has ended and is not waited for yet has no arguments."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also of a ZombieProcess
            if any(text in argument for argument in child.cmdline()):
                found.append(child)
    return found
