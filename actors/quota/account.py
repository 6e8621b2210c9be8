"""A keyed plan's own account of its limits and its use: CoinGecko's `/key`, CoinMarketCap's `/v1/key/info`. Parsers are pure.

Sources: https://docs.coingecko.com/reference/api-usage, https://coinmarketcap.com/api/documentation/v1/#operation/getV1KeyInfo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.providers.decode import decode_json
from actors.providers.failures import bad_payload, status_failure
from actors.providers.http import HttpResponse

__all__ = ["ACCOUNTS", "Account", "AccountCall", "parse_coingecko_key", "parse_coinmarketcap_key"]


@dataclass(frozen=True, slots=True)
class Account:
    """What the provider says; None where it says nothing."""

    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    day_used: int | None = None
    month_used: int | None = None


@dataclass(frozen=True, slots=True)
class AccountCall:
    """Where the account is asked for, and how the answer is read."""

    path: str
    parse: Callable[[HttpResponse], Account]


def parse_coingecko_key(response: HttpResponse) -> Account:
    """The body of `/key`. Raises ProviderUnavailable, ProviderRefused or BadPayload."""
    body = _object(response, "coingecko")
    limit, left = _count(body.get("monthly_call_credit")), _count(body.get("current_remaining_monthly_calls"))
    used = _count(body.get("current_total_monthly_calls"))
    if used is None and limit is not None and left is not None:
        used = max(0, limit - left)
    return Account(per_minute=_count(body.get("rate_limit_request_per_minute")), per_month=limit, month_used=used)


def parse_coinmarketcap_key(response: HttpResponse) -> Account:
    """The body of `/v1/key/info`. Raises as above."""
    data = _member(_object(response, "coinmarketcap"), "data")
    plan, usage = _member(data, "plan"), _member(data, "usage")
    return Account(
        per_minute=_count(plan.get("rate_limit_minute")),
        per_day=_count(plan.get("credit_limit_daily")),
        per_month=_count(plan.get("credit_limit_monthly")),
        day_used=_count(_member(usage, "current_day").get("credits_used")),
        month_used=_count(_member(usage, "current_month").get("credits_used")),
    )


ACCOUNTS: dict[str, AccountCall] = {
    "coingecko": AccountCall("/key", parse_coingecko_key),
    "coinmarketcap": AccountCall("/v1/key/info", parse_coinmarketcap_key),
}


def _object(response: HttpResponse, provider: str) -> dict[str, Any]:
    if response.status != 200:
        raise status_failure(provider, response.status, "", response.retry_after_s)
    try:
        body = decode_json(response.body)
    except ValueError as error:
        raise bad_payload(provider, f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise bad_payload(provider, f"expected an object, received {type(body).__name__}")
    return body


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
