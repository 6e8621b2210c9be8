"""Runs operations as detached Ray actors `operation/<id>`. Unit tests use a fake."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from actors.ray_actor import ActorDied, NoAnswer, RayActor
from control.operations.actor import OperationActor
from control.operations.catalog import make_operation
from cryptoviz.errors import ComponentLost, CryptoVizError
from cryptoviz.log import get_logger
from cryptoviz.operations import OperationStatus
from cryptoviz.settings import Settings

__all__ = ["OperationRunner", "RayOperationRunner"]

_START_TIMEOUT_S = 90.0
"""A new process imports Ray, Arrow and Kafka: seconds, or tens of seconds on a machine at full load."""
_WAIT_S = 2.0
"""Duration of one long poll while nothing changes."""
_ANSWER_TIMEOUT_S = 30.0
"""An operation whose event loop is blocked this long is treated as lost."""
_CONCURRENCY = 16

_log = get_logger("controller")


class OperationRunner(Protocol):
    """Runs operations by id. All calls are idempotent."""

    async def start(self, status: OperationStatus) -> None:
        """Start the operation. Raises ComponentLost when its process does not start."""

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        """The status when it changes, or the current status after a few seconds. Raises ComponentLost when the process is gone."""

    async def cancel(self, operation_id: str) -> None:
        """Request cancellation. Raises ComponentLost when the process is gone."""

    async def end(self, operation_id: str) -> None:
        """Kill the process and wait until it is gone. No error if none runs."""


class RayOperationRunner:
    """`OperationRunner` on the Ray cluster of this process.

    A dead actor is not restarted: the operation becomes INTERRUPTED, and the user decides whether to resume it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = settings.ray.namespace

    async def start(self, status: OperationStatus) -> None:
        actor = self._actor(status.id)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                options: dict[str, Any] = {"max_restarts": 0, "max_concurrency": _CONCURRENCY}
                await asyncio.to_thread(partial(actor.create, OperationActor, self._settings, status, make_operation, **options))
                await actor.call("start", timeout_s=_START_TIMEOUT_S)
        except (TimeoutError, NoAnswer):
            await self.end(status.id)
            raise ComponentLost(f"its process did not start within {_START_TIMEOUT_S:.0f} s", component=_name(status.id)) from None
        except CryptoVizError as error:
            raise ComponentLost(f"its process did not start: {error.message}", component=_name(status.id)) from None

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        status: OperationStatus = await self._call(operation_id, "changed_since", version, _WAIT_S)
        return status

    async def cancel(self, operation_id: str) -> None:
        await self._call(operation_id, "cancel")

    async def end(self, operation_id: str) -> None:
        with suppress(ComponentLost):
            await self._actor(operation_id).kill()

    async def _call(self, operation_id: str, method: str, *arguments: object) -> Any:
        try:
            return await self._actor(operation_id).call(method, *arguments, timeout_s=_ANSWER_TIMEOUT_S)
        except ActorDied as died:
            _log.warning("operation_lost", id=operation_id, error=died.detail)
            raise

    def _actor(self, operation_id: str) -> RayActor:
        return RayActor(_name(operation_id), self._namespace)


def _name(operation_id: str) -> str:
    return f"operation/{operation_id}"
