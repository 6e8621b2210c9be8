"""The server: a Panel application behind the request gate."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import panel as pn
import panel.io.server as panel_server
from bokeh.settings import settings as bokeh_settings

from cryptoviz.local.heartbeat import LIVENESS_PATH
from dashboard import browser_files, downloads
from dashboard.access.gate import LivenessHandler, guard, note_page, use_own_handlers
from dashboard.access.read_only import read_only
from dashboard.access.rules import Access
from dashboard.access.sign_in import sign_in_patterns
from dashboard.access.visitors import CURRENT, Visitors
from dashboard.app_context import AppContext
from dashboard.builds import PageBuilds
from dashboard.pages.root import RootPage

__all__ = ["make_server"]

_UNUSED_SESSION_MS = 15_000
"""How long a page without a browser is kept: that of a browser that has not yet connected, or has left."""
_LARGEST_MESSAGE = 2**18
"""Bytes of a message of a browser. The longest text that a page takes has 20 000 characters."""


def _no_files(*_: object, **__: object) -> tuple[str, str]:
    return "", ""


def make_server(
    app_context: AppContext, unused_session_ms: int = _UNUSED_SESSION_MS, builds: PageBuilds | None = None, session_key: bytes = b""
) -> Any:
    """Create a bound Bokeh server; the caller runs `start` and its `io_loop`. `session_key` signs the names of sessions; default: a new one."""
    # The page's own script reloads the page when the server is back, which needs no session of a server that may have been restarted.
    pn.extension(notifications=False, reconnect=False, browser_info=False)
    settings = app_context.settings

    visitors = Visitors(settings, app_context.clock)

    def page() -> Any:
        note_page(pn.state.curdoc)
        arguments = {name: values[0].decode("utf-8", "replace") for name, values in pn.state.session_args.items() if values}
        own = app_context if CURRENT.get().operates else replace(app_context, connect=read_only(app_context.connect))
        return RootPage(own, pn.state.curdoc, arguments, str(pn.state.headers.get("Accept-Language", ""))).view

    use_own_handlers()
    # The template loads its own files; listing Bokeh's and Panel's for each page was a third of a build.
    panel_server.bundle_resources = _no_files
    # Validation walks the whole document at each build, only to warn of layout problems.
    bokeh_settings.perform_document_validation = False
    server = pn.serve(
        {"/": page},
        title="CryptoViz",
        address=settings.dashboard.host,
        port=settings.dashboard.port,
        extra_patterns=[
            (LIVENESS_PATH, LivenessHandler),
            *sign_in_patterns(visitors),
            (f"{browser_files.PATH}(.+)", browser_files.FileHandler),
            (f"{downloads.PATH}(.+)", downloads.DownloadHandler, {"downloads": app_context.downloads}),
        ],
        unused_session_lifetime_milliseconds=unused_session_ms,
        check_unused_sessions_milliseconds=unused_session_ms,
        location=False,
        show=False,
        start=False,
        verbose=False,
        admin=False,
        # Else a browser could write its session's token itself: Bokeh unpacks it without a limit, and builds a page for each.
        sign_sessions=True,
        secret_key=session_key or secrets.token_hex(32).encode(),
        websocket_max_message_size=_LARGEST_MESSAGE,
    )
    guard(server, Access.of(settings), visitors, builds or PageBuilds())
    return server
