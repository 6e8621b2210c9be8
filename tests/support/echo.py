"""A provider or proxy that returns everything it receives (keys, passwords, headers) in every part of its responses."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import threaded_server

ECHOED = "echoed-5f3a91c7"
"""Stands in every answer beside what was sent."""
_JSON = "application/json"


class Echo:
    """Each client (by the first path segment, or by host for the proxy) gets the kinds of response in turn; `answers` counts them."""

    KINDS = ("unauthorized", "too_many", "redirect", "page", "good", "price", "type", "encoding", "cut", "status_line")

    def __init__(self) -> None:
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self._kinds: dict[str, Iterator[str]] = defaultdict(lambda: itertools.cycle(self.KINDS))
        self._lock = threading.Lock()
        self.port = 0
        """On 127.0.0.1."""

    def next_kind(self, client: str) -> str:
        """The client's current kind of response."""
        with self._lock:
            kind = next(self._kinds[client])
            self.answers[client][kind] += 1
            return kind


class _Handler(BaseHTTPRequestHandler):
    echo: Echo

    def do_CONNECT(self) -> None:
        """A proxy's refusal, whose reason phrase becomes the text of the client's error."""
        self.echo.answers[self.path]["connect"] += 1
        self._send(f"407 {self._said()}", {"Content-Type": "text/plain"}, self._said())

    def do_GET(self) -> None:
        """Switch to the next kind of response."""
        kind = self.echo.next_kind(self.path.split("/")[2] if "://" in self.path else self.path.split("/")[1])
        said = self._said()
        error = json.dumps({"error": said, "message": said, "msg": said, "status": {"error_code": 1001, "error_message": said}})
        answers: dict[str, tuple[str, dict[str, str], str]] = {
            "unauthorized": ("401 Unauthorized", {}, error),
            "too_many": ("429 Too Many Requests", {"Retry-After": said, "X-RateLimit-Limit": said}, error),
            "redirect": ("302 Found", {"Location": f"http://127.0.0.1:9/?key={said}"}, error),
            "page": ("500 Internal Server Error", {"Content-Type": "text/html"}, f"<html><title>{said}</title></html>"),
            "good": ("200 OK", {}, error),
            "price": ("200 OK", {}, json.dumps([{"id": said, "current_price": said, "quotes": {"USD": {"price": said}}}])),
            "type": ("200 OK", {"Content-Type": f"text/{said}"}, said),
            "encoding": ("200 OK", {"Content-Encoding": said}, error),
            "cut": ("200 OK", {"Content-Length": "100000"}, error),
            "status_line": (said, {}, error),
        }
        self._send(*answers[kind])

    def _said(self) -> str:
        return f"{ECHOED} {self.path} " + " ".join(f"{name}: {value}" for name, value in self.headers.items())

    def _send(self, status: str, headers: dict[str, str], body: str) -> None:
        fields = {"Content-Type": _JSON, "Content-Length": str(len(body.encode()))} | headers | {"Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with suppress(OSError):  # the client has left
            self.wfile.write(f"HTTP/1.1 {status}\r\n{head}\r\n{body}".encode())
        self.close_connection = True


@contextmanager
def echoing() -> Iterator[Echo]:
    """A server that listens within the context."""
    made = Echo()
    with threaded_server(type("Handler", (_Handler,), {"echo": made})) as made.port:
        yield made
