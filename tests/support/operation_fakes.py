"""Operations without Ray: the real actor class in this process, with work that tests control."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from control.operations.actor import OperationActor
from cryptoviz.errors import ComponentLost
from cryptoviz.operations import Arguments, OperationResult, OperationStatus, Report
from cryptoviz.settings import Settings


@dataclass
class FakeWork:
    """Waits for `finish`; then returns or raises the test's value."""

    outcome: OperationResult | BaseException = field(default_factory=lambda: OperationResult(message="done"))
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    report: Report | None = None

    async def run(self, report: Report) -> OperationResult:
        self.report = report
        await self.finish.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class FakeOperationRunner:
    """Runs each operation in this loop. `works`: the work by id; `kill` ends an operation like a lost process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.down = ""
        self.hosts: dict[str, OperationActor] = {}
        self.works: dict[str, FakeWork] = {}
        self.starts: list[str] = []

    async def start(self, status: OperationStatus) -> None:
        def make(settings: Settings, operation_id: str, arguments: Arguments) -> FakeWork:
            return self.works[operation_id]

        self.works[status.id] = FakeWork()
        self.starts.append(status.id)
        self.hosts[status.id] = OperationActor(self._settings, status, make)
        await self.hosts[status.id].start()

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        return await self._host(operation_id).changed_since(version, 0.05)

    async def cancel(self, operation_id: str) -> None:
        await self._host(operation_id).cancel()

    async def end(self, operation_id: str) -> None:
        self.hosts.pop(operation_id, None)

    def kill(self, operation_id: str) -> None:
        del self.hosts[operation_id]

    def _host(self, operation_id: str) -> OperationActor:
        if operation_id not in self.hosts:
            raise ComponentLost("its process is gone")
        return self.hosts[operation_id]


class MemoryOperations:
    """A store in memory."""

    def __init__(self, operations: Iterable[OperationStatus] = ()) -> None:
        self.saved = tuple(operations)

    async def load(self) -> tuple[OperationStatus, ...]:
        return self.saved

    async def save(self, operations: Iterable[OperationStatus]) -> None:
        self.saved = tuple(operations)
