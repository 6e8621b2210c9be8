"""The server: one Panel application, its origins and its liveness path."""

from __future__ import annotations

from typing import Any

import panel as pn

from cryptoviz.settings import Settings
from dashboard.hub import Hub
from dashboard.pages.root import RootPage

__all__ = ["LIVENESS_PATH", "allowed_origins", "make_server"]

LIVENESS_PATH = "healthz"
_LOOPBACK_NAMES = ("127.0.0.1", "localhost")
_UNUSED_SESSION_MS = 15_000
"""A browser that lost its connection finds its session again within this time."""


def allowed_origins(settings: Settings) -> list[str]:
    """Exact `host:port` pairs whose pages may open the WebSocket: loopback and what the settings name, never a wildcard."""
    dashboard = settings.dashboard
    own = [f"{name}:{dashboard.port}" for name in _LOOPBACK_NAMES]
    named = [origin for origin in dashboard.allow_origins if "*" not in origin]
    return list(dict.fromkeys([*own, *named]))


def make_server(hub: Hub, unused_session_ms: int = _UNUSED_SESSION_MS) -> Any:
    """A Bokeh server that is bound but not started: `start` and its `io_loop` are the caller's."""
    pn.extension("tabulator", notifications=True, reconnect=True, throttled=True, browser_info=False)
    settings = hub.settings

    def page() -> Any:
        arguments = {name: values[0].decode("utf-8", "replace") for name, values in pn.state.session_args.items() if values}
        return RootPage(hub, pn.state.curdoc, arguments).view

    return pn.serve(
        {"/": page},
        title="CryptoViz",
        address=settings.dashboard.host,
        port=settings.dashboard.port,
        websocket_origin=allowed_origins(settings),
        liveness=LIVENESS_PATH,
        unused_session_lifetime_milliseconds=unused_session_ms,
        check_unused_sessions_milliseconds=unused_session_ms,
        show=False,
        start=False,
        verbose=False,
        admin=False,
    )
