"""What has been used of a plan: the value that planner, meter and stores share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptoviz.plans import Period, period_bounds_ms

__all__ = ["Usage"]


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
