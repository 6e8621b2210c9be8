"""Summary statistics of price history."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PriceHistory", "PriceRow", "Summary"]


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A row of history. Times are UTC epoch ms, the price in quote currency."""

    tick_ts: int
    quote_currency: str
    price: float
    provider: str
    role: str
    fallback_reason: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics over all rows of one quote currency, in time order; prices in `currency`, times in UTC epoch ms.

    `std` is the sample standard deviation, `volatility_pct` the realised volatility per square root of an hour: 100 * sqrt(sum of squared log
    returns / hours), which does not depend on the sampling interval. `sources` is (provider, fraction of rows) by descending fraction. `coverage` is
    the fraction of the ticks between first and last that have a row.
    """

    currency: str
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


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """A range of history: `rows` are the newest, newest first; `summaries` cover all rows, per quote currency by descending number of rows."""

    rows: tuple[PriceRow, ...]
    summaries: tuple[Summary, ...]

    @property
    def count(self) -> int:
        return sum(summary.count for summary in self.summaries)
