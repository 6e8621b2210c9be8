"""The gRPC server: port, credentials, health, reflection, orderly shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from control.operations.manager import OperationManager
from control.reconcile.reconciler import Reconciler
from control.rpc.admission import CallCounts, TokenCheck
from control.rpc.call_log import CallLog
from control.rpc.call_metrics import CallMetrics
from control.rpc.callers import Callers
from control.rpc.control_service import ControlService
from control.rpc.gap_service import GapReader, GapService
from control.rpc.health import Health
from control.rpc.interceptors import RequestGuard
from control.rpc.methods import CONTROL, GAPS, OPERATIONS, SERVICES
from control.rpc.operation_service import OperationService
from control.rpc.reflection import Reflection
from cryptoviz.components import ComponentState
from cryptoviz.control.v1.control_pb2_grpc import add_ControlServiceServicer_to_server
from cryptoviz.control.v1.gaps_pb2_grpc import add_GapsServiceServicer_to_server
from cryptoviz.control.v1.operations_pb2_grpc import add_OperationsServiceServicer_to_server
from cryptoviz.errors import PreflightError
from cryptoviz.log import get_logger
from cryptoviz.rpc.channel import SERVER_OPTIONS
from cryptoviz.settings import Settings

__all__ = ["ControlServer"]

_BIND_TIMEOUT_S = 5.0
"""Timeout to bind: after a restart of the controller the old socket may still be open."""
_BIND_RETRY_S = 0.25
_REVOKED_S = 1.0
"""Running calls end this long after their token was revoked; new calls see it at once."""

_log = get_logger("controller")


class ControlServer:
    """Serves the reconciler and the operations. `start`, then `stop`."""

    def __init__(
        self,
        reconciler: Reconciler,
        operations: OperationManager,
        read_gaps: GapReader,
        settings: Settings,
        on_shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._reconciler = reconciler
        self._operations = operations
        self._read_gaps = read_gaps
        self._settings = settings
        self._on_shutdown = on_shutdown
        self._health = Health()
        self._calls = CallLog()
        self.call_counts = CallCounts()
        self.callers = Callers(settings)
        self.token_check = TokenCheck(self.callers, self._calls)
        self._server: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bind and serve. Raises PreflightError when the port is in use or the TLS files cannot be read."""
        deadline = asyncio.get_running_loop().time() + _BIND_TIMEOUT_S
        while True:
            server = self._build()
            try:
                self._bind(server)
                break
            except RuntimeError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise self._taken() from error
                await asyncio.sleep(_BIND_RETRY_S)
        await server.start()
        self._server = server
        self._tasks = [
            asyncio.create_task(self._follow_health(), name="health"),
            asyncio.create_task(self._end_revoked(), name="revoked tokens"),
        ]
        _log.info("control_serves", address=self._settings.control.address)

    @property
    def call_metrics(self) -> CallMetrics:
        """Counts of all calls since the start."""
        return self._calls.metrics

    async def not_serving(self) -> None:
        """Report NOT_SERVING by health, permanently; calls are still answered."""
        self._health.end()

    async def stop(self, grace_s: float) -> None:
        """Stop: no new calls; calls in flight get `grace_s` seconds."""
        await self.not_serving()
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            await self._server.stop(grace_s)
        self._calls.close()

    def _build(self) -> grpc.aio.Server:
        # The token check is first, so that calls without a token cost next to nothing. Call limits are per kind, because with a common limit idle
        # calls of one kind could exclude all others.
        interceptors = (self.token_check, RequestGuard(self.call_counts, self._calls))
        server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
        control = ControlService(self._reconciler, self._settings, self._on_shutdown, self._calls.metrics)
        add_ControlServiceServicer_to_server(control, server)
        add_OperationsServiceServicer_to_server(OperationService(self._operations), server)
        add_GapsServiceServicer_to_server(GapService(self._read_gaps, self._settings), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Reflection(SERVICES), server)
        return server

    def _bind(self, server: grpc.aio.Server) -> None:
        control = self._settings.control
        if control.tls_cert is None:
            server.add_insecure_port(control.address)
            return
        if control.tls_key is None:
            raise PreflightError(f"control.tls_cert is {str(control.tls_cert)!r} without control.tls_key, its private key", problems=["tls"])
        try:
            pair = (control.tls_key.read_bytes(), control.tls_cert.read_bytes())
            of_clients = control.tls_client_ca.read_bytes() if control.tls_client_ca is not None else None
        except OSError as error:
            text = f"cannot read control.tls_cert, control.tls_key or control.tls_client_ca: {error}"
            raise PreflightError(text, problems=["tls"]) from error
        credentials = grpc.ssl_server_credentials([pair], root_certificates=of_clients, require_client_auth=of_clients is not None)
        server.add_secure_port(control.address, credentials)

    def _taken(self) -> PreflightError:
        address = self._settings.control.address
        return PreflightError(f"{address} is in use; stop the process that listens there, or set CRYPTOVIZ_CONTROL__PORT", problems=[address])

    async def _end_revoked(self) -> None:
        while True:
            await asyncio.sleep(_REVOKED_S)
            self.token_check.end_revoked()

    async def _follow_health(self) -> None:
        for service in (CONTROL, OPERATIONS, GAPS):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        version = 0
        while True:
            pipeline = await self._reconciler.changed_since(version)
            version = pipeline.version
            for component in pipeline.components:
                serving = component.state is ComponentState.RUNNING
                status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
                self._health.set(component.name, status)
