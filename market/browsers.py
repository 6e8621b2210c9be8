"""Protection against requests that other sites' pages send through the user's browser.

The market requires no token, so that tests and users can set faults with a single command. But a web page can also send requests to loopback: as a
form, as an image, or to its own host name that resolves to 127.0.0.1 (DNS rebinding). Each of these has a header that command-line tools do not send.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["refuse_other_sites"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@web.middleware
async def refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests to other host names and from pages of other sites; control routes require JSON bodies."""
    if not _is_address(request.host):
        return web.json_response({"error": f"unknown host: {request.host!r}", "valid": ["localhost", "an address"]}, status=421)
    if _from_another_site(request):
        return web.json_response({"error": "requests from pages of other sites are refused"}, status=403)
    if request.path.startswith("/_market/") and request.method in _WITH_BODY and request.content_type != "application/json":
        return web.json_response({"error": "the body must have Content-Type application/json", "valid": ["application/json"]}, status=415)
    return await handler(request)


def _from_another_site(request: web.Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def _is_address(host: str) -> bool:
    """Whether a Host header is an IP address, which DNS rebinding cannot use."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
