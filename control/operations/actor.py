"""The actor of a single operation: runs the work and reports its progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from control.operations.lifecycle import cancelled, cancelling, failed, progressed, running, succeeded
from cryptoviz.clock import Clock, SystemClock
from cryptoviz.errors import CryptoVizError
from cryptoviz.log import get_logger
from cryptoviz.operations import Operation, OperationStatus, Progress
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file

__all__ = ["OperationActor"]


class OperationActor:
    """Runs one operation; answers `changed_since` and `cancel` during the run and afterwards.

    Args:
        make: creates the work from settings, id and arguments; imports its module.
    """

    def __init__(self, settings: Settings, status: OperationStatus, make: Callable[..., Any], clock: Clock | None = None) -> None:
        self._settings = settings
        self._status = status
        self._make = make
        self._clock = clock or SystemClock()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Begin the work; a second call is a no-op."""
        if self._task is None:
            log_to_file(self._settings, f"operation/{self._status.kind}")
            self._loop = asyncio.get_running_loop()
            self._set(running(self._status))
            self._task = asyncio.create_task(self._run(), name=self._status.id)
            # A task cancelled before its first step never enters `_run`.
            self._task.add_done_callback(lambda _: self._set(cancelled(self._status, self._clock.now_ms())))

    async def cancel(self) -> None:
        """Cancel the work at its next await."""
        self._set(cancelling(self._status))
        if self._task is not None:
            self._task.cancel()

    async def changed_since(self, version: int, wait_s: float) -> OperationStatus:
        """The status as soon as its version differs from `version`, or the current status after `wait_s` seconds."""
        try:
            async with asyncio.timeout(wait_s):
                while self._status.version == version:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._status

    async def _run(self) -> None:
        log = get_logger(f"operation/{self._status.kind}")
        try:
            log.info("operation_begins", id=self._status.id, arguments=self._status.arguments.model_dump(mode="json"))
            work: Operation = await asyncio.to_thread(self._make, self._settings, self._status.id, self._status.arguments)
            result = await work.run(self._report)
            self._set(succeeded(self._status, result, self._clock.now_ms()))
        except asyncio.CancelledError:
            self._set(cancelled(self._status, self._clock.now_ms()))
        except CryptoVizError as error:
            self._set(failed(self._status, error.message, self._clock.now_ms()))
        except Exception as error:  # any error of the work must become a state, not a lost task
            log.exception("operation_failed", id=self._status.id)
            self._set(failed(self._status, f"{type(error).__name__}: {error}; see the operation's log", self._clock.now_ms()))
        log.info("operation_ended", id=self._status.id, state=str(self._status.state), message=self._status.message)

    def _report(self, progress: Progress) -> None:
        # The work may call this from a thread.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._set(progressed(self._status, progress)))

    def _set(self, status: OperationStatus) -> None:
        self._status = status
        self._changed.set()
