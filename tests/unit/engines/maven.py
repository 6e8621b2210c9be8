"""A Maven repository on loopback with configurable faults."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from cryptoviz.engines.jars import Jar
from tests.support.http_server import threaded_server


def jar_of(path: str, content: bytes) -> Jar:
    """The lock entry of this content."""
    return Jar(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@dataclass
class Repository:
    """Content, faults and requests of the repository.

    Attributes:
        files: content by path.
        statuses: statuses of the first responses, in order.
        break_after: bytes after which each of the next connections is cut, in order.
        ranges: whether it supports Range requests.
        asked: (path, Range header) of each request.
        sent: bytes of bodies sent.
    """

    files: dict[str, bytes]
    statuses: list[int] = field(default_factory=list)
    break_after: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, path: str, wanted: str | None) -> tuple[int | None, int | None]:
        """(status, bytes before the cut) of this request."""
        with self.lock:
            self.asked.append((path, wanted))
            status = self.statuses.pop(0) if self.statuses else None
            cut = self.break_after.pop(0) if self.break_after and status is None else None
            return status, cut


@contextmanager
def serving(repository: Repository) -> Iterator[Repository]:
    """The repository on a free port, within the context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            status, cut = repository.next_fault(path, wanted)
            content = repository.files.get(path)
            if status is not None or content is None:
                self._answer(status or 404, b"")
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and repository.ranges else 0
            if start and start >= len(content):
                self._answer(416, b"")
                return
            self._answer(206 if start else 200, content[start:], cut)

        def _answer(self, status: int, body: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            part = body if cut is None else body[:cut]
            self.wfile.write(part)
            with repository.lock:
                repository.sent += len(part)
            if cut is not None:
                self.close_connection = True

    with threaded_server(Handler) as port:
        repository.url = f"http://127.0.0.1:{port}"
        yield repository
