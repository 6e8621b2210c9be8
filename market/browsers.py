"""What a web page of another site must not do to the market through its reader's browser.

The market asks for no token, because tests and readers of the documentation set faults with one command. A page can send requests to loopback too:
as a form, as an image, or to a name of its own that it lets point to 127.0.0.1 (DNS rebinding). Each of them carries a mark that no command sends.
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
    """Serve requests to an address or to `localhost` that no other site's page has sent; a body of the control routes is JSON by its type."""
    if not _is_address(request.host):
        return web.json_response({"error": f"no such host: {request.host!r}", "valid": ["localhost", "an address"]}, status=421)
    if _from_another_site(request):
        return web.json_response({"error": "requests from pages of other sites are refused"}, status=403)
    if request.path.startswith("/_market/") and request.method in _WITH_BODY and request.content_type != "application/json":
        return web.json_response({"error": "the body is JSON, of Content-Type application/json", "valid": ["application/json"]}, status=415)
    return await handler(request)


def _from_another_site(request: web.Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def _is_address(host: str) -> bool:
    """Whether a Host header is no name that another site's owner could let point here."""
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
