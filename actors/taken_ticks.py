"""Set of taken ticks, for ticks taken in order under a wall clock that may jump (docs/adr/0008-progress-travels-with-the-transaction.md).

All ticks up to the newest are taken, except those inside a leap: a clock jump of more than a day, between whose ends no tick was taken. After a clock
is set back by hours, its ticks are already taken, and the caller waits. After a clock that was a year ahead is corrected, ticks continue where the
jump began.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cryptoviz.times import DAY_MS

__all__ = ["LEAP_MS", "SET_BACK_TICKS", "Leap", "TakenTicks"]

LEAP_MS = DAY_MS
"""A larger jump of the clock is treated as an error that will be corrected; after a smaller one, such as a wrong time zone, the caller waits."""
SET_BACK_TICKS = 2
"""If the next tick is further ahead, the clock was set back: the ticks in between are taken already."""
KEPT = 8
"""Maximum number of stored leaps. Ticks inside older ones count as taken."""


class Leap(NamedTuple):
    """No tick between `low` and `high` (exclusive) is taken. Ticks before `until` may be taken; later ones are too close to `high`."""

    low: int
    until: int
    high: int


@dataclass(frozen=True, slots=True)
class TakenTicks:
    """Immutable. `newest` is None if no tick is taken."""

    newest: int | None = None
    leaps: tuple[Leap, ...] = ()

    @classmethod
    def since(cls, first: int, tick_ms: int) -> TakenTicks:
        """The state of a process that starts with the tick `first`."""
        return cls(first - tick_ms, (Leap(0, first - LEAP_MS, first),))

    @classmethod
    def of(cls, newest: int | None, leaps: Iterable[Iterable[int]]) -> TakenTicks:
        """From stored values. Raises ValueError or TypeError if they are invalid."""
        return cls(newest, tuple(Leap(*(int(end) for end in leap)) for leap in leaps))

    def has(self, tick_ts: int) -> bool:
        return self.newest is not None and tick_ts <= self.newest and self._leap(tick_ts) is None

    def taking(self, tick_ts: int) -> TakenTicks:
        """The state with this tick and all earlier ticks outside leaps taken."""
        if self.newest is None:
            return TakenTicks(tick_ts)
        if tick_ts > self.newest:
            new = (Leap(self.newest, tick_ts - LEAP_MS, tick_ts),) if tick_ts - self.newest > LEAP_MS else ()
            return TakenTicks(tick_ts, (*new, *self.leaps)[:KEPT])
        leap = self._leap(tick_ts)
        if leap is None:
            return self
        # Ticks continue from here to the end of the leap.
        rest = Leap(tick_ts, leap.high, leap.high)
        return TakenTicks(self.newest, (rest, *(one for one in self.leaps if one is not leap)))

    def first_free(self, tick_ts: int, tick_ms: int) -> int:
        """The first free tick at or after `tick_ts`."""
        if not self.has(tick_ts):
            return tick_ts
        later = [leap.low + tick_ms for leap in self.leaps if leap.low >= tick_ts and leap.low + tick_ms < leap.until]
        return min(later, default=(self.newest or 0) + tick_ms)

    def before(self, now_ms: int) -> int | None:
        """The newest taken tick at the time `now_ms`: inside a leap, the tick at which the leap starts."""
        return next((leap.low for leap in self.leaps if leap.low <= now_ms < leap.until), self.newest)

    def _leap(self, tick_ts: int) -> Leap | None:
        return next((leap for leap in self.leaps if leap.low < tick_ts < leap.until), None)
