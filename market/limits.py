"""Rate limits per provider and client: calls per second, weight per minute, credits per month, and bans."""

from __future__ import annotations

from dataclasses import dataclass

from cryptoviz.settings import MarketLimits
from cryptoviz.times import DAY_MS, utc
from market.dialects.base import Usage

__all__ = ["LimitBook"]

_MAX_CLIENTS = 10_000
"""Bound on clients (by key or address) in memory; beyond it the oldest is dropped."""
_FIRST_BAN_MS = 120_000
_LONGEST_BAN_MS = 3 * DAY_MS
"""Binance: bans "scale in duration for repeat offenders, from 2 minutes to 3 days"."""


@dataclass(slots=True)
class _Count:
    second: int = 0
    second_calls: int = 0
    minute: int = 0
    minute_weight: int = 0
    minute_refused: int = 0
    month: tuple[int, int] = (0, 0)
    month_credits: int = 0
    bans: int = 0
    banned_until_ms: int = 0


class LimitBook:
    """Counts within whole UTC seconds, minutes and months. Not persistent. For one event loop."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def usage(self, provider: str, client: str, limits: MarketLimits, now_ms: int) -> Usage:
        count = self._count(provider, client, now_ms)
        return Usage(
            minute_limit=limits.per_minute,
            minute_used=count.minute_weight,
            month_limit=limits.per_month,
            month_used=count.month_credits,
            second_limit=limits.per_second,
            second_used=count.second_calls,
            banned_until_ms=count.banned_until_ms,
        )

    def call(self, provider: str, client: str, now_ms: int, weight: int = 1) -> None:
        count = self._count(provider, client, now_ms)
        count.second_calls += 1
        count.minute_weight += weight

    def charge(self, provider: str, client: str, credit: int, now_ms: int) -> None:
        self._count(provider, client, now_ms).month_credits += credit

    def refuse(self, provider: str, client: str, limits: MarketLimits, now_ms: int) -> None:
        """Count a refusal. More than `limits.ban_after` per minute ban the client; each ban is twice as long as the last."""
        count = self._count(provider, client, now_ms)
        count.minute_refused += 1
        if count.minute_refused > limits.ban_after and count.banned_until_ms <= now_ms:
            count.banned_until_ms = now_ms + min(_FIRST_BAN_MS << min(count.bans, 16), _LONGEST_BAN_MS)
            count.bans += 1

    def forget(self, provider: str | None = None) -> None:
        """Clear the counts and bans of all clients, of one provider or of all."""
        self._counts = {key: count for key, count in self._counts.items() if provider not in (None, key[0])}

    def _count(self, provider: str, client: str, now_ms: int) -> _Count:
        count = self._counts.get((provider, client))
        if count is None:
            if len(self._counts) >= _MAX_CLIENTS:
                self._counts.pop(next(iter(self._counts)))
            count = self._counts[(provider, client)] = _Count()
        second, minute = now_ms // 1_000, now_ms // 60_000
        if count.second != second:
            count.second, count.second_calls = second, 0
        if count.minute != minute:
            count.minute, count.minute_weight, count.minute_refused = minute, 0, 0
        day = utc(now_ms)
        if count.month != (day.year, day.month):
            count.month, count.month_credits = (day.year, day.month), 0
        return count
