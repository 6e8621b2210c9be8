"""Free ports for engines and servers of tests and benchmarks."""

from __future__ import annotations

import os
import random
import socket

# Below the kernel's ephemeral ports, since a Ray process or a client's connection could take such a port before its server starts. Parallel test
# processes use separate ranges.
_PORTS = range(
    20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 32_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
)
_given: set[int] = set()


def free_port() -> int:
    """A loopback port without a listener, outside the ephemeral range, and not used before by this process."""
    while True:
        port = random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def free_ports(count: int) -> list[int]:
    """This number of free ports."""
    return [free_port() for _ in range(count)]
