"""The account of an API key: limits and usage, as the provider reports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptoviz.providers.failures import bad_payload, status_failure
from cryptoviz.providers.response import HttpResponse

__all__ = ["Account", "AccountCall", "account_object", "count", "member"]


@dataclass(frozen=True, slots=True)
class Account:
    """Limits and usage; None where the provider reports nothing."""

    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    day_used: int | None = None
    month_used: int | None = None


@dataclass(frozen=True, slots=True)
class AccountCall:
    """The path of the account's endpoint below the provider's address, and the parser of its response."""

    path: str
    parse: Callable[[HttpResponse], Account]


def account_object(provider: str, response: HttpResponse) -> dict[str, Any]:
    """The JSON object in a good response. Raises ProviderUnavailable, ProviderRefused or BadPayload."""
    if response.status != 200:
        raise status_failure(provider, response.status, "", response.retry_after_s)
    try:
        body = response.json()
    except ValueError as error:
        raise bad_payload(provider, f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise bad_payload(provider, f"expected an object, received {type(body).__name__}")
    return body


def member(value: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within an object; empty when there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def count(value: Any) -> int | None:
    """An integer of at least 0, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
