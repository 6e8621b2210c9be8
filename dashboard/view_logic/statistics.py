"""Summary statistics of a stretch of price history."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, stdev

from cryptoviz.records import Role

__all__ = ["PriceRow", "Summary", "summarise"]

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row of history. Times are UTC epoch ms, the price in quote currency."""

    tick_ts: int
    price: float
    provider: str
    role: str
    fallback_reason: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics over rows in time order; prices in quote currency, times UTC epoch ms.

    `std` is the sample standard deviation, `volatility_pct` the realised volatility per square root of an hour: 100 * sqrt(sum of squared log
    returns / hours), which does not depend on how often was sampled. `sources` is (provider, share of rows) by falling share. `coverage` is the
    share of the ticks between first and last that have a row.
    """

    count: int
    from_ts: int
    to_ts: int
    first: float
    last: float
    minimum: float
    maximum: float
    mean: float
    median: float
    std: float | None
    change_pct: float
    volatility_pct: float | None
    sources: tuple[tuple[str, float], ...]
    fallback_rows: int
    coverage: float


def summarise(rows: Sequence[PriceRow], tick_ms: int) -> Summary | None:
    """The summary of `rows`, in any order, polled each `tick_ms`; None when there are none."""
    if not rows:
        return None
    ordered = sorted(rows, key=lambda row: row.tick_ts)
    prices = [row.price for row in ordered]
    first, last = ordered[0], ordered[-1]
    count = len(ordered)
    shares = Counter(row.provider for row in ordered).most_common()
    return Summary(
        count=count,
        from_ts=first.tick_ts,
        to_ts=last.tick_ts,
        first=first.price,
        last=last.price,
        minimum=min(prices),
        maximum=max(prices),
        mean=fmean(prices),
        median=median(prices),
        std=stdev(prices) if count > 1 else None,
        change_pct=(last.price / first.price - 1) * 100,
        volatility_pct=_volatility_pct(prices, last.tick_ts - first.tick_ts),
        sources=tuple((provider, rows_of / count) for provider, rows_of in shares),
        fallback_rows=sum(row.role == Role.FALLBACK for row in ordered),
        coverage=min(1.0, len({row.tick_ts for row in ordered}) / ((last.tick_ts - first.tick_ts) // tick_ms + 1)),
    )


def _volatility_pct(prices: Sequence[float], span_ms: int) -> float | None:
    if span_ms <= 0:
        return None
    squares = math.fsum(math.log(after / before) ** 2 for before, after in pairwise(prices))
    return 100 * math.sqrt(squares / (span_ms / _HOUR_MS))
