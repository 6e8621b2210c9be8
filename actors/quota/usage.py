"""Usage of a plan: the value shared by planner, meter and stores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptoviz.plans import period_bounds_ms
from cryptoviz.providers.plan import Period

__all__ = ["KEPT", "Count", "Usage"]

KEPT = 8
"""Number of other days, and of other months, whose counts are kept, the most recently left: more than a wrong clock visits."""


class Count(NamedTuple):
    """Calls or credits used in the day or month that begins at `start_ms` (UTC epoch ms). An earlier period already counts `carried` of them."""

    start_ms: int = 0
    used: int = 0
    carried: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls or credits used in the day and month that begin at `day_ms` and `month_ms` (UTC epoch ms), and the last turn.

    The clock may be set. A period that is left keeps its count and continues it when the clock returns to it; when the clock goes back to an
    earlier period, it also counts the calls of the period for which it was left. With the limit L and g calls made while the clock was wrong:

    - a real day (or month) has at most L + g calls, and at most L if the clock was wrong only within it;
    - g is at most L for each period that a wrong clock showed;
    - at most g permitted calls of a period are refused: those that it counts from another period, or that were made under its date before it
      began. No call of a later period is, once it begins.
    """

    day_ms: int = 0
    day_used: int = 0
    month_ms: int = 0
    month_used: int = 0
    last_turn_ms: int = 0
    day_carried: int = 0
    month_carried: int = 0
    other_days: tuple[Count, ...] = ()
    other_months: tuple[Count, ...] = ()

    def used(self, period: Period) -> int:
        return self.day_used if period is Period.DAY else self.month_used

    def at(self, now_ms: int) -> Usage:
        """The usage with the periods of `now_ms` as the current ones."""
        day_ms, month_ms = period_bounds_ms(Period.DAY, now_ms)[0], period_bounds_ms(Period.MONTH, now_ms)[0]
        last_turn_ms = min(self.last_turn_ms, now_ms)
        if (day_ms, month_ms, last_turn_ms) == (self.day_ms, self.month_ms, self.last_turn_ms):
            return self
        return _made(*_moved(*self._days(), day_ms), *_moved(*self._months(), month_ms), last_turn_ms)

    def charged(self, calls: int, now_ms: int) -> Usage:
        """The usage with `calls` more."""
        usage = self.at(now_ms)
        return replace(usage, day_used=usage.day_used + calls, month_used=usage.month_used + calls)

    def reported(self, day_used: int, month_used: int) -> Usage:
        """The usage with the provider's own counts, where they are higher. These are not our calls, so no earlier period counts them."""
        more_today, more_this_month = max(0, day_used - self.day_used), max(0, month_used - self.month_used)
        return replace(
            self,
            day_used=self.day_used + more_today,
            day_carried=self.day_carried + more_today,
            month_used=self.month_used + more_this_month,
            month_carried=self.month_carried + more_this_month,
        )

    def took_turn(self, tick_ts: int) -> Usage:
        """The usage with a turn on that tick."""
        return replace(self, last_turn_ms=tick_ts)

    def merged(self, other: Usage) -> Usage:
        """The maximum of two copies of one meter, period by period; the older copy may lag. Call `at` on the result."""
        days, months = _union(self._days(), other._days()), _union(self._months(), other._months())
        return _made(*days, *months, max(self.last_turn_ms, other.last_turn_ms))

    def _days(self) -> tuple[Count, tuple[Count, ...]]:
        return Count(self.day_ms, self.day_used, self.day_carried), self.other_days

    def _months(self) -> tuple[Count, tuple[Count, ...]]:
        return Count(self.month_ms, self.month_used, self.month_carried), self.other_months


def _made(day: Count, other_days: tuple[Count, ...], month: Count, other_months: tuple[Count, ...], last_turn_ms: int) -> Usage:
    return Usage(day.start_ms, day.used, month.start_ms, month.used, last_turn_ms, day.carried, month.carried, other_days, other_months)


def _moved(left: Count, others: tuple[Count, ...], start_ms: int) -> tuple[Count, tuple[Count, ...]]:
    """The count of the period that begins at `start_ms`, and the other counts."""
    if start_ms == left.start_ms:
        return left, others
    now = next((one for one in others if one.start_ms == start_ms), Count(start_ms))
    if start_ms < left.start_ms:
        now = now._replace(used=now.used + left.used - left.carried)
        left = left._replace(carried=left.used)
    others = tuple(one for one in others if one.start_ms != start_ms)
    return now, ((left, *others) if left.used else others)[:KEPT]


def _union(one: tuple[Count, tuple[Count, ...]], other: tuple[Count, tuple[Count, ...]]) -> tuple[Count, tuple[Count, ...]]:
    """The later of two current periods is the current one, unless the clock was set back since, which `_moved` detects."""
    found: dict[int, Count] = {}
    for count in (one[0], other[0], *one[1], *other[1]):
        known = found.get(count.start_ms, count)
        found[count.start_ms] = Count(count.start_ms, max(known.used, count.used), max(known.carried, count.carried))
    now = found.pop(max(one[0].start_ms, other[0].start_ms))
    return now, tuple(count for count in found.values() if count.used)[:KEPT]
