"""Web servers on loopback: in the test's event loop, or in threads of their own for clients that block it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiohttp import web

from tests.support.ports import free_port

__all__ = ["Handler", "http_server", "threaded_server"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def http_server(routes: Handler | Mapping[str, Handler], tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Base URL of a server of GET requests. `routes`: handlers by path, or one for every path."""
    app, port = web.Application(), free_port()
    for path, handler in routes.items() if isinstance(routes, Mapping) else [("/{path:.*}", routes)]:
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@contextmanager
def threaded_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Port on 127.0.0.1 of a server in threads of its own, without a log."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Quiet", (handler,), {"log_message": lambda *_: None}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="http-server", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
