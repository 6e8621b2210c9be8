"""A call whose client has gone is cancelled: what it began is done whole, once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from control.controller import Controller
from control.operations.file_store import OperationFile
from control.operations.manager import OperationManager
from control.reconcile.desired_state import FileStore
from control.reconcile.placer import Placer
from control.reconcile.ray_runtime import RayRuntime
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState as S
from cryptoviz.components import DesiredState
from cryptoviz.local.private import write_private
from cryptoviz.operations import BackfillArguments, OperationState, OperationStatus
from cryptoviz.settings import load_settings
from tests.support.control_fakes import Bench, small_table
from tests.support.operation_fakes import FakeOperationRunner, MemoryOperations
from tests.support.waiting import eventually_async

ALL = BackfillArguments()


class SlowDisk(MemoryOperations):
    """The first save waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def save(self, operations: Iterable[OperationStatus]) -> None:
        content = tuple(operations)
        if not self.asked.is_set():
            self.asked.set()
            await self.gate.wait()
        self.saved = content


class SlowStart(FakeOperationRunner):
    """A process that exists only once `gate` is set."""

    def __init__(self, home: Path) -> None:
        super().__init__(load_settings("live", home=home))
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def start(self, status: OperationStatus) -> None:
        self.asked.set()
        await self.gate.wait()
        await super().start(status)


def manager_of(home: Path, runner: FakeOperationRunner | None = None, store: Any = None) -> OperationManager:
    settings = load_settings("live", home=home)
    return OperationManager(runner or FakeOperationRunner(settings), store or MemoryOperations(), settings, SystemClock(), lambda _: "")


async def leave(call: asyncio.Task[Any]) -> None:
    call.cancel()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)


async def until(check: Callable[[], bool]) -> None:
    async def look() -> bool:
        return check()

    await eventually_async(look)


async def until_over(manager: OperationManager, name: str) -> OperationStatus:
    async with asyncio.timeout(60):
        status = manager.get(name)
        while not status.over:
            status = await manager.changed_since(name, status.version)
    return status


async def test_a_stop_whose_caller_leaves_while_it_is_stored_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the file says STOPPED, which the next controller would obey, and this one keeps the engine running."""
    path = tmp_path / "desired.json"
    gate, asked = threading.Event(), threading.Event()
    store: Any = FileStore(path)

    def slow(*arguments: Any, **options: Any) -> None:
        asked.set()
        assert gate.wait(60)
        write_private(*arguments, **options)

    async with Bench(store=store) as bench:
        await bench.reconciler.start("engine")
        await bench.until(engine=S.RUNNING)
        monkeypatch.setattr("control.reconcile.desired_state.write_private", slow)
        stop = asyncio.create_task(bench.reconciler.stop("engine"))
        await asyncio.to_thread(asked.wait, 60)
        await leave(stop)
        gate.set()
        await until(lambda: json.loads(path.read_text())["components"]["engine"] == "STOPPED")
        await bench.until(engine=S.STOPPED)
        assert bench.reconciler.component("engine").desired is DesiredState.STOPPED


async def test_a_later_change_is_not_overtaken_by_one_whose_caller_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "desired.json"
    gate, asked = threading.Event(), threading.Event()
    store: Any = FileStore(path)

    def slow(*arguments: Any, **options: Any) -> None:
        if not asked.is_set():
            asked.set()
            assert gate.wait(60)
        write_private(*arguments, **options)

    async with Bench(store=store) as bench:
        monkeypatch.setattr("control.reconcile.desired_state.write_private", slow)
        first = asyncio.create_task(bench.reconciler.start("engine"))
        await asyncio.to_thread(asked.wait, 60)
        await leave(first)
        second = asyncio.create_task(bench.reconciler.stop("engine"))
        for _ in range(10):
            await asyncio.sleep(0)
        gate.set()
        await second
        stored = json.loads(path.read_text())
        assert (stored["revision"], stored["components"]["engine"]) == (2, "STOPPED")


async def test_an_operation_whose_caller_leaves_while_it_is_stored_runs(tmp_path: Path) -> None:
    """Otherwise it is PENDING for ever, and no other of its kind may start."""
    store = SlowDisk()
    runner = FakeOperationRunner(load_settings("live", home=tmp_path))
    manager = manager_of(tmp_path, runner, store)
    start = asyncio.create_task(manager.start("one", ALL))
    await store.asked.wait()
    await leave(start)
    store.gate.set()
    await until(lambda: runner.starts == ["one"])
    runner.works["one"].finish.set()
    assert (await until_over(manager, "one")).state is OperationState.SUCCEEDED


async def test_a_cancel_while_the_process_starts_ends_it(tmp_path: Path) -> None:
    runner = SlowStart(tmp_path)
    manager = manager_of(tmp_path, runner)
    await manager.start("one", ALL)
    await runner.asked.wait()
    assert (await manager.cancel("one")).state is OperationState.CANCELLING
    runner.gate.set()
    assert (await until_over(manager, "one")).state is OperationState.CANCELLED


async def test_a_shutdown_while_an_operation_is_stored_starts_no_process(tmp_path: Path) -> None:
    store = SlowDisk()
    runner = FakeOperationRunner(load_settings("live", home=tmp_path))
    manager = manager_of(tmp_path, runner, store)
    start = asyncio.create_task(manager.start("one", ALL))
    await store.asked.wait()
    await manager.drain()
    store.gate.set()
    assert (await start).state is OperationState.INTERRUPTED
    await manager.close()
    assert runner.starts == []


async def test_writes_of_the_operations_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that is cancelled while it saves: its write ends before the next begins."""
    path = tmp_path / "operations.json"
    store = OperationFile(path)
    write, gate, asked = store._write, threading.Event(), threading.Event()
    written: list[bytes] = []

    def slow(content: bytes) -> None:
        if not asked.is_set():
            asked.set()
            assert gate.wait(60)
        write(content)
        written.append(content)

    monkeypatch.setattr(store, "_write", slow)
    one = OperationStatus(id="one", arguments=ALL, created_ms=1, message="")
    first = asyncio.create_task(store.save([one]))
    await asyncio.to_thread(asked.wait, 60)
    await leave(first)
    second = asyncio.create_task(store.save([]))
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    await second
    await until(lambda: len(written) == 2)
    assert [b'"one"' in content for content in written] == [True, False]
    assert await store.load() == ()


class SlowActor:
    """Exists once `gate` is set."""

    def __init__(self) -> None:
        self.gate, self.asked = threading.Event(), threading.Event()
        self.there, self.kills = False, 0

    def create(self, *_: object, **__: object) -> None:
        self.asked.set()
        assert self.gate.wait(60)
        self.there = True

    async def exists(self) -> bool:
        return self.there

    async def kill(self) -> None:
        self.there, self.kills = False, self.kills + 1


async def test_a_stop_after_a_cancelled_stop_leaves_no_actor() -> None:
    """Both come while the actor is being created, in a thread that no cancellation ends."""
    spec, actor = small_table()["engine"], SlowActor()
    spec = replace(spec, actor="control.reconcile.engine_actor:EngineActor")
    runtime = RayRuntime("test", Placer(head=lambda: "node"))
    runtime._actors[spec.name] = actor  # type: ignore[assignment]
    start = asyncio.create_task(runtime.prepare(spec))
    await asyncio.to_thread(actor.asked.wait, 60)
    await leave(start)
    first = asyncio.create_task(runtime.stop(spec, 0.0))
    await asyncio.sleep(0)
    await leave(first)
    second = asyncio.create_task(runtime.stop(spec, 0.0))
    for _ in range(10):
        await asyncio.sleep(0)
    actor.gate.set()
    await second
    assert (actor.there, actor.kills) == (False, 1)


class StartedController(Controller):
    """Without Ray, and without an end of its process. `drain` waits for `gate`."""

    def __init__(self, home: Path) -> None:
        super().__init__(load_settings("live", home=home))
        self.gate, self.draining = asyncio.Event(), asyncio.Event()
        self.drains, self.ends = 0, 0
        self._operations = SimpleNamespace(drain=self._drained)  # type: ignore[assignment]

    def serve(self) -> None:
        async def not_serving() -> None:
            return None

        self._server = SimpleNamespace(not_serving=not_serving)  # type: ignore[assignment]

    async def _drained(self) -> None:
        self.drains += 1
        self.draining.set()
        await self.gate.wait()

    async def _run(self) -> None:
        await asyncio.Event().wait()

    async def _end(self, server: object) -> None:
        self.ends += 1

    async def close(self) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self._claim.release()


async def test_a_shutdown_whose_caller_leaves_ends_the_pipeline(tmp_path: Path) -> None:
    """Otherwise operations are refused as during a shutdown, and health reports NOT_SERVING, while everything goes on."""
    controller = StartedController(tmp_path)
    controller.serve()
    call = asyncio.create_task(controller.shutdown())
    await controller.draining.wait()
    await leave(call)
    controller.gate.set()
    await until(lambda: controller.ends == 1)
    await controller.close()


async def test_two_shutdowns_at_once_are_one(tmp_path: Path) -> None:
    controller = StartedController(tmp_path)
    controller.serve()
    calls = [asyncio.create_task(controller.shutdown()) for _ in range(2)]
    await controller.draining.wait()
    controller.gate.set()
    await asyncio.gather(*calls)
    await asyncio.sleep(0)
    assert (controller.drains, controller.ends) == (1, 1)
    await controller.close()


async def test_a_shutdown_before_everything_serves_is_not_lost(tmp_path: Path) -> None:
    """The gRPC server answers before the port of the metrics is open."""
    controller = StartedController(tmp_path)
    controller.gate.set()
    call = asyncio.create_task(controller.shutdown())
    for _ in range(10):
        await asyncio.sleep(0)
    controller.serve()
    await call
    await until(lambda: controller.ends == 1)
    await controller.close()
