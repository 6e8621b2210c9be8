"""Ticks that the collector knows to be missing and has not told anyone yet: the next records of its ticks carry them, until one is published."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["LostTicks"]

_KEPT = 100_000
"""Half a day of ticks of half a second. Past it the oldest are forgotten; the ledger then says `not_running` of them."""


class LostTicks:
    """Ticks of one kind (UTC epoch ms, on a grid of `tick_ms`)."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._told_by: OrderedDict[int, int | None] = OrderedDict()

    def add(self, tick_ts: int) -> None:
        """The tick is lost."""
        self._told_by[tick_ts] = None
        while len(self._told_by) > _KEPT:
            self._told_by.popitem(last=False)

    def tell(self, record_ts: int) -> list[list[int]]:
        """What the record of the tick `record_ts` has to carry: [first, last, step] of each run."""
        spans: list[list[int]] = []
        for tick in sorted(self._told_by):
            if self._told_by[tick] is None:
                self._told_by[tick] = record_ts
            if spans and tick == spans[-1][1] + self._tick_ms:
                spans[-1][1] = tick
            else:
                spans.append([tick, tick, self._tick_ms])
        return spans

    def published(self, record_ts: int) -> None:
        """Kafka has that record. What was lost after it was made is still to be told."""
        for tick in [tick for tick, told_by in self._told_by.items() if told_by is not None and told_by <= record_ts]:
            del self._told_by[tick]
