"""From an HTTP status to a typed error. Providers refine it with the codes in their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptoviz.errors import BadPayload, CryptoVizError, ProviderRefused, ProviderUnavailable
from cryptoviz.records import FallbackReason

__all__ = ["bad_payload", "failure", "reason_of", "retry_after_s", "status_failure", "until_reset_s"]

# HTTP statuses that mean one thing at every provider. 402 is an exceeded plan (CoinPaprika); 418 a ban after ignored 429s (Binance); 451 a region.
_REASONS: dict[int, FallbackReason] = {
    401: FallbackReason.AUTH,
    402: FallbackReason.QUOTA,
    403: FallbackReason.AUTH,
    408: FallbackReason.TIMEOUT,
    418: FallbackReason.RATE_LIMITED,
    429: FallbackReason.RATE_LIMITED,
    451: FallbackReason.AUTH,
}
_TEXT_LIMIT = 200


def failure(provider: str, reason: FallbackReason, message: str, retry_after: float | None = None) -> CryptoVizError:
    """The error class that fits a reason: refused for a key or plan, bad payload for a body, else unavailable."""
    text = f"{provider}: {message[:_TEXT_LIMIT]}"
    if reason is FallbackReason.AUTH:
        return ProviderRefused(text, provider=provider, reason=reason, retry_after_s=retry_after)
    if reason is FallbackReason.BAD_PAYLOAD:
        return BadPayload(text, provider=provider, reason=reason)
    return ProviderUnavailable(text, provider=provider, reason=reason, retry_after_s=retry_after)


def bad_payload(provider: str, message: str) -> CryptoVizError:
    """A body that is not what the provider documents."""
    return failure(provider, FallbackReason.BAD_PAYLOAD, message)


def status_failure(
    provider: str, status: int, message: str, retry_after: float | None = None, reasons: Mapping[int, FallbackReason] | None = None
) -> CryptoVizError:
    """The error for a status other than 200, in want of a better code from the body. `reasons` go before what a status usually means."""
    reason = (reasons or {}).get(status) or reason_of(status)
    return failure(provider, reason, f"HTTP {status} {message}".strip(), retry_after)


def reason_of(status: int) -> FallbackReason:
    """What a status means where the provider's body says no more."""
    return _REASONS.get(status, FallbackReason.UNAVAILABLE)


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds that `Retry-After` asks for, given as seconds or as an HTTP date (RFC 9110 10.2.3); None when absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds())


def until_reset_s(now_ms: int, *, month: bool) -> float:
    """Seconds to the next UTC midnight, or to the first of the next UTC month."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    reset = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1) if month else midnight + timedelta(days=1)
    return (reset - now).total_seconds()
