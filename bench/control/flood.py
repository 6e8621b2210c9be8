"""A control server, attackers in a process of their own that call again as soon as they are refused, and one honest caller."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import grpc

from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from tests.support.control_server import Serving, serving

_WARM_S = 2.0


def flood(seconds: float) -> None:
    """Print the table. `seconds`: how long each load is measured."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="cryptoviz-bench-") as home, serving(Path(home)) as served:
        for calls, connections in ((0, 1), (1_000, 1), (1_000, 50)):
            rows.append((calls, connections, *measure(served, calls, connections, seconds)))
    print("\n| calls without a token | on connections | refused a second | honest calls | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    for calls, connections, refused, honest, p50, p99 in rows:
        print(f"| {calls} | {connections} | {refused:.0f} | {honest} | {p50:.1f} | {p99:.1f} |")


def measure(served: Serving, calls: int, connections: int, seconds: float) -> tuple[float, int, float, float]:
    """Refusals a second, and number, median and 99th percentile (ms) of the honest calls."""
    context = multiprocessing.get_context("spawn")
    refused = context.Value("i", 0)
    attack = context.Process(target=attacked, args=(served.address, calls, connections, seconds + _WARM_S, refused))
    attack.start()
    took = []
    with served.client(timeout_s=30) as client:
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + _WARM_S + seconds:
            client.list()
            if now > begin + _WARM_S:
                took.append((time.monotonic() - now) * 1000)
    attack.join()
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else took * 99
    return refused.value / (seconds + _WARM_S), len(took), cuts[49], cuts[98]


def attacked(address: str, calls: int, connections: int, seconds: float, refused: object) -> None:
    """The attackers' process."""
    asyncio.run(_attack(address, calls, connections, seconds, refused))


async def _attack(address: str, calls: int, connections: int, seconds: float, refused: object) -> None:
    channels = [grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(connections)]
    stubs = [ControlServiceStub(channel) for channel in channels]
    end, count = time.monotonic() + seconds, 0

    async def one(number: int) -> None:
        nonlocal count
        while time.monotonic() < end:
            try:
                await stubs[number % connections].ListComponents(pb.ListComponentsRequest(), timeout=30)
            except grpc.aio.AioRpcError:
                count += 1

    await asyncio.gather(*(one(number) for number in range(calls)))
    refused.value = count  # type: ignore[attr-defined]  # a shared number of multiprocessing
