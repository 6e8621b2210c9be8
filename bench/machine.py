"""What every benchmark says of the machine it ran on."""

from __future__ import annotations

import os
import platform

import psutil

__all__ = ["load", "machine"]


def machine() -> str:
    """Cores, memory, system and Python."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def load() -> str:
    """The three load averages."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
