"""The gate before all handlers of the server, Panel's and Bokeh's own included, and the headers that every response carries."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from typing import Any

from bokeh.server import urls
from bokeh.util.token import get_session_id
from panel.io.server import DocHandler, Server, WSHandler
from tornado import httputil
from tornado.web import RequestHandler

from cryptoviz.errors import QueueFull
from cryptoviz.log import get_logger
from dashboard.access import Access, Refusal
from dashboard.builds import PageBuilds

__all__ = ["Gate", "LivenessHandler", "PageHandler", "SocketHandler", "guard", "page_policy", "use_own_handlers"]

_BARE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""For all but the page: a response that a browser shows as a document by itself does nothing."""

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
    """What the page may do: its own scripts by nonce, everything from this server.

    `unsafe-eval` stays: Bokeh and Tabulator compile formatters from our text. `blob:` are the modules that Panel builds. Styles stay inline:
    the components write them.
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
<body><p>Many pages are being opened. This one opens by itself in a moment.</p></body></html>
"""
_RETRY_AFTER_S = 3
_TRY_AGAIN_LATER = 1013  # of the WebSocket registry; the page reconnects by itself


class LivenessHandler(RequestHandler):
    """Answers while the loop runs. Panel's own would build a page when its query says so."""

    def get(self) -> None:
        """See `tornado.web.RequestHandler`."""
        self.write({"alive": True})


class PageHandler(DocHandler):  # type: ignore[misc]
    """Panel's page, built in its turn, with the policy and its nonce. Nothing of a request is in the HTML: what is marked as a script is ours."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """See `tornado.web.RequestHandler`. Beyond the queue of builds the answer is a page that loads again by itself."""
        try:
            async with self.application.page_builds.turn():
                await super().get(*args, **kwargs)
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self.set_header("Retry-After", str(_RETRY_AFTER_S))
            self.set_header("Cache-Control", "no-store")
            RequestHandler.write(self, _BUSY.format(seconds=_RETRY_AFTER_S))

    def write(self, chunk: Any) -> None:
        """See `tornado.web.RequestHandler`."""
        if isinstance(chunk, str):
            nonce = secrets.token_urlsafe(16)
            chunk = chunk.replace("<script", f'<script nonce="{nonce}"')
            self.set_header(_POLICY, page_policy(nonce, str(self.request.host)))
        super().write(chunk)


class SocketHandler(WSHandler):  # type: ignore[misc]
    """Panel's WebSocket, open to exactly the origins of `Access`: Bokeh's own check reads an environment variable and knows no IPv6."""

    def check_origin(self, origin: str) -> bool:
        """See `tornado.websocket.WebSocketHandler`."""
        return origin.lower() in self.application.websocket_origins

    async def _async_open(self, token: str) -> None:
        """Bokeh builds a page here for a session that it does not know, as after its own restart: in a turn too."""
        known = {session.id for session in self.application_context.sessions}
        if get_session_id(token) in known:
            await super()._async_open(token)
            return
        try:
            async with self.application.page_builds.turn():
                await super()._async_open(token)
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.close(_TRY_AGAIN_LATER)


def use_own_handlers() -> None:
    """Serve page and WebSocket, and nothing that other pages could embed. Panel puts its own handlers into this list of Bokeh in the same way."""
    urls.per_app_patterns[:] = [(r"/ws", SocketHandler), (r"/?", PageHandler)]


def guard(server: Server, access: Access, builds: PageBuilds) -> None:
    """Put the gate before the application of a server that was made and not yet started."""
    server._tornado.page_builds = builds
    server._tornado._websocket_origins = set(access.origins)
    server._http.request_callback = Gate(server._tornado, access)


class Gate(httputil.HTTPServerConnectionDelegate):
    """Asks `access` about every request, by its first line and headers, before Tornado looks for a handler."""

    def __init__(self, application: Any, access: Access) -> None:
        self._application = application
        self._access = access

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        """See `tornado.httputil`."""
        return _Request(self._application, self._access, server_conn, _Response(request_conn))

    def on_close(self, server_conn: object) -> None:
        """See `tornado.httputil`."""
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
    """The connection, with our headers on what is written to it."""

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
