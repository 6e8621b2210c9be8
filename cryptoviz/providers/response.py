"""An HTTP response as parsers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptoviz.providers.failures import retry_after_s

__all__ = ["Exchange", "HttpResponse"]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response. `body` is decoded (not compressed) and within the size limit; `received_ms` is UTC epoch ms.

    `fetch_id` is that of its raw exchange.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_ms: int
    fetch_id: str = ""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the provider asks to wait, if it says so."""
        return retry_after_s(self.headers, self.received_ms)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The tick and attempt of an HTTP exchange, its id and its end (UTC epoch ms)."""

    tick_ts: int = 0
    attempt: int = 1
    fetch_id: str = ""
    finished_ms: int = 0
