"""A fake runtime and store, controlled by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from control.reconcile.components import ComponentSpec, ComponentTable
from control.reconcile.desired_state import DesiredDocument
from control.reconcile.reconciler import Reconciler
from cryptoviz.components import ComponentKind, ComponentState, Probe
from cryptoviz.errors import ComponentLost, CryptoVizError
from tests.support.clock import FakeClock

HEALTHY = Probe(running=True, healthy=True, metrics={"rows_total": 1.0}, pid=7)


@dataclass
class FakeRuntime:
    """Records calls in order. The behaviour of a component is set by name; an answer is a value, an error to raise, or a function."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    probes: dict[str, Probe] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    prepare_errors: dict[str, list[Exception]] = field(default_factory=dict)
    start_errors: dict[str, list[CryptoVizError | Exception]] = field(default_factory=dict)
    stop_errors: dict[str, list[Exception]] = field(default_factory=dict)
    start_gates: dict[str, asyncio.Event] = field(default_factory=dict)
    stop_gates: dict[str, asyncio.Event] = field(default_factory=dict)
    graces: dict[str, float] = field(default_factory=dict)
    answers: dict[tuple[str, str], object] = field(default_factory=dict)

    async def find(self, spec: ComponentSpec) -> Probe | None:
        return self.probes.get(spec.name, HEALTHY) if spec.name in self.alive else None

    async def prepare(self, spec: ComponentSpec) -> None:
        self.calls.append(("prepare", spec.name))
        if errors := self.prepare_errors.get(spec.name):
            raise errors.pop(0)

    async def start(self, spec: ComponentSpec) -> None:
        self.calls.append(("start", spec.name))
        if gate := self.start_gates.get(spec.name):
            await gate.wait()
        if errors := self.start_errors.get(spec.name):
            raise errors.pop(0)
        self.alive.add(spec.name)

    async def probe(self, spec: ComponentSpec) -> Probe:
        if spec.name in self.lost:
            raise ComponentLost("its actor is gone", component=spec.name)
        return self.probes.get(spec.name, HEALTHY)

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        self.calls.append(("stop", spec.name))
        self.graces[spec.name] = grace_s
        if gate := self.stop_gates.get(spec.name):
            await gate.wait()
        if errors := self.stop_errors.get(spec.name):
            raise errors.pop(0)
        self.alive.discard(spec.name)

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> object:
        self.calls.append((method, spec.name))
        answer = self.answers.get((spec.name, method))
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments) if callable(answer) else answer

    async def run_at(self, spec: ComponentSpec, function: Callable[..., object], *arguments: object) -> object:
        self.calls.append(("run_at", spec.name))
        return await asyncio.to_thread(function, *arguments)

    def count(self, verb: str, name: str) -> int:
        return self.calls.count((verb, name))


class MemoryStore:
    """Keeps every saved document."""

    def __init__(self, document: DesiredDocument | None = None) -> None:
        self.saved = [document] if document else []

    async def load(self) -> DesiredDocument:
        return self.saved[-1] if self.saved else DesiredDocument()

    async def save(self, document: DesiredDocument) -> None:
        self.saved.append(document)


def small_table() -> ComponentTable:
    """engine <- worker <- reader, and a page without dependencies."""
    return ComponentTable(
        [
            ComponentSpec("engine", ComponentKind.ENGINE, "x:X", (), grace_s=15.0),
            ComponentSpec("worker", ComponentKind.COLLECTOR, "x:X", (), depends_on=("engine",), grace_s=15.0),
            ComponentSpec("reader/one", ComponentKind.SCRAPER, "x:X", (), depends_on=("worker",), grace_s=15.0),
            ComponentSpec("page", ComponentKind.DASHBOARD, "x:X", (), uses=("engine",), grace_s=15.0),
        ]
    )


class Bench:
    """A reconciler with fakes, whose loop the test steps."""

    def __init__(
        self,
        document: DesiredDocument | None = None,
        runtime: FakeRuntime | None = None,
        interval_ms: int = 10,
        table: ComponentTable | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.runtime = runtime or FakeRuntime()
        self.clock = FakeClock()
        self.store = store or MemoryStore(document)
        self.reconciler = Reconciler(table or small_table(), self.runtime, self.store, self.clock, interval_ms, uniform=lambda: 1.0)
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.reconciler.open()
        self._loop = asyncio.create_task(self.reconciler.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self.reconciler.close()

    def states(self) -> dict[str, ComponentState]:
        return {component.name: component.state for component in self.reconciler.snapshot().components}

    async def until(self, **wanted: ComponentState) -> None:
        """Wait until the named components (`reader` is reader/one) are in these states."""
        names = {("reader/one" if name == "reader" else name): state for name, state in wanted.items()}
        async with asyncio.timeout(60):
            version = -1
            while not all(self.states().get(name) is state for name, state in names.items()):
                version = (await self.reconciler.changed_since(version)).version
