"""`grpc.health.v1` of the service and of each component.

Replaces the servicer of `grpcio-health-checking`, which writes to each watcher under the lock of `set`: a client that does not read would block
every change, and with it the shutdown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from cryptoviz.errors import ControlRefused

__all__ = ["Health"]

Context = Any  # grpc.aio.ServicerContext; the generated stubs require a subclass of it and of the synchronous context
Status = int
"""A `HealthCheckResponse.ServingStatus`."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """Health states, for one event loop. The service itself is `""`, initially SERVING."""

    def __init__(self) -> None:
        self._status: dict[str, Status] = {"": pb.HealthCheckResponse.SERVING}
        self._changed = asyncio.Event()
        self._ending = False

    def set(self, name: str, status: Status) -> None:
        """Set the status of a service or component. Ignored after `end`."""
        if not self._ending and self._status.get(name) != status:
            self._status[name] = status
            self._wake()

    def end(self) -> None:
        """Set all to NOT_SERVING, permanently."""
        self._status = dict.fromkeys(self._status, pb.HealthCheckResponse.NOT_SERVING)
        self._ending = True
        self._wake()

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        del context
        status = self._status.get(request.service)
        if status is None:
            raise ControlRefused("no such service or component", code="NOT_FOUND")
        return pb.HealthCheckResponse(status=status)

    async def List(self, request: pb.HealthListRequest, context: Context) -> pb.HealthListResponse:
        del request, context
        return pb.HealthListResponse(statuses={name: pb.HealthCheckResponse(status=status) for name, status in self._status.items()})

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        """The current status of one service, then each change. A slow reader skips to the newest."""
        del context
        sent = None
        while True:
            changed = self._changed
            status = self._status.get(request.service, pb.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != sent:
                sent = status
                yield pb.HealthCheckResponse(status=status)
            else:
                await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
