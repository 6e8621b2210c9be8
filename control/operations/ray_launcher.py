"""Runs operations as detached Ray actors `operation/<id>`. The only place that calls Ray for operations; unit tests use a fake."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import ray
import ray.exceptions

from control.operations.actor import OperationActor
from control.operations.catalog import make_operation
from control.reconcile.ray_runtime import service_options
from cryptoviz.errors import ComponentLost
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
_GONE_TIMEOUT_S = 10.0
_GONE_POLL_S = 0.05
_CONCURRENCY = 16

_log = get_logger("controller")


class OperationRunner(Protocol):
    """Runs operations by id. All calls are idempotent."""

    async def start(self, status: OperationStatus) -> None:
        """Start the operation. Raises ComponentLost when its process does not start."""
        ...

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        """The status when it changes, or the current status after a few seconds. Raises ComponentLost when the process is gone."""
        ...

    async def cancel(self, operation_id: str) -> None:
        """Request cancellation. Raises ComponentLost when the process is gone."""
        ...

    async def end(self, operation_id: str) -> None:
        """Kill the process and wait until it is gone. No error if none runs."""
        ...


class RayOperationRunner:
    """`OperationRunner` on the Ray cluster of this process.

    A dead actor is not restarted: the operation becomes INTERRUPTED, and the user decides whether to resume it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = settings.ray.namespace

    async def start(self, status: OperationStatus) -> None:
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                actor = await asyncio.to_thread(self._make, status)
                await actor.start.remote()
        except TimeoutError:
            await self.end(status.id)
            raise ComponentLost(f"its process did not start within {_START_TIMEOUT_S:.0f} s", component=_name(status.id)) from None
        except ray.exceptions.RayError as error:
            raise ComponentLost(f"its process did not start: {type(error).__name__}", component=_name(status.id)) from None

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        status: OperationStatus = await self._call(operation_id, "changed_since", version, _WAIT_S)
        return status

    async def cancel(self, operation_id: str) -> None:
        await self._call(operation_id, "cancel")

    async def end(self, operation_id: str) -> None:
        actor = await self._get(operation_id)
        if actor is not None:
            await asyncio.to_thread(ray.kill, actor, no_restart=True)
            for _ in range(round(_GONE_TIMEOUT_S / _GONE_POLL_S)):
                if await self._get(operation_id) is None:
                    return
                await asyncio.sleep(_GONE_POLL_S)

    async def _call(self, operation_id: str, method: str, *arguments: object) -> Any:
        actor = await self._get(operation_id)
        if actor is None:
            raise ComponentLost("its process is gone", component=_name(operation_id))
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return await getattr(actor, method).remote(*arguments)
        except TimeoutError:
            raise ComponentLost(f"no answer within {_ANSWER_TIMEOUT_S:.0f} s", component=_name(operation_id)) from None
        except ray.exceptions.RayError as error:
            _log.warning("operation_lost", id=operation_id, error=type(error).__name__)
            raise ComponentLost("its process ended", component=_name(operation_id)) from None

    async def _get(self, operation_id: str) -> Any | None:
        try:
            return await asyncio.to_thread(ray.get_actor, _name(operation_id), namespace=self._namespace)
        except ValueError:
            return None

    def _make(self, status: OperationStatus) -> Any:
        options = service_options(_name(status.id), self._namespace) | {"max_restarts": 0, "max_concurrency": _CONCURRENCY}
        return ray.remote(OperationActor).options(**options).remote(self._settings, status, make_operation)


def _name(operation_id: str) -> str:
    return f"operation/{operation_id}"
