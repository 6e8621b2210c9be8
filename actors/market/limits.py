"""How often a client may ask: calls per minute and credits per month, per provider and client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from actors.market.dialects.base import Usage

__all__ = ["LimitBook", "ProviderLimits"]

_MAX_CLIENTS = 10_000
"""Clients are told apart by key or address; past this many the oldest is forgotten, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """A plan. Generous by default, because the demo asks every 2 s; tests and studies set the real ones."""

    per_minute: int = 6_000
    per_month: int = 10_000_000


@dataclass(slots=True)
class _Count:
    minute: int = 0
    minute_calls: int = 0
    month: tuple[int, int] = (0, 0)
    month_credits: int = 0


class LimitBook:
    """Counts calls in whole UTC minutes and credits in UTC months. Not kept across restarts. One event loop only."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def usage(self, provider: str, client: str, limits: ProviderLimits, now_ms: int) -> Usage:
        """What the client has used up to now."""
        count = self._count(provider, client, now_ms)
        return Usage(limits.per_minute, count.minute_calls, limits.per_month, count.month_credits)

    def call(self, provider: str, client: str, now_ms: int) -> None:
        """Count one call."""
        self._count(provider, client, now_ms).minute_calls += 1

    def charge(self, provider: str, client: str, credit: int, now_ms: int) -> None:
        """Count the credits that an answer cost."""
        self._count(provider, client, now_ms).month_credits += credit

    def _count(self, provider: str, client: str, now_ms: int) -> _Count:
        count = self._counts.get((provider, client))
        if count is None:
            if len(self._counts) >= _MAX_CLIENTS:
                self._counts.pop(next(iter(self._counts)))
            count = self._counts[(provider, client)] = _Count()
        minute = now_ms // 60_000
        if count.minute != minute:
            count.minute, count.minute_calls = minute, 0
        day = datetime.fromtimestamp(now_ms / 1000, UTC)
        if count.month != (day.year, day.month):
            count.month, count.month_credits = (day.year, day.month), 0
        return count
