"""The control service of a running demo: calls at a fixed rate, kills of the controller, stops."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from bench.idle import kind_of
from cryptoviz.client import AsyncControlClient
from cryptoviz.components import ComponentState
from cryptoviz.errors import CryptoVizError
from tests.support.measure import Spread, load, spread
from tests.support.pipeline import Demo, detached_demo, environment
from tests.support.processes import processes_of

_TICK_S = 2.0
_START_S = 300.0
_BACK_S = 60.0
_POLL_S = 0.02
_COME_AND_GO = {"maintenance round", "spark tasks (Python)", "starting worker", "ended"}
"""Kinds of processes of which there are new ones without any fault."""


def pipeline(rate: float, seconds: float, kills: int, stops: int) -> None:
    """Start `stops` demos one after the other; call and kill in the first; print Markdown."""
    stopped = []
    for number in range(stops):
        with tempfile.TemporaryDirectory(prefix="cv-bench-") as folder:
            home = Path(folder)
            env = environment(home, _TICK_S)
            del env["CRYPTOVIZ_RAY__CLIENT_PORT"]  # its server does not run by default
            with detached_demo(home, env) as demo:
                demo.await_rows(_START_S)
                if number == 0:
                    _print_calls(rate, asyncio.run(_calls(demo, rate, seconds)))
                    _print_restarts([_restart(demo) for _ in range(kills)])
                begun = time.monotonic()
                done = demo.cli("down", "--demo")
                stopped.append(time.monotonic() - begun)
                if done.returncode != 0 or (left := processes_of(home)):
                    raise SystemExit(f"the demo did not stop: {done.stderr or left}")
    print(f"\nStop of all, s: {', '.join(f'{each:.1f}' for each in stopped)}; load {load()}.")


def _methods(client: AsyncControlClient) -> dict[str, Callable[[], Awaitable[object]]]:
    """What a page or a script polls."""
    return {
        "ListComponents": client.list,
        "GetComponent": lambda: client.get("lake"),
        "ListProviders": client.providers,
        "GetProvider": lambda: client.provider("coingecko"),
        "ListOperations": client.operations.list,
    }


async def _calls(demo: Demo, rate: float, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each call by method, from the time at which it was due. Every call must succeed."""
    took: dict[str, list[float]] = defaultdict(list)
    async with AsyncControlClient.from_settings(demo.settings, retry=None) as client:
        methods = _methods(client)
        for call in methods.values():
            await call()

        async def one(name: str, due: float) -> None:
            await methods[name]()
            took[name].append((time.monotonic() - due) * 1000)

        names, begun = list(methods), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(one(names[number % len(names)], due))
    return took


def _print_calls(rate: float, took: dict[str, list[float]]) -> None:
    print(f"\n{rate:g} calls a second beside the demo, load {load()}:\n")
    print("| method | calls | p50, ms | p95, ms | p99, ms | max, ms |\n|---|---|---|---|---|---|")
    rows: dict[str, Spread] = {name: spread(each) for name, each in took.items()}
    rows["all"] = spread([one for each in took.values() for one in each])
    for name, each in rows.items():
        print(f"| {name} | {each.count} | {each.p50:.1f} | {each.p95:.1f} | {each.p99:.1f} | {each.most:.1f} |")


def _restart(demo: Demo) -> tuple[float, float]:
    """Seconds from the end of the controller to the first answer of its successor, and to a RUNNING pipeline."""
    (controller,) = [process for process in processes_of(demo.settings.home) if kind_of(process) == "Controller"]
    others = _lasting(demo) - {(controller.pid, controller.create_time())}
    begun = time.monotonic()
    controller.kill()
    controller.wait()
    answered = running = 0.0
    with demo.control() as client:
        while not running:
            if time.monotonic() - begun > _BACK_S:
                raise SystemExit(f"the controller was not back within {_BACK_S:g} s")
            with contextlib.suppress(CryptoVizError):
                state = client.list().state
                answered = answered or time.monotonic() - begun
                running = time.monotonic() - begun if state is ComponentState.RUNNING else 0.0
            time.sleep(_POLL_S)
    if gone := others - _lasting(demo):
        raise SystemExit(f"other processes ended: {sorted(gone)}")
    return answered, running


def _lasting(demo: Demo) -> set[tuple[int, float]]:
    """Process ids and start times of the processes that a kill of the controller must not change."""
    found = set()
    for process in processes_of(demo.settings.home):
        with contextlib.suppress(psutil.NoSuchProcess):
            if kind_of(process) not in _COME_AND_GO:
                found.add((process.pid, process.create_time()))
    return found


def _print_restarts(took: list[tuple[float, float]]) -> None:
    print(f"\nController killed {len(took)} times, every other process unchanged; load {load()}.")
    print(f"Answers after, s: {', '.join(f'{answered:.1f}' for answered, _ in took)}.")
    print(f"RUNNING after, s: {', '.join(f'{running:.1f}' for _, running in took)}.")
