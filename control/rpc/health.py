"""`grpc.health.v1` of the service and of each component.

Not the servicer of `grpcio-health-checking`: that one writes to each watcher under a lock that `set` takes too, so that one who does not read would
hold up every change, and with it the end of the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from control.rpc.rpc_errors import refuse

__all__ = ["Health"]

Context = Any  # grpc.aio.ServicerContext; the generated stubs ask for a class that is both that and the blocking one
Status = int
"""A `HealthCheckResponse.ServingStatus`."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """For one event loop. The service itself is `""`, SERVING from the beginning."""

    def __init__(self) -> None:
        self._status: dict[str, Status] = {"": pb.HealthCheckResponse.SERVING}
        self._changed = asyncio.Event()
        self._ending = False

    def set(self, name: str, status: Status) -> None:
        """How a service or component is. Nothing changes any more once the end was announced."""
        if not self._ending and self._status.get(name) != status:
            self._status[name] = status
            self._wake()

    def end(self) -> None:
        """All are NOT_SERVING, for good."""
        self._status = dict.fromkeys(self._status, pb.HealthCheckResponse.NOT_SERVING)
        self._ending = True
        self._wake()

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        """One, now."""
        status = self._status.get(request.service)
        if status is None:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "no such service or component")
        return pb.HealthCheckResponse(status=status)

    async def List(self, request: pb.HealthListRequest, context: Context) -> pb.HealthListResponse:
        """All, now."""
        del request, context
        return pb.HealthListResponse(statuses={name: pb.HealthCheckResponse(status=status) for name, status in self._status.items()})

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        """One, now and at each change. A slow reader gets the newest, not a backlog."""
        del context
        told = None
        while True:
            changed = self._changed
            status = self._status.get(request.service, pb.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                told = status
                yield pb.HealthCheckResponse(status=status)
            else:
                await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
