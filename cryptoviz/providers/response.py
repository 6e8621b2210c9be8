"""An HTTP response as parsers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptoviz.providers.decode import decode_json
from cryptoviz.providers.failures import bad_payload, page_failure, retry_after_s
from cryptoviz.records import FallbackReason

__all__ = ["HttpResponse", "decode_response"]


@dataclass(frozen=True)
class HttpResponse:
    """A complete response. `body` is decoded (not compressed) and within the size limit; `received_ms` is UTC epoch ms.

    `fetch_id`: of its raw exchange.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_ms: int
    fetch_id: str = ""

    @property
    def retry_after_s(self) -> float | None:
        """The wait in seconds that the provider imposes; None without one."""
        return retry_after_s(self.headers, self.received_ms)

    def json(self) -> Any:
        """The JSON value of the body, decoded by the first call. Do not change it: the schema check reads the same value.

        Raises:
            ValueError: not strict JSON (see `decode_json`).
        """
        return self._json

    @cached_property
    def _json(self) -> Any:
        return decode_json(self.body)


def decode_response(provider: str, response: HttpResponse, reasons: Mapping[int, FallbackReason] | None = None) -> Any:
    """The JSON value of a response, whatever its status. `reasons`: meaning of statuses at this provider.

    Raises:
        BadPayload: not strict JSON with status 200.
        ProviderUnavailable, ProviderRefused: not strict JSON with another status, which then determines the error.
    """
    try:
        return response.json()
    except ValueError as error:
        if response.status != 200:
            raise page_failure(provider, response.status, response.retry_after_s, reasons) from None
        raise bad_payload(provider, f"not JSON: {error}") from None
