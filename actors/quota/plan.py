"""What a plan allows, what a poll costs, and what has been used: the values that planner, meter and limiter share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

__all__ = ["Cost", "Period", "Plan", "Usage", "period_bounds_ms"]

_DAY_MS = 86_400_000


class Period(StrEnum):
    """A calendar period in UTC."""

    DAY = "day"
    MONTH = "month"


def period_bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Start and end (UTC epoch ms) of the day or month that `now_ms` lies in."""
    return _bounds_of_day(period, now_ms // _DAY_MS)


@lru_cache(maxsize=64)
def _bounds_of_day(period: Period, day: int) -> tuple[int, int]:
    start = datetime.fromtimestamp(day * _DAY_MS / 1000, UTC)
    end = start + timedelta(days=1)
    if period is Period.MONTH:
        start = start.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one poll: `calls` is what days and months count (calls or credits), `weight` of each call what minutes count."""

    calls: int = 1
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits; None is no limit. `reserve` is the share of a day or month that ticks are not planned with."""

    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    reserve: float = 0.05

    def limit(self, period: Period) -> int | None:
        """Of a day or a month."""
        return self.per_day if period is Period.DAY else self.per_month

    def plannable(self, period: Period) -> int | None:
        """The limit less the reserve."""
        limit = self.limit(period)
        return None if limit is None else limit - int(limit * self.reserve)

    @property
    def metered(self) -> bool:
        """Whether days or months are limited."""
        return self.per_day is not None or self.per_month is not None


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls or credits used in the day and month that `day_ms` and `month_ms` (UTC epoch ms) begin, and when a turn was last taken."""

    day_ms: int = 0
    day_used: int = 0
    month_ms: int = 0
    month_used: int = 0
    last_turn_ms: int = 0

    def used(self, period: Period) -> int:
        """In a day or a month."""
        return self.day_used if period is Period.DAY else self.month_used

    def at(self, now_ms: int) -> Usage:
        """With periods that are over begun anew. A clock that goes back keeps the later period, so that nothing is spent twice."""
        day_ms, month_ms = period_bounds_ms(Period.DAY, now_ms)[0], period_bounds_ms(Period.MONTH, now_ms)[0]
        usage = self
        if day_ms > usage.day_ms:
            usage = replace(usage, day_ms=day_ms, day_used=0)
        if month_ms > usage.month_ms:
            usage = replace(usage, month_ms=month_ms, month_used=0)
        return usage

    def charged(self, calls: int, now_ms: int) -> Usage:
        """With `calls` more."""
        usage = self.at(now_ms)
        return replace(usage, day_used=usage.day_used + calls, month_used=usage.month_used + calls)

    def took_turn(self, tick_ts: int) -> Usage:
        """With a turn taken on that tick."""
        return replace(self, last_turn_ms=max(self.last_turn_ms, tick_ts))

    def merged(self, other: Usage) -> Usage:
        """The more that either knows of: two copies of one meter, the older of which may lag."""
        day_ms, month_ms = max(self.day_ms, other.day_ms), max(self.month_ms, other.month_ms)
        return Usage(
            day_ms,
            max(one.day_used for one in (self, other) if one.day_ms == day_ms),
            month_ms,
            max(one.month_used for one in (self, other) if one.month_ms == month_ms),
            max(self.last_turn_ms, other.last_turn_ms),
        )
