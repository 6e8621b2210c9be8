"""What every benchmark says of the machine it ran on, and ports for its engines."""

from __future__ import annotations

import os
import platform
import random
import socket

import psutil

__all__ = ["free_port", "load", "machine"]

# Below the ports that the system gives to connections, and past those that Ray gives to its workers.
_PORTS = (20_000, 30_000)


def machine() -> str:
    """Cores, memory, system and Python."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def load() -> str:
    """The three load averages."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def free_port() -> int:
    """A loopback port that nobody listens on."""
    while True:
        port = random.randint(*_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
