"""Which ticks are taken, where they are taken in order and the clock may leap (docs/adr/0008-progress-travels-with-the-transaction.md).

All up to the newest are, but for those that a leap of more than a day has passed over: nothing between its ends was taken. A clock that is set back
by hours finds ticks that are taken, and waits; one that was a year ahead for a while goes on where it had been.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["LEAP_MS", "Leap", "TakenTicks"]

LEAP_MS = 86_400_000
"""A clock that is further ahead or behind is wrong, one that is less may be a person's mistake of hours: then it is waited for."""
KEPT = 8
"""Leaps that are remembered. What an older one passed over counts as taken."""


class Leap(NamedTuple):
    """Of the ticks between `low` and `high` none is taken. One may begin there again before `until`: later ones are within hours of what is taken."""

    low: int
    until: int
    high: int


@dataclass(frozen=True, slots=True)
class TakenTicks:
    """A value. `newest` is None when nothing is taken."""

    newest: int | None = None
    leaps: tuple[Leap, ...] = ()

    @classmethod
    def since(cls, first: int, tick_ms: int) -> TakenTicks:
        """Of one who begins with the tick `first` and took none before."""
        return cls(first - tick_ms, (Leap(0, first - LEAP_MS, first),))

    @classmethod
    def of(cls, newest: int | None, leaps: Iterable[Iterable[int]]) -> TakenTicks:
        """As kept. Raises ValueError or TypeError when that is none."""
        return cls(newest, tuple(Leap(*(int(end) for end in leap)) for leap in leaps))

    def has(self, tick_ts: int) -> bool:
        """Whether it is taken."""
        return self.newest is not None and tick_ts <= self.newest and self._leap(tick_ts) is None

    def taking(self, tick_ts: int) -> TakenTicks:
        """With this one, and all before it that no leap has passed over."""
        if self.newest is None:
            return TakenTicks(tick_ts)
        if tick_ts > self.newest:
            new = (Leap(self.newest, tick_ts - LEAP_MS, tick_ts),) if tick_ts - self.newest > LEAP_MS else ()
            return TakenTicks(tick_ts, (*new, *self.leaps)[:KEPT])
        leap = self._leap(tick_ts)
        if leap is None:
            return self
        # Having begun there it goes on to the leap's end.
        rest = Leap(tick_ts, leap.high, leap.high)
        return TakenTicks(self.newest, (rest, *(one for one in self.leaps if one is not leap)))

    def first_free(self, tick_ts: int, tick_ms: int) -> int:
        """The first tick from this one on that is not taken."""
        if not self.has(tick_ts):
            return tick_ts
        later = [leap.low + tick_ms for leap in self.leaps if leap.low >= tick_ts and leap.low + tick_ms < leap.until]
        return min(later, default=(self.newest or 0) + tick_ms)

    def before(self, now_ms: int) -> int | None:
        """The newest that is taken, as seen from a time of which a leap says that the clock was ahead after it."""
        return next((leap.low for leap in self.leaps if leap.low <= now_ms < leap.until), self.newest)

    def _leap(self, tick_ts: int) -> Leap | None:
        return next((leap for leap in self.leaps if leap.low < tick_ts < leap.until), None)
