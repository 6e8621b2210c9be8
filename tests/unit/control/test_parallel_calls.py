"""A thousand calls at once, of all kinds and callers, against a server process: each gets its status, and the server keeps its size."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from cryptoviz.client import ControlClient
from tests.support.waiting import eventually

CALLS, CHANNELS, ROUNDS = 1_000, 8, 3
SERVICE = "/cryptoviz.control.v1.ControlService/"
PAGE = b"\x0a\x04page"  # name: "page"
BUSY = "RESOURCE_EXHAUSTED"
"""Any admitted call may meet the limit of its kind."""
MAX_GROWTH_BYTES = 30_000_000
"""Between the first round and the last: allocators keep some of what a round needed. A leak of each call's 64 KiB would be twice this."""


@dataclass
class Server:
    address: str
    tokens: dict[str, str]
    process: psutil.Process


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.support.serve_control", str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            yield Server(said.pop("address"), said, psutil.Process(process.pid))
        finally:
            process.stdin.close()
            process.wait(120)


@dataclass(frozen=True)
class Kind:
    """A kind of call, and the codes that it may end with."""

    method: str
    caller: str
    payload: bytes
    codes: frozenset[str]
    streams: bool = False


def kind(method: str, caller: str, payload: bytes, *codes: str, streams: bool = False) -> Kind:
    return Kind(method if method.startswith("/") else f"{SERVICE}{method}", caller, payload, frozenset(codes), streams)


KINDS = (
    kind("ListComponents", "owner", b"", "OK", BUSY),
    kind("GetComponent", "read", PAGE, "OK", BUSY),
    kind("GetComponent", "operate", b"\x0a\x03abc", "NOT_FOUND", BUSY),
    kind("StartComponent", "operate", PAGE, "OK", BUSY),
    kind("StopComponent", "operate", PAGE, "OK", BUSY),
    kind("StopComponent", "read", PAGE, "PERMISSION_DENIED"),
    kind("Shutdown", "operate", b"", "INVALID_ARGUMENT", BUSY),
    kind("Shutdown", "nobody", b"", "UNAUTHENTICATED"),
    kind("ListComponents", "stranger", b"", "UNAUTHENTICATED"),
    kind("TailLogs", "read", b"\xff" * 50, "INVALID_ARGUMENT", BUSY, streams=True),
    kind("GetComponent", "owner", b"x" * 70_000, "RESOURCE_EXHAUSTED"),
    kind("WatchPipeline", "read", b"", "OK", BUSY, streams=True),
    kind("Nothing", "operate", b"", "UNIMPLEMENTED"),
    kind("/cryptoviz.control.v1.GapsService/ListGaps", "read", b"", "OK", BUSY),
    kind("/cryptoviz.control.v1.OperationsService/StartOperation", "operate", b"", "INVALID_ARGUMENT", BUSY),
    kind("/grpc.health.v1.Health/Check", "read", b"", "OK", BUSY),
    kind("/grpc.health.v1.Health/Watch", "read", b"", "OK", BUSY, streams=True),
)


async def thousand(server: Server) -> Counter[tuple[Kind, str]]:
    channels = [grpc.aio.insecure_channel(server.address, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(CHANNELS)]
    tokens = server.tokens | {"stranger": "0" * 64}

    async def one(number: int) -> tuple[Kind, str]:
        asked = KINDS[number % len(KINDS)]
        channel = channels[number % CHANNELS]
        metadata = () if asked.caller == "nobody" else (("authorization", f"Bearer {tokens[asked.caller]}"),)
        calls: dict[bool, Callable[[str], Any]] = {False: channel.unary_unary, True: channel.unary_stream}
        call = calls[asked.streams](asked.method)(asked.payload, metadata=metadata, timeout=120)
        try:
            answer: Awaitable[Any] = call.read() if asked.streams else call
            await answer
            call.cancel()
        except grpc.aio.AioRpcError as error:
            return asked, error.code().name
        return asked, "OK"

    try:
        return Counter(await asyncio.gather(*map(one, range(CALLS))))
    finally:
        for channel in channels:
            await channel.close()


def test_each_of_a_thousand_calls_at_once_gets_its_status_and_the_server_keeps_its_size(server: Server) -> None:
    descriptors, sizes = server.process.num_fds(), []
    for _ in range(ROUNDS):
        ended = asyncio.run(thousand(server))
        assert ended.total() == CALLS
        assert {(asked.method, asked.caller, code) for asked, code in ended if code not in asked.codes} == set()
        # Each kind was served, and not only refused for the number of calls.
        served = {asked for asked, code in ended if code != BUSY}
        assert served == {asked for asked in KINDS if asked.codes != {BUSY}}
        eventually(lambda: server.process.num_fds() <= descriptors)
        sizes.append(server.process.memory_info().rss)
        with ControlClient(server.address, token=server.tokens["owner"], timeout_s=120) as client:
            assert len(client.list().components) == 4
    print(f"descriptors {descriptors}, resident MB after each round: {[round(size / 1e6) for size in sizes]}")
    assert sizes[-1] - sizes[0] < MAX_GROWTH_BYTES
