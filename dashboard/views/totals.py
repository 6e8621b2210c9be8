"""Market totals for the header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptoviz.records import Role, UnifiedRecord

__all__ = ["Totals", "total"]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all assets. A sum is None if no asset has the figure; `newest_tick_ts` is UTC epoch ms."""

    assets: int
    market_cap: float | None
    volume_24h: float | None
    newest_tick_ts: int | None
    fallback_assets: int


def total(records: Iterable[UnifiedRecord]) -> Totals:
    """Sum the latest records of all assets. Figures in currencies other than US dollars are omitted."""
    rows = list(records)
    dollars = [row for row in rows if row.quote_currency == "USD"]
    return Totals(
        assets=len(rows),
        market_cap=_sum(row.market_cap for row in dollars),
        volume_24h=_sum(row.volume_24h for row in dollars),
        newest_tick_ts=max((row.tick_ts for row in rows), default=None),
        fallback_assets=sum(row.role == Role.FALLBACK for row in rows),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
