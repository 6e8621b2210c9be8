"""The request gate in front of all handlers, including those of Panel and Bokeh, and the headers of every response."""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast
from weakref import WeakKeyDictionary

from bokeh.server import urls
from bokeh.server.tornado import BokehTornado
from bokeh.util.token import get_session_id
from panel.io.server import DocHandler, Server, WSHandler
from tornado import httputil
from tornado.web import RequestHandler

from cryptoviz.errors import QueueFull
from cryptoviz.local.heartbeat import LIVENESS_PATH
from cryptoviz.log import get_logger
from dashboard.access.messages import is_expected
from dashboard.access.peer_user import peer_uid
from dashboard.access.rules import OPEN_PATHS, PAGE_PATH, SOCKET_PATH, Access, Refusal
from dashboard.access.sign_in import REOPEN, back_to, sign_in_address
from dashboard.access.visitors import CURRENT, Visitor, Visitors
from dashboard.builds import PageBuilds
from dashboard.views.texts import language_of, texts

__all__ = ["Gate", "LivenessHandler", "PageHandler", "SocketHandler", "guard", "note_page", "page_policy", "use_own_handlers"]

_BARE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Policy of all responses but the page: opened as a document, they can do nothing."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" browsers send the Origin "null" with a form, which the gate refuses.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DROPPED = ("Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Server")
_POLICY = "Content-Security-Policy"

log = get_logger("dashboard")


def page_policy(nonce: str, host: str) -> str:
    """Content-Security-Policy of the page: scripts by nonce, resources from this server only.

    `unsafe-eval` is needed, because Bokeh's and Panel's scripts compile functions; `blob:` for modules that Panel builds; inline styles for parts.
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
<html lang="{language}"><head><meta charset="utf-8"><title>CryptoViz</title><meta http-equiv="refresh" content="{seconds}"></head>
<body><p>{words}</p></body></html>
"""
_RETRY_AFTER_S = 3
_TRY_AGAIN_LATER = 1013  # WebSocket close code; the page reconnects automatically
_NOT_ADMITTED = 1008  # WebSocket close code
_UNSUPPORTED = 1003  # WebSocket close code
_HEADERS_S, _BODY_S = 60.0, 10.0
"""How long a request's header, or an idle connection, and a form's body may take. Tornado waits for an hour."""
_PAGES: WeakKeyDictionary[Any, Visitor] = WeakKeyDictionary()
"""For whom each document was built."""


def _builds(application: Any) -> PageBuilds:
    """The build queue that `guard` has given the application."""
    return cast("PageBuilds", application.page_builds)


class LivenessHandler(RequestHandler):
    """Liveness: answers while the loop runs. Replaces Panel's handler, which can build a page."""

    def get(self) -> None:
        self.write({"alive": True})

    head = get  # Tornado sends no body then


class PageHandler(DocHandler):
    """Panel's page, built from the queue, with the policy and its nonce. The HTML contains nothing of the request, so its scripts are trusted."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Serve the page; if the build queue is full, a page that reloads itself."""
        try:
            async with _builds(self.application).turn():
                with _building_for(_visitor(self)):
                    await cast("Awaitable[None]", super().get(*args, **kwargs))
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self.set_header("Retry-After", str(_RETRY_AFTER_S))
            self.set_header("Cache-Control", "no-store")
            language = language_of(self.request.headers.get("Accept-Language", ""))
            RequestHandler.write(self, _BUSY.format(seconds=_RETRY_AFTER_S, language=language, words=texts(language)("busy")))

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

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Close the channel of a token that this server has not signed: Bokeh raises whatever its content leads to, and would log it all."""
        try:
            super().open(*args, **kwargs)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 (the token is untrusted)
            log.info("channel_refused", reason=type(error).__name__)
            self.close(_NOT_ADMITTED)

    async def _async_open(self, token: str) -> None:
        """Use a build slot here too: Bokeh builds a page for an unknown session, as after a restart."""
        try:
            if self._page(token) is not None:
                await self._open_own(token)
                return
            async with _builds(self.application).turn():
                with _building_for(_visitor(self)):
                    await self._open_own(token)
        except QueueFull as error:
            log.warning("page_not_built", reason=str(error))
            self.close(_TRY_AGAIN_LATER)

    async def _open_own(self, token: str) -> None:
        """Open the page, unless it was built for another visitor: its callbacks act with that visitor's role."""
        page = self._page(token)
        if page is not None and _PAGES.get(page) != _visitor(self):
            self.close(_NOT_ADMITTED)
            return
        await super()._async_open(token)

    def _page(self, token: str) -> Any:
        """The document of the token's session; None for an unknown session."""
        wanted = get_session_id(token)
        return next((session.document for session in self.application_context.sessions if session.id == wanted), None)

    async def on_message(self, fragment: str | bytes) -> None:
        """A page of a visitor who is no longer admitted hears nothing more: it is sent nothing without its acknowledgement.

        Browsers of the page send text only, and after the server's first message. Bokeh would keep any number of binary buffers until their
        message is complete, and log what comes too early.
        """
        if isinstance(fragment, bytes) or self.receiver is None:
            self.close(_UNSUPPORTED)
            return
        if not cast("Visitors", cast("Any", self.application).visitors).still(_visitor(self)):
            log.info("page_closed", reason="its visitor is no longer admitted", name=_visitor(self).name)
            self.close(_NOT_ADMITTED)
            return
        await super().on_message(fragment)

    async def _handle(self, message: Any) -> Any:
        if not is_expected(message.msgtype, message.content):
            self._refuse("not a message of the page")
            return None
        return await super()._handle(message)

    async def _schedule(self, work: Any) -> None:
        """Send an answer. Bokeh's to a message on which it failed has the traceback."""
        if work.msgtype == "ERROR":
            self._refuse("a message failed")
        else:
            await super()._schedule(work)

    def _internal_error(self, message: str) -> None:  # noqa: ARG002 (it quotes the browser's message)
        self._refuse("a message failed")

    def _protocol_error(self, message: str) -> None:  # noqa: ARG002 (it quotes the browser's message)
        self._refuse("not a message")

    def _refuse(self, reason: str) -> None:
        log.info("channel_closed", reason=reason)
        self.close(_UNSUPPORTED)


def note_page(document: Any) -> None:
    """Record for whom the document is being built."""
    _PAGES[document] = CURRENT.get()


def _visitor(handler: RequestHandler) -> Visitor:
    return cast("Visitor", cast("Any", handler.request.connection).visitor)


@contextmanager
def _building_for(visitor: Visitor) -> Iterator[None]:
    before = CURRENT.set(visitor)
    try:
        yield
    finally:
        CURRENT.reset(before)


def use_own_handlers() -> None:
    """Register page and WebSocket handlers and no embeddable resources. Panel registers its own handlers in this list of Bokeh in the same way."""
    urls.per_app_patterns[:] = [(SOCKET_PATH, SocketHandler), (r"/?", PageHandler)]


def guard(server: Server, access: Access, visitors: Visitors, builds: PageBuilds) -> None:
    """Install the gate in front of the application of a server that is not started yet."""
    application = cast("Any", server._tornado)
    application.page_builds, application.visitors = builds, visitors
    server._tornado._websocket_origins = set(access.origins)
    parameters = server._http.conn_params
    parameters.header_timeout, parameters.body_timeout = _HEADERS_S, _BODY_S
    server._http.request_callback = Gate(server._tornado, access, visitors)


class Gate(httputil.HTTPServerConnectionDelegate):
    """Checks `access` and the visitor of every request, by request line and headers, before Tornado selects a handler."""

    def __init__(self, application: Any, access: Access, visitors: Visitors) -> None:
        self._application = application
        self._access = access
        self._visitors = visitors
        self._owners: WeakKeyDictionary[object, Visitor] = WeakKeyDictionary()

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _Request(self, server_conn, _Response(request_conn))

    def on_close(self, server_conn: object) -> None:
        self._application.on_close(server_conn)

    def refusal(self, method: str, target: str, headers: httputil.HTTPHeaders) -> Refusal | None:
        """Why the request is not served, whoever sends it."""
        return self._access.refusal(method, target, headers)

    def visitor(self, server_conn: object, connection: Any, headers: httputil.HTTPHeaders) -> Visitor | None:
        """Who sends the request; None if not admitted."""
        found = self._visitors.by_cookie(_cookie(headers, self._visitors.cookie_name)) or self._owners.get(server_conn)
        if found is None and self._visitors.admits_owner:
            stream = getattr(connection, "stream", None)
            found = None if stream is None else self._visitors.owner(peer_uid(stream.socket))
            if found is not None:
                self._owners[server_conn] = found  # a connection keeps its other end
        return found

    def hand_over(self, server_conn: object, response: _Response) -> httputil.HTTPMessageDelegate:
        """The delegate of the application's handler."""
        return cast("httputil.HTTPMessageDelegate", self._application.start_request(server_conn, response))


def _cookie(headers: httputil.HTTPHeaders, name: str) -> str | None:
    try:
        found = SimpleCookie(headers.get("Cookie", "")).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


class _Request(httputil.HTTPMessageDelegate):
    def __init__(self, gate: Gate, server_conn: object, response: _Response) -> None:
        self._gate = gate
        self._server_conn, self._response = server_conn, response
        self._handled: httputil.HTTPMessageDelegate | None = None

    def headers_received(self, start_line: Any, headers: httputil.HTTPHeaders) -> Any:
        method, target = start_line.method, start_line.path
        refusal = self._gate.refusal(method, target, headers)
        if refusal is not None:
            self._response.refuse(refusal)
            return None
        path, _, query = target.partition("?")
        # A probe has a connection of its own: to find its user would be most of its work.
        visitor = None if path == LIVENESS_PATH else self._gate.visitor(self._server_conn, self._response.connection, headers)
        if visitor is None and path not in OPEN_PATHS:
            self._turn_away(method, path, query, headers)
            return None
        self._response.visitor = visitor
        # Bokeh writes the request's headers into the page, and would take a session's name from them.
        for name in ("Cookie", "Bokeh-Session-Id"):
            headers.pop(name, None)
        self._handled = self._gate.hand_over(self._server_conn, self._response)
        return self._handled.headers_received(start_line, headers)

    def _turn_away(self, method: str, path: str, query: str, headers: httputil.HTTPHeaders) -> None:
        if path != PAGE_PATH or method != "GET" or headers.get("Upgrade"):
            self._response.refuse(Refusal(HTTPStatus.UNAUTHORIZED, "Sign in first."))
        elif headers.get("Sec-Fetch-Site") in (None, "none", "same-origin"):
            self._response.redirect(sign_in_address(query))
        else:
            self._response.show(REOPEN.format(url=html.escape(back_to(query))))

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

    visitor: Visitor | None = None

    def __init__(self, connection: httputil.HTTPConnection) -> None:
        self._connection = connection

    @property
    def connection(self) -> httputil.HTTPConnection:
        return self._connection

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
        self._answer(refusal.status, json.dumps({"error": refusal.reason}) + "\n", "application/json", Connection="close")

    def redirect(self, address: str) -> None:
        """To another path of this server."""
        self._answer(HTTPStatus.SEE_OTHER, "", "text/plain", Location=address)

    def show(self, page: str) -> None:
        self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")

    def _answer(self, status: HTTPStatus, text: str, kind: str, **fields: str) -> None:
        body = text.encode()
        headers = httputil.HTTPHeaders({"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store", **fields})
        self.write_headers(httputil.ResponseStartLine("HTTP/1.1", status.value, status.phrase), headers, body)
        self.finish()
