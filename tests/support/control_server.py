"""A control server with fakes, in a separate thread, to test the blocking client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.operations.manager import OperationManager
from control.reconcile.components import ComponentTable
from control.reconcile.reconciler import Reconciler
from control.rpc.server import ControlServer
from cryptoviz.client import ControlClient
from cryptoviz.clock import SystemClock
from cryptoviz.errors import CryptoVizError
from cryptoviz.gaps import Gap
from cryptoviz.local.private import ensure_token
from cryptoviz.operations import OperationStatus
from cryptoviz.rpc.pipeline_status import pipeline_id
from cryptoviz.settings import Settings, load_settings
from tests.support.control_fakes import FakeRuntime, MemoryStore, small_table
from tests.support.operation_fakes import FakeOperationRunner, MemoryOperations
from tests.support.ports import free_port


@dataclass
class Serving:
    """A running server and its fakes."""

    settings: Settings
    token: str
    runtime: FakeRuntime
    reconciler: Reconciler
    loop: asyncio.AbstractEventLoop
    operations: FakeOperationRunner
    manager: OperationManager
    server: ControlServer | None = None
    read_gaps: Callable[[], Awaitable[list[Gap]]] | None = None
    gaps: list[Gap] | Exception = field(default_factory=list)
    shutdowns: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.settings.control.address

    def client(self, **more: Any) -> ControlClient:
        return ControlClient.from_settings(self.settings, **{"timeout_s": 60, **more})

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)


@contextmanager
def serving(home: Path, table: ComponentTable | None = None, tree: dict[str, Any] | None = None, **control: Any) -> Iterator[Serving]:
    """Serve within the context, live and with a free port. `tree`: other sections of the settings."""
    settings = load_settings("live", home=home, control={"port": free_port()} | control, **(tree or {}))
    with serving_settings(settings, table or small_table(), interval_ms=20) as here:
        yield here


@contextmanager
def serving_settings(settings: Settings, table: ComponentTable, interval_ms: int, operations: Iterable[OperationStatus] = ()) -> Iterator[Serving]:
    """Serve within the context; `interval_ms`: of the reconcile loop; `operations`: saved by an earlier controller."""
    runtime = FakeRuntime()
    started: list[Serving] = []
    errors: list[CryptoVizError] = []
    ready = threading.Event()
    end: list[asyncio.Event] = []

    async def main() -> None:
        # No jitter: hypothesis reports a changed random state, even of another thread, as a fault of the test.
        named, replayed = pipeline_id(settings), settings.profile == "demo"
        reconciler = Reconciler(
            table, runtime, MemoryStore(), SystemClock(), interval_ms=interval_ms, pipeline_id=named, uniform=lambda: 0.5, replayed=replayed
        )
        runner = FakeOperationRunner(settings)
        manager = OperationManager(runner, MemoryOperations(operations), settings, SystemClock(), lambda _: runner.down)
        token = ensure_token(settings.token_file, "CRYPTOVIZ_HOME")
        here = Serving(settings, token, runtime, reconciler, asyncio.get_running_loop(), runner, manager)

        async def read_gaps() -> list[Gap]:
            if here.read_gaps is not None:
                return await here.read_gaps()
            if isinstance(here.gaps, Exception):
                raise here.gaps
            return here.gaps

        async def shutdown() -> None:
            here.shutdowns.append("asked")
            await server.not_serving()

        server = ControlServer(reconciler, manager, read_gaps, settings, shutdown)
        here.server = server
        try:
            await reconciler.open()
            await manager.open()
            await server.start()
        except CryptoVizError as error:
            errors.append(error)
            return
        end.append(asyncio.Event())
        loop = asyncio.create_task(reconciler.run())
        started.append(here)
        ready.set()
        await end[0].wait()
        loop.cancel()
        await server.stop(0)
        await manager.close()
        await reconciler.close()

    def run() -> None:
        try:
            asyncio.run(main())
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="serving")
    thread.start()
    ready.wait(120)
    try:
        if errors:
            raise errors[0]
        assert started, "the server does not start"
        yield started[0]
    finally:
        if started:
            started[0].loop.call_soon_threadsafe(end[0].set)
        thread.join(120)
