"""Missing ticks not yet reported. Repeated in each tick record until Kafka acknowledges one."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["MissingTicks"]

_KEPT = 100_000
"""Half a day of ticks of half a second. Past this the oldest are dropped; the gap ledger then gives `not_running` as their reason."""


class MissingTicks:
    """Missing ticks for one reason (UTC epoch ms, multiples of `tick_ms`)."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._reported_in: OrderedDict[int, int | None] = OrderedDict()

    def add(self, tick_ts: int) -> None:
        self._reported_in[tick_ts] = None
        while len(self._reported_in) > _KEPT:
            self._reported_in.popitem(last=False)

    def report(self, record_ts: int) -> list[list[int]]:
        """Missing ticks to include in the record of the tick `record_ts`, as [first, last, step] of each run."""
        spans: list[list[int]] = []
        for tick in sorted(self._reported_in):
            if self._reported_in[tick] is None:
                self._reported_in[tick] = record_ts
            if spans and tick == spans[-1][1] + self._tick_ms:
                spans[-1][1] = tick
            else:
                spans.append([tick, tick, self._tick_ms])
        return spans

    def published(self, record_ts: int) -> None:
        """Kafka has acknowledged the record of the tick `record_ts`. Ticks added after that record was made remain."""
        for tick in [tick for tick, reported_in in self._reported_in.items() if reported_in is not None and reported_in <= record_ts]:
            del self._reported_in[tick]
