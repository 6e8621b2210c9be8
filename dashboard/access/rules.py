"""Access rules of the page's server: pure functions of method, target and headers.

A page on another site can make the user's browser send requests here, also to its own host name that resolves to loopback (DNS rebinding).
Such requests are recognized by headers that the browser sets and no page can change: Host, Origin and Fetch Metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote

from cryptoviz.local.heartbeat import LIVENESS_PATH
from cryptoviz.settings import Settings

__all__ = ["OPEN_PATHS", "PAGE_PATH", "SIGN_IN_PATH", "SIGN_OUT_PATH", "SOCKET_PATH", "Access", "Headers", "Refusal"]

PAGE_PATH = "/"
SOCKET_PATH = "/ws"
SIGN_IN_PATH = "/sign-in"
SIGN_OUT_PATH = "/sign-out"
OPEN_PATHS = frozenset({LIVENESS_PATH, SIGN_IN_PATH})
"""Served without signing in."""
_FORMS = frozenset({SIGN_IN_PATH, SIGN_OUT_PATH})
_PATHS = frozenset({PAGE_PATH, SOCKET_PATH, LIVENESS_PATH, "/favicon.ico", *_FORMS})
# Not Panel's /components/, which imports the module named by the path.
_RESOURCES = re.compile(r"/static/[\w./@+^-]*|/assets/[\w.-]+|/download/[\w-]+", re.ASCII)
_METHODS = frozenset({"GET", "HEAD"})
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_FORM_BYTES = 4096
_CHOSEN_SESSION = re.compile(r"(?:^|[?&;])bokeh-(?:session-id|token)=", re.IGNORECASE)
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})


class Headers(Protocol):
    """Headers of a request, as in Tornado."""

    def get_list(self, name: str) -> list[str]:
        """All values of a header."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to a refused request. `reason` never contains a part of the request."""

    status: HTTPStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """`hosts` are the allowed values of Host, in lower case; `origins` may open the WebSocket."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Allow loopback names with the port, the bind address unless it is a wildcard, and the hosts of the settings (no wildcards)."""
        dashboard = settings.dashboard
        port = dashboard.port
        pairs = [(name, port) for name in (*_LOOPBACK_NAMES, *_own_address(dashboard.host))]
        pairs += [pair for entry in dashboard.allow_origins for pair in _named(entry)]
        hosts, origins = set(), set()
        for name, number in pairs:
            hosts.add(f"{name}:{number}")
            origins |= {f"{scheme}://{name}:{number}" for scheme in _DEFAULT_PORTS}
            for scheme, default in _DEFAULT_PORTS.items():
                if number == default:  # a browser omits the scheme's default port
                    hosts.add(name)
                    origins.add(f"{scheme}://{name}")
        return cls(frozenset(hosts), frozenset(origins))

    def refusal(self, method: str, target: str, headers: Headers) -> Refusal | None:
        """The refusal of a request; None if it is allowed."""
        return (
            self._host(headers)
            or _target(target)
            or _method(method, target, headers)
            or self._origin(method, target, headers)
            or _fetched(method, target, headers)
        )

    def _host(self, headers: Headers) -> Refusal | None:
        values = headers.get_list("Host")
        if len(values) != 1:
            return Refusal(HTTPStatus.BAD_REQUEST, "A request must have exactly one Host header.")
        if values[0].lower() not in self.hosts:
            return Refusal(
                HTTPStatus.FORBIDDEN, "This Host is not allowed. Allowed are loopback and the hosts in CRYPTOVIZ_DASHBOARD__ALLOW_ORIGINS."
            )
        return None

    def _origin(self, method: str, target: str, headers: Headers) -> Refusal | None:
        values = headers.get_list("Origin")
        needed = _path(target) == SOCKET_PATH or bool(headers.get_list("Upgrade")) or _path(target) == SIGN_OUT_PATH or method == "POST"
        if len(values) > 1 or (needed and not values):
            return Refusal(HTTPStatus.FORBIDDEN, "A WebSocket request or a form must have exactly one Origin header.")
        if values and values[0].lower() not in self.origins:
            return Refusal(HTTPStatus.FORBIDDEN, "Requests from other origins are refused.")
        return None


def _target(target: str) -> Refusal | None:
    path = _path(target)
    if not path.startswith("/") or path.startswith("//"):
        return Refusal(HTTPStatus.BAD_REQUEST, "Only paths of this server are allowed.")
    resource = unquote(path)
    if path not in _PATHS and (_RESOURCES.fullmatch(resource) is None or ".." in resource):
        return Refusal(HTTPStatus.NOT_FOUND, "Not found.")
    if _CHOSEN_SESSION.search(unquote(target.partition("?")[2])):
        return Refusal(HTTPStatus.BAD_REQUEST, "The server chooses the session.")
    return None


def _method(method: str, target: str, headers: Headers) -> Refusal | None:
    path = _path(target)
    if method == "POST" and path in _FORMS:
        sizes = headers.get_list("Content-Length")
        if len(sizes) != 1 or not re.fullmatch(r"[0-9]{1,4}", sizes[0], re.ASCII) or int(sizes[0]) > _MAX_FORM_BYTES:
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form must have a Content-Length of at most {_MAX_FORM_BYTES}.")
        return None
    if method in _METHODS and path != SIGN_OUT_PATH:
        return None
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are allowed, and POST of a form.")


def _fetched(method: str, target: str, headers: Headers) -> Refusal | None:
    """Links from other sites may open the page; other requests from other sites (image, script, frame, fetch) are refused."""
    if not _FOREIGN_SITES & {value.lower() for value in headers.get_list("Sec-Fetch-Site")}:
        return None
    opened = headers.get_list("Sec-Fetch-Mode") == ["navigate"] and headers.get_list("Sec-Fetch-Dest") == ["document"]
    if method == "GET" and _path(target) == PAGE_PATH and opened:
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Requests from other sites are refused.")


def _path(target: str) -> str:
    return target.partition("?")[0]


def _own_address(host: str) -> Iterable[str]:
    """The bind address as a Host, unless it is a wildcard. DNS rebinding cannot forge an address."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return [host.lower()] if _AUTHORITY.fullmatch(host.lower()) else []
    if address.is_unspecified:
        return []
    return [f"[{address}]" if address.version == 6 else str(address)]


def _named(entry: str) -> Iterable[tuple[str, int]]:
    """Parse `name:port` or `name` (default ports of both schemes), with or without a scheme."""
    scheme, _, rest = entry.strip().lower().rpartition("://")
    found = _AUTHORITY.fullmatch(rest)
    if found is None or scheme not in ("", *_DEFAULT_PORTS):
        return []
    ports = [int(found["port"])] if found["port"] else [_DEFAULT_PORTS[scheme]] if scheme else list(_DEFAULT_PORTS.values())
    return [(found["name"], port) for port in ports]
