"""Rows of the coin table as values: the browser formats, sorts and filters them, so that a thousand coins need no answer of the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role, UnifiedRecord

__all__ = ["FIELDS", "Row", "by_rank", "market_row", "spark"]

FIELDS: tuple[str, ...] = (
    "asset", "symbol", "name", "currency", "price", "change_1h", "change_24h", "change_7d", "volume", "market_cap", "rank",
    "provider", "reason", "sources", "spread", "disagrees", "tick",
)  # fmt: skip
"""Meaning of a row's values. `reason` is null for the primary provider's price; `tick` is UTC epoch ms, `spread` basis points, changes percent."""

Row = list[str | float | bool | None]
_NOT_RANKED = 1_000_000


def market_row(record: UnifiedRecord) -> Row:
    """Values of a record, in the order of `FIELDS`. Texts are plain: the browser sets them as text."""
    reason = (record.fallback_reason or "unknown") if record.role == Role.FALLBACK else None
    return [
        record.asset_id, record.symbol, record.name, record.quote_currency, record.price, record.change_1h_pct, record.change_24h_pct,
        record.change_7d_pct, record.volume_24h, record.market_cap, record.rank, display_name(record.provider), reason, record.consensus_sources,
        record.spread_bps, record.disagrees, record.tick_ts,
    ]  # fmt: skip


def by_rank(records: Iterable[UnifiedRecord]) -> list[UnifiedRecord]:
    """Records by rank, unranked last, then by id, for a stable order."""
    return sorted(records, key=lambda record: (record.rank if record.rank is not None else _NOT_RANKED, record.asset_id))


def spark(closes: Sequence[float], recent: Sequence[float]) -> tuple[Sequence[float], int]:
    """Points of a sparkline, oldest first, and their hours: the week's closes, or the recent ticks (0 h) if the lake has fewer than two."""
    return (closes, len(closes)) if len(closes) >= 2 else (recent, 0)
