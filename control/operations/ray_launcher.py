"""Where operations run: in Ray a detached actor each, `operation/<id>`; a fake in unit tests. The only place that calls Ray for them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import ray
import ray.exceptions

from control.operations.actor import OperationHost
from control.operations.catalog import make_operation
from control.reconcile.ray_runtime import service_options
from cryptoviz.errors import ComponentLost
from cryptoviz.log import get_logger
from cryptoviz.operations import OperationStatus
from cryptoviz.settings import Settings

__all__ = ["OperationRunner", "RayOperationRunner"]

_START_TIMEOUT_S = 90.0
"""A new process imports Ray, Arrow and Kafka: seconds, many of them on a machine at full load."""
_WAIT_S = 2.0
"""How long one question stays open while nothing changes."""
_ANSWER_TIMEOUT_S = 30.0
"""Work that blocks its loop that long is lost."""
_GONE_TIMEOUT_S = 10.0
_GONE_POLL_S = 0.05
_CONCURRENCY = 16

_log = get_logger("controller")


class OperationRunner(Protocol):
    """Runs operations by id. Safe to call again."""

    async def start(self, status: OperationStatus) -> None:
        """Begin it. Raises ComponentLost when its process does not come up."""
        ...

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        """Its status when it changes, or as it is after a while. Raises ComponentLost when its process is gone."""
        ...

    async def cancel(self, operation_id: str) -> None:
        """Ask it to end. Raises ComponentLost when its process is gone."""
        ...

    async def end(self, operation_id: str) -> None:
        """End its process at once and wait until it is gone. No error if there is none."""
        ...


class RayOperationRunner:
    """`OperationRunner` on the Ray cluster that this process is part of.

    The actor is not re-made when it dies: the person who asked is told and resumes it, or does not.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = settings.ray.namespace

    async def start(self, status: OperationStatus) -> None:
        """Make its actor and begin."""
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                actor = await asyncio.to_thread(self._make, status)
                await actor.start.remote()
        except TimeoutError:
            await self.end(status.id)
            raise ComponentLost(f"its process is not up within {_START_TIMEOUT_S:.0f} s", component=_name(status.id)) from None
        except ray.exceptions.RayError as error:
            raise ComponentLost(f"its process did not come up: {type(error).__name__}", component=_name(status.id)) from None

    async def changed_since(self, operation_id: str, version: int) -> OperationStatus:
        """Ask its actor."""
        status: OperationStatus = await self._call(operation_id, "changed_since", version, _WAIT_S)
        return status

    async def cancel(self, operation_id: str) -> None:
        """Tell its actor."""
        await self._call(operation_id, "cancel")

    async def end(self, operation_id: str) -> None:
        """Kill its actor, and wait until its name is free."""
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
            raise ComponentLost(f"it does not answer within {_ANSWER_TIMEOUT_S:.0f} s", component=_name(operation_id)) from None
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
        return ray.remote(OperationHost).options(**options).remote(self._settings, status, make_operation)


def _name(operation_id: str) -> str:
    return f"operation/{operation_id}"
