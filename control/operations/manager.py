"""Starts, follows and cancels operations. Owned by one event loop; a task per active operation follows its process."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from contextlib import suppress

from control.operations.catalog import KINDS, invalid_arguments
from control.operations.file_store import OperationStore
from control.operations.lifecycle import cancelling, created, failed, interrupted, resumed
from control.operations.ray_launcher import OperationRunner
from control.to_end import to_end
from cryptoviz.clock import Clock
from cryptoviz.errors import ComponentLost, ControlRefused, InvalidRequest, OperationBusy, UnknownOperation
from cryptoviz.log import get_logger
from cryptoviz.operations import RESUMABLE, Arguments, OperationState, OperationStatus
from cryptoviz.settings import Settings

__all__ = ["OperationManager", "is_operation_id"]

_KEPT = 100
_MIN_INTERVAL_S = 0.1
"""Progress is published at most ten times a second."""
_SAVE_EVERY_S = 5.0
"""A crash of the controller loses at most this much of the displayed progress, and no work."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
"""Valid operation ids: they become part of actor names and log lines."""

_logger = get_logger("controller")


def is_operation_id(text: str) -> bool:
    """Whether `text` is a valid operation id."""
    return _ID.fullmatch(text) is not None


class OperationManager:
    """All operations of a pipeline.

    Args:
        down: describes which of the named components are not up; empty if all are.
    """

    def __init__(
        self, runner: OperationRunner, store: OperationStore, settings: Settings, clock: Clock, down: Callable[[tuple[str, ...]], str]
    ) -> None:
        self._runner = runner
        self._store = store
        self._settings = settings
        self._clock = clock
        self._down = down
        self._operations: dict[str, OperationStatus] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Condition()
        self._saved_s = 0.0
        self._draining = False

    async def open(self) -> None:
        """Load the saved operations and follow those that still run; the others become INTERRUPTED."""
        self._operations = {one.id: one for one in await self._store.load()}
        for status in self._operations.values():
            if not status.over:
                self._follow(status.id)

    async def close(self) -> None:
        """Stop following; the operations keep running."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Refuse new operations and end the running ones as INTERRUPTED, before the engines stop."""
        self._draining = True
        await self.close()
        for status in self.all():
            if not status.over:
                await self._runner.end(status.id)
                await self._set(interrupted(status, "the pipeline was shut down", self._clock.now_ms()))

    def all(self) -> list[OperationStatus]:
        """All operations, newest first."""
        return sorted(self._operations.values(), key=lambda one: (one.created_ms, one.id), reverse=True)

    def get(self, operation_id: str) -> OperationStatus:
        """A single operation. Raises UnknownOperation."""
        status = self._operations.get(operation_id)
        if status is None:
            raise UnknownOperation(f"no operation {operation_id[:64]!r}; `cryptoviz operations` lists the last {_KEPT}", operation=operation_id[:64])
        return status

    async def start(self, operation_id: str, arguments: Arguments) -> OperationStatus:
        """Start an operation, or resume it by id. A running or succeeded operation is returned unchanged.

        Raises:
            InvalidRequest: invalid arguments, or the id belongs to an operation with other arguments.
            OperationBusy: another operation of this kind runs.
            ControlRefused: a required component is down, or a shutdown has begun.
        """
        operation_id = operation_id or str(uuid.uuid4())
        known = self._operations.get(operation_id)
        self._check(operation_id, arguments, known)
        if known is not None and known.state not in RESUMABLE:
            return known
        self._admit(arguments)
        status = created(operation_id, arguments, self._clock.now_ms()) if known is None else resumed(known)
        _logger.info("operation_asked", id=operation_id, kind=str(arguments.kind), attempt=status.attempt)
        await to_end(self._begin(status))
        return self.get(operation_id)

    async def _begin(self, status: OperationStatus) -> None:
        await self._set(status)
        self._follow(status.id, begin=True)

    async def cancel(self, operation_id: str) -> OperationStatus:
        """Request cancellation. Raises UnknownOperation."""
        status = self.get(operation_id)
        if not status.over:
            await to_end(self._cancel(status))
        return self.get(operation_id)

    async def _cancel(self, status: OperationStatus) -> None:
        await self._set(cancelling(status))
        with suppress(ComponentLost):  # the follower task sees that too, or starts the process and then cancels it
            await self._runner.cancel(status.id)

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        """The status as soon as its version differs from `version`, or the operation is over. Raises UnknownOperation.

        After a restart of the controller, versions that were sent but not saved occur again: the last one must not be waited for forever.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: (now := self.get(operation_id)).version != version or now.over)
            return self.get(operation_id)

    def _check(self, operation_id: str, arguments: Arguments, known: OperationStatus | None) -> None:
        violations = list(invalid_arguments(arguments, self._settings, self._clock.now_ms()))
        if not is_operation_id(operation_id):
            violations.append(("operation_id", "must be at most 64 letters, digits and `-`"))
        if known is not None and known.arguments != arguments:
            violations.append(("operation_id", "belongs to an operation with other arguments"))
        if violations:
            raise InvalidRequest.of(*violations)

    def _admit(self, arguments: Arguments) -> None:
        if self._draining:
            raise ControlRefused("the control service is shutting down; `cryptoviz up` starts it again", code="FAILED_PRECONDITION")
        busy = next((one for one in self._operations.values() if one.kind is arguments.kind and not one.over), None)
        if busy is not None:
            hint = f"a {arguments.kind} operation is already running ({busy.id}); watch or cancel it with `cryptoviz operations`"
            raise OperationBusy(hint, operation=busy.id)
        down = self._down(KINDS[arguments.kind].needs)
        if down:
            raise ControlRefused(f"a {arguments.kind} needs {down}", code="FAILED_PRECONDITION")

    def _follow(self, operation_id: str, *, begin: bool = False) -> None:
        task = asyncio.create_task(self._run(operation_id, begin=begin), name=f"operation {operation_id}")
        self._tasks[operation_id] = task
        task.add_done_callback(lambda done: self._tasks.pop(operation_id, None) if self._tasks.get(operation_id) is done else None)

    async def _run(self, operation_id: str, *, begin: bool) -> None:
        try:
            if begin:
                if self.get(operation_id).over:  # a shutdown began while it was stored
                    return
                await self._runner.start(self.get(operation_id))
                if self.get(operation_id).state is OperationState.CANCELLING:  # perhaps before there was a process
                    await self._runner.cancel(operation_id)
            # The process counts versions from its initial status, so any value but -1 could miss its first answer.
            seen = -1
            while not self.get(operation_id).over:
                answer = await self._runner.changed_since(operation_id, seen)
                seen = answer.version
                if answer.over:
                    # End the process before publishing, so that an immediate resume gets a new process.
                    await self._runner.end(operation_id)
                await self._take(answer)
                await asyncio.sleep(_MIN_INTERVAL_S)
        except ComponentLost as lost:
            await self._runner.end(operation_id)
            await self._set(interrupted(self.get(operation_id), lost.message, self._clock.now_ms()))
        except Exception as error:  # any error must become a state, not a lost task
            _logger.exception("operation_not_followed", id=operation_id)
            await self._runner.end(operation_id)
            await self._set(failed(self.get(operation_id), f"cannot follow its process: {type(error).__name__}", self._clock.now_ms()))

    async def _take(self, answer: OperationStatus) -> None:
        """Take over the process's status with our version number, which also counts a cancel that the process may not know yet."""
        ours = self.get(answer.id)
        if ours.state is not answer.state and not answer.over and ours.state.name == "CANCELLING":
            answer = answer.model_copy(update={"state": ours.state, "message": ours.message})
        if answer.model_copy(update={"version": ours.version}) != ours:
            await self._set(answer.model_copy(update={"version": ours.version + 1}))

    async def _set(self, status: OperationStatus) -> None:
        before = self._operations.get(status.id)
        self._operations[status.id] = status
        now_s = self._clock.monotonic_s()
        moved = before is None or (before.state, before.attempt) != (status.state, status.attempt)
        if moved or now_s - self._saved_s >= _SAVE_EVERY_S:
            self._saved_s = now_s
            await self._save()
        async with self._changed:
            self._changed.notify_all()

    async def _save(self) -> None:
        for old in [one for one in self.all() if one.over][_KEPT:]:
            del self._operations[old.id]
        try:
            await self._store.save(self.all())
        except OSError as error:
            _logger.warning("operations_not_saved", error=str(error))
