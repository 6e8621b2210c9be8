"""Maps HTTP statuses to typed errors. Providers refine the mapping with the codes in their bodies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from cryptoviz.errors import BadPayload, ProviderFailure, ProviderRefused, ProviderUnavailable
from cryptoviz.records import FallbackReason
from cryptoviz.times import utc

__all__ = [
    "REFUSALS", "bad_payload", "bounded_wait_s", "failure", "is_final_status", "named", "page_failure", "reason_of", "retry_after_s",
    "status_failure", "unnamed", "until_reset_s",
]  # fmt: skip

REFUSALS = frozenset({FallbackReason.RATE_LIMITED, FallbackReason.QUOTA, FallbackReason.AUTH})
"""The provider responds but refuses calls: no further call is made until the wait ends, because it would use quota and may lengthen a ban."""
# HTTP statuses with the same meaning for every provider. 402 is an exceeded plan (CoinPaprika); 418 a ban after ignored 429s (Binance); 451 a region.
_REASONS: dict[int, FallbackReason] = {
    401: FallbackReason.AUTH,
    402: FallbackReason.QUOTA,
    403: FallbackReason.AUTH,
    408: FallbackReason.TIMEOUT,
    418: FallbackReason.RATE_LIMITED,
    429: FallbackReason.RATE_LIMITED,
    451: FallbackReason.AUTH,
}
# A page instead of the API's JSON is from a firewall or content delivery network in front of the API. It says nothing about a key.
_PAGE_REASONS: dict[int, FallbackReason] = {403: FallbackReason.UNAVAILABLE}
_PASSING_CLIENT_ERRORS = frozenset({401, 402, 403, 408, 409, 418, 421, 423, 425, 429, 451})
"""4xx statuses after which the same request can succeed; after any other 4xx it cannot."""
_TEXT_LIMIT = 200
_MAX_WAIT_DIGITS = 9
"""Thirty years; a setting bounds every wait. A longer number is a time: epoch seconds or milliseconds."""
_EPOCH_MS_DIGITS = 13
_LONGEST_WAIT_S = float("9" * _MAX_WAIT_DIGITS)


def failure(provider: str, reason: FallbackReason, message: str, retry_after: float | None = None, *, final: bool = False) -> ProviderFailure:
    """The error class that fits a reason: refused for a key or plan, bad payload for a body, else unavailable.

    `final`: the same request can never succeed, so it is not retried at once.
    """
    text = named(provider, message[:_TEXT_LIMIT])
    if reason is FallbackReason.AUTH:
        return ProviderRefused(text, provider=provider, reason=reason, retry_after_s=retry_after)
    if reason is FallbackReason.BAD_PAYLOAD:
        return BadPayload(text, provider=provider, reason=reason)
    return ProviderUnavailable(text, provider=provider, reason=reason, retry_after_s=retry_after, final=final)


def named(provider: str, message: str) -> str:
    """The message with the provider's name in front, once."""
    return message if message.startswith((f"{provider}: ", f"{provider} ")) else f"{provider}: {message}"


def unnamed(provider: str, message: str) -> str:
    """The message without the provider's name, for a place that already shows it."""
    return message.removeprefix(f"{provider}: ")


def bad_payload(provider: str, message: str) -> ProviderFailure:
    """The error for a body without the documented content."""
    return failure(provider, FallbackReason.BAD_PAYLOAD, message)


def status_failure(
    provider: str, status: int, message: str, retry_after: float | None = None, reasons: Mapping[int, FallbackReason] | None = None
) -> ProviderFailure:
    """The error for a status other than 200 without a code in the body. `reasons` override the usual meaning of a status."""
    reason = (reasons or {}).get(status) or reason_of(status)
    return failure(provider, reason, f"HTTP {status} {message}".strip(), retry_after, final=is_final_status(status))


def page_failure(
    provider: str, status: int, retry_after: float | None = None, reasons: Mapping[int, FallbackReason] | None = None
) -> ProviderFailure:
    """The error for a status other than 200 whose body is not JSON: a page of a firewall or a content delivery network in front of the API."""
    return status_failure(provider, status, "without a JSON body", retry_after, _PAGE_REASONS | dict(reasons or {}))


def is_final_status(status: int) -> bool:
    """Whether a status says that the same request can never succeed."""
    return 400 <= status < 500 and status not in _PASSING_CLIENT_ERRORS


def reason_of(status: int) -> FallbackReason:
    """The meaning of a status without a code in the body."""
    return _REASONS.get(status, FallbackReason.UNAVAILABLE)


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """The wait in `Retry-After`, in seconds. The header has seconds, an HTTP date (RFC 9110 10.2.3) or, from some providers, an epoch time.

    None if absent, unreadable, or a date in the past by our clock: then the clocks differ, and the usual wait applies.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0") or "0"
        if len(digits) <= _MAX_WAIT_DIGITS:
            return float(digits)
        if len(digits) > _EPOCH_MS_DIGITS:
            return _LONGEST_WAIT_S
        left_s = int(digits) / (1000 if len(digits) == _EPOCH_MS_DIGITS else 1) - now_ms / 1000
        return min(left_s, _LONGEST_WAIT_S) if left_s > 0 else None
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        left_s = (moment - utc(now_ms)).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):
        # The standard library's parser raises any of these, depending on the text.
        return None
    return left_s if left_s > 0 else None


def bounded_wait_s(asked_s: Any, default_s: float, longest_s: float) -> float:
    """A wait that a provider imposed, from 0 to `longest_s`; `default_s` if it is not a number."""
    usable = isinstance(asked_s, int | float) and not isinstance(asked_s, bool) and not math.isnan(asked_s)
    return min(max(0.0, asked_s if usable else default_s), longest_s)


def until_reset_s(now_ms: int, *, month: bool) -> float:
    """Seconds to the next UTC midnight, or to the first of the next UTC month."""
    now = utc(now_ms)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    reset = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1) if month else midnight + timedelta(days=1)
    return (reset - now).total_seconds()
