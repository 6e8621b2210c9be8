"""How many trades an instrument has made before each second: a rate that changes at known seconds, so that ids need no history.

Seconds are market seconds since the anchor of the market clock. Within a segment the count is `floor(rate x seconds)`, so the trade with a given id
and the ids of a given second are found by arithmetic, at any distance from now.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["MAX_PER_SECOND", "Segment", "TradeCounts"]

MAX_PER_SECOND = 1_000
"""Trades per second of an instrument: each needs a size of at least one lot, and the quietest second has 1 000 lots."""
_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Segment:
    """From market second `start_s`: `rate_milli` trades per 1 000 seconds, with ids after `last_id`; `skipped` ids before them have no trade."""

    start_s: int
    rate_milli: int
    last_id: int
    skipped: int = 0


class TradeCounts:
    """The ids of one instrument. Ids begin after `last_id` at second 0; `version` changes with the segments."""

    def __init__(self, rate_milli: int, segments: Iterable[Segment] = (), last_id: int = 0) -> None:
        self.base_milli = rate_milli
        self.segments = list(segments) or [Segment(0, rate_milli, last_id)]
        self.version = len(self.segments) - 1

    def last_id_before(self, second: int) -> int:
        """Id of the last trade before a second; the id before the first, if there is none."""
        segment = self._segment(second)
        return segment.last_id + max(0, second - segment.start_s) * segment.rate_milli // _MILLI

    def made(self, first_s: int, end_s: int) -> int:
        """Number of trades from a second to another, exclusive."""
        skipped = sum(segment.skipped for segment in self.segments if first_s < segment.start_s <= end_s)
        return self.last_id_before(end_s) - self.last_id_before(first_s) - skipped

    def second_of(self, trade_id: int) -> int | None:
        """The second of a trade; of the next one, if ids have jumped over this id. None before the first trade and after the end of all trades."""
        if trade_id < 1:
            return None
        at = bisect_right(self.segments, trade_id - 1, key=lambda segment: segment.last_id) - 1
        for number in range(max(0, at), len(self.segments)):
            segment = self.segments[number]
            within = max(1, trade_id - segment.last_id)
            if segment.rate_milli:
                second = segment.start_s - (-within * _MILLI // segment.rate_milli) - 1
                if number + 1 == len(self.segments) or second < self.segments[number + 1].start_s:
                    return second
        return None

    def steady(self, first_s: int, end_s: int) -> Segment | None:
        """The segment that has all seconds from `first_s` to `end_s` (exclusive); None if the rate changes within them."""
        segment = self._segment(first_s)
        return segment if self._segment(end_s - 1) is segment else None

    def change(self, start_s: int, rate_milli: int, skipped_ids: int = 0) -> None:
        """From a second on, another rate; ids jump by `skipped_ids`. Later changes are dropped."""
        last_id = self.last_id_before(start_s) + skipped_ids
        self.segments = [segment for segment in self.segments if segment.start_s < start_s] + [Segment(start_s, rate_milli, last_id, skipped_ids)]
        self.version += 1

    def _segment(self, second: int) -> Segment:
        return self.segments[max(0, bisect_right(self.segments, second, key=lambda segment: segment.start_s) - 1)]
