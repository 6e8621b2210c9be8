"""Rows of the coin table as values: the browser formats, sorts and filters them, so that a thousand coins need no answer of the server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role, UnifiedRecord

__all__ = ["FIELDS", "Row", "SparkLine", "by_rank", "market_row", "spark", "spark_line"]

FIELDS: tuple[str, ...] = (
    "asset", "symbol", "name", "currency", "price", "change_1h", "change_24h", "change_7d", "volume", "market_cap", "rank",
    "provider", "reason", "sources", "spread", "disagrees", "tick",
)  # fmt: skip
"""Meaning of a row's values. `reason` is null for the primary provider's price; `tick` is UTC epoch ms, `spread` basis points, changes percent."""

Row = list[str | float | bool | None]

SparkLine = tuple[int, float, float, float, str]
"""Hours, the first point, the lowest, the highest, and each point as a byte in base64: its height between both, in 255 steps."""

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


def spark(week: SparkLine | None, recent: Sequence[float]) -> SparkLine | None:
    """The line of the week's closes; that of the recent ticks if the lake has none; None without two points."""
    return week if week is not None or len(recent) < 2 else spark_line(recent, 0)


def spark_line(points: Sequence[float], hours: int) -> SparkLine:
    """Draw points, oldest first, as a line of so many hours (0: of ticks).

    A sparkline is 22 pixels high: a step of 255 is less than a tenth of a pixel, and the digits of a thousand weeks of prices would be 2 MB. The
    first point is exact, since whether the line rises is the newest price held against it.
    """
    low, high = min(points), max(points)
    scale = 255 / (high - low) if high > low else 0.0
    return hours, points[0], low, high, b64encode(bytes([int((point - low) * scale + 0.5) for point in points])).decode()
