"""Helpers shared by test modules."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


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


def eventually(check: Callable[[], T | None], timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """The first truthy result of `check`. At the timeout raises its last assertion error, or a plain AssertionError."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        error: AssertionError | None = None
        try:
            value = check()
            if value:
                return value
        except AssertionError as failed:
            error = failed
        if time.monotonic() > deadline:
            raise error or AssertionError(f"not true within {timeout_s} s")
        pause.wait(every_s)


async def eventually_async(check: Callable[[], Awaitable[T]], timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """As `eventually`, for coroutines."""
    deadline = time.monotonic() + timeout_s
    never = asyncio.Event()
    while True:
        error: AssertionError | None = None
        try:
            value = await check()
            if value:
                return value
        except AssertionError as failed:
            error = failed
        if time.monotonic() > deadline:
            raise error or AssertionError(f"not true within {timeout_s} s")
        try:
            await asyncio.wait_for(never.wait(), every_s)
        except TimeoutError:
            continue


def forget_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove all settings of the developer's environment (our names, the predecessor's, proxies) and change to `folder`, which has no `.env`."""
    for name in list(os.environ):
        if name.startswith(("CRYPTOVIZ_", "CRYPTO_LIST", "COIN", "MINIO_", "REDPANDA_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
