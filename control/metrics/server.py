"""The HTTP server of `/metrics`. Off unless `control.metrics_port` is set; every request needs the token of the control service."""

from __future__ import annotations

import ssl

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from control.rpc.admission import RefusalPacer, caller_of
from control.rpc.callers import Callers
from cryptoviz.errors import PreflightError
from cryptoviz.log import get_logger
from cryptoviz.settings import ControlSettings

__all__ = ["METRICS_PATH", "MetricsServer"]

METRICS_PATH = "/metrics"
_log = get_logger("controller")


class MetricsServer:
    """Serves one registry. `start`, then `stop`."""

    def __init__(self, registry: CollectorRegistry, callers: Callers, control: ControlSettings) -> None:
        self._registry = registry
        self._callers = callers
        self._pacer = RefusalPacer()
        self._control = control
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind and serve. Raises PreflightError if the port is in use."""
        port = self._control.metrics_port
        if port is None:
            return
        app = web.Application()
        app.router.add_get(METRICS_PATH, self._metrics)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._control.host, port, ssl_context=_tls(self._control), reuse_address=True).start()
        except OSError as error:
            await runner.cleanup()
            text = f"{self._control.host}:{port} is in use; stop the process that listens there, or set CRYPTOVIZ_CONTROL__METRICS_PORT"
            raise PreflightError(text, problems=[text]) from error
        self._runner = runner
        _log.info("metrics_served", port=port)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        if caller_of(request.headers.getall("Authorization", []), self._callers) is None:
            await self._pacer.turn(request.remote or "")
            return web.Response(status=401, text="the header `Authorization: Bearer <token>` is required\n", headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _tls(control: ControlSettings) -> ssl.SSLContext | None:
    """As for the gRPC service: its certificate, and certificates of clients if it requires them."""
    if control.tls_cert is None or control.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(control.tls_cert, control.tls_key)
    if control.tls_client_ca is not None:
        context.load_verify_locations(control.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
