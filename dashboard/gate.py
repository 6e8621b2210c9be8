"""The request gate in front of all handlers, including those of Panel and Bokeh, and the headers of every response."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, cast

from bokeh.server import urls
from bokeh.server.tornado import BokehTornado
from bokeh.util.token import get_session_id
from panel.io.server import DocHandler, Server, WSHandler
from tornado import httputil
from tornado.web import RequestHandler

from cryptoviz.errors import QueueFull
from cryptoviz.log import get_logger
from dashboard.access import SOCKET_PATH, Access, Refusal
from dashboard.builds import PageBuilds

__all__ = ["Gate", "LivenessHandler", "PageHandler", "SocketHandler", "guard", "page_policy", "use_own_handlers"]

_BARE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Policy of all responses but the page: opened as a document, they can do nothing."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DROPPED = ("Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Server")
_POLICY = "Content-Security-Policy"

log = get_logger("dashboard")


def page_policy(nonce: str, host: str) -> str:
    """Content-Security-Policy of the page: scripts by nonce, resources from this server only.

    `unsafe-eval` is needed, because Bokeh and Tabulator compile formatters; `blob:` for modules built by Panel; inline styles for the components.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            f"connect-src 'self' blob: ws://{host} wss://{host}",
            "manifest-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


_BUSY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CryptoViz</title><meta http-equiv="refresh" content="{seconds}"></head>
<body><p>Many pages are being opened. This page reloads in a moment.</p></body></html>
"""
_RETRY_AFTER_S = 3
_TRY_AGAIN_LATER = 1013  # WebSocket close code; the page reconnects automatically


def _builds(application: Any) -> PageBuilds:
    """The build queue that `guard` has given the application."""
    return cast("PageBuilds", application.page_builds)


class LivenessHandler(RequestHandler):
    """Liveness: answers while the loop runs. Replaces Panel's handler, which can build a page."""

    def get(self) -> None:
        self.write({"alive": True})


class PageHandler(DocHandler):
    """Panel's page, built from the queue, with the policy and its nonce. The HTML contains nothing of the request, so its scripts are trusted."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Serve the page; if the build queue is full, a page that reloads itself."""
        try:
            async with _builds(self.application).turn():
                await cast("Awaitable[None]", super().get(*args, **kwargs))
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self.set_header("Retry-After", str(_RETRY_AFTER_S))
            self.set_header("Cache-Control", "no-store")
            RequestHandler.write(self, _BUSY.format(seconds=_RETRY_AFTER_S))

    def write(self, chunk: Any) -> None:
        if isinstance(chunk, str):
            nonce = secrets.token_urlsafe(16)
            chunk = chunk.replace("<script", f'<script nonce="{nonce}"')
            self.set_header(_POLICY, page_policy(nonce, str(self.request.host)))
        super().write(chunk)


class SocketHandler(WSHandler):
    """Panel's WebSocket, restricted to the origins of `Access`. Bokeh's check uses an environment variable and does not support IPv6."""

    def check_origin(self, origin: str) -> bool:
        return origin.lower() in cast("BokehTornado", self.application).websocket_origins

    async def _async_open(self, token: str) -> None:
        """Use a build slot here too: Bokeh builds a page for an unknown session, as after a restart."""
        known = {session.id for session in self.application_context.sessions}
        if get_session_id(token) in known:
            await super()._async_open(token)
            return
        try:
            async with _builds(self.application).turn():
                await super()._async_open(token)
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.close(_TRY_AGAIN_LATER)


def use_own_handlers() -> None:
    """Register page and WebSocket handlers and no embeddable resources. Panel registers its own handlers in this list of Bokeh in the same way."""
    urls.per_app_patterns[:] = [(SOCKET_PATH, SocketHandler), (r"/?", PageHandler)]


def guard(server: Server, access: Access, builds: PageBuilds) -> None:
    """Install the gate in front of the application of a server that is not started yet."""
    cast("Any", server._tornado).page_builds = builds
    server._tornado._websocket_origins = set(access.origins)
    server._http.request_callback = Gate(server._tornado, access)


class Gate(httputil.HTTPServerConnectionDelegate):
    """Checks `access` for every request, by request line and headers, before Tornado selects a handler."""

    def __init__(self, application: Any, access: Access) -> None:
        self._application = application
        self._access = access

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _Request(self._application, self._access, server_conn, _Response(request_conn))

    def on_close(self, server_conn: object) -> None:
        self._application.on_close(server_conn)


class _Request(httputil.HTTPMessageDelegate):
    def __init__(self, application: Any, access: Access, server_conn: object, response: _Response) -> None:
        self._application, self._access = application, access
        self._server_conn, self._response = server_conn, response
        self._handled: httputil.HTTPMessageDelegate | None = None

    def headers_received(self, start_line: Any, headers: httputil.HTTPHeaders) -> Any:
        refusal = self._access.refusal(start_line.method, start_line.path, headers)
        if refusal is not None:
            self._response.refuse(refusal)
            return None
        self._handled = self._application.start_request(self._server_conn, self._response)
        return self._handled.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        return None if self._handled is None else self._handled.data_received(chunk)

    def finish(self) -> None:
        if self._handled is not None:
            self._handled.finish()

    def on_connection_close(self) -> None:
        if self._handled is not None:
            self._handled.on_connection_close()


class _Response(httputil.HTTPConnection):
    """The connection; adds the security headers to every response."""

    def __init__(self, connection: httputil.HTTPConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write_headers(self, start_line: Any, headers: httputil.HTTPHeaders, chunk: bytes | None = None) -> Any:
        for name in _DROPPED:
            headers.pop(name, None)
        for name, value in _HEADERS.items():
            headers[name] = value
        if _POLICY not in headers:
            headers[_POLICY] = _BARE_POLICY
        return self._connection.write_headers(start_line, headers, chunk)

    def write(self, chunk: bytes) -> Any:
        return self._connection.write(chunk)

    def finish(self) -> None:
        self._connection.finish()

    def refuse(self, refusal: Refusal) -> None:
        log.info("request_refused", status=int(refusal.status), reason=refusal.reason)
        body = json.dumps({"error": refusal.reason}).encode() + b"\n"
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store", "Connection": "close"}
        line = httputil.ResponseStartLine("HTTP/1.1", refusal.status.value, refusal.status.phrase)
        self.write_headers(line, httputil.HTTPHeaders(fields), body)
        self.finish()
