"""Files made for one browser: offered by a name that cannot be guessed, fetched once, kept for a minute."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from tornado.web import RequestHandler

__all__ = ["PATH", "DownloadHandler", "Downloads"]

PATH = "/download/"
_KEPT_MS = 60_000
_MOST_BYTES = 512 * 2**20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class _Offer:
    name: str
    content_type: str
    content: bytes
    until_ms: float


class Downloads:
    """Thread-safe. Beyond 512 MiB of offers the oldest are dropped."""

    def __init__(self, monotonic_ms: Callable[[], float]) -> None:
        self._monotonic_ms = monotonic_ms
        self._lock = threading.Lock()
        self._offers: OrderedDict[str, _Offer] = OrderedDict()

    def offer(self, name: str, content_type: str, content: bytes) -> str:
        """The address of the file, relative to the page, for one request within a minute."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._offers[token] = _Offer(_UNSAFE.sub("_", name), content_type, content, self._monotonic_ms() + _KEPT_MS)
            self._drop()
        return f"{PATH[1:]}{token}"

    def take(self, token: str) -> _Offer | None:
        """The offered file, once."""
        with self._lock:
            self._drop()
            return self._offers.pop(token, None)

    def _drop(self) -> None:
        now, size = self._monotonic_ms(), sum(len(offer.content) for offer in self._offers.values())
        for token, offer in list(self._offers.items()):
            if offer.until_ms < now or (size > _MOST_BYTES and len(self._offers) > 1):
                size -= len(offer.content)
                del self._offers[token]


class DownloadHandler(RequestHandler):
    """Serves an offer as a file to be saved, never to be opened in the page's origin."""

    def initialize(self, downloads: Downloads) -> None:
        self._downloads = downloads

    def get(self, token: str) -> None:
        found = self._downloads.take(token)
        if found is None:
            self.set_status(HTTPStatus.NOT_FOUND)
            self.finish({"error": "This file was fetched already, or a minute has passed. Ask for it again."})
            return
        self.set_header("Content-Type", found.content_type)
        self.set_header("Content-Disposition", f'attachment; filename="{found.name}"')
        self.set_header("Cache-Control", "no-store")
        self.write(cast("Any", found.content))
