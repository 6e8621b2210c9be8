"""Rows and ranges of the history table."""

from __future__ import annotations

from cryptoviz.records import Role
from dashboard.views.markup import element, text
from dashboard.views.numbers import format_price
from dashboard.views.quote import format_time
from dashboard.views.statistics import PriceRow

__all__ = ["RANGES_MS", "history_row", "range_start"]

RANGES_MS: dict[str, int] = {"15m": 900_000, "1h": 3_600_000, "6h": 21_600_000, "24h": 86_400_000, "7d": 604_800_000}

_STEP_MS = 5_000


def range_start(now_ms: int, name: str) -> int:
    """Start of a range that ends now, rounded to 5 s, so that concurrent requests share a read."""
    return now_ms // _STEP_MS * _STEP_MS - RANGES_MS[name]


def history_row(row: PriceRow) -> dict[str, str | float]:
    """Values by field; `h_price` and `h_tick_ts` are the markup of the fields sorted by number."""
    return {
        "tick_ts": float(row.tick_ts),
        "price": row.price,
        "provider": text(row.provider),
        "role": element("span", text(row.role), "cv-badge cv-fallback" if row.role == Role.FALLBACK else "cv-muted"),
        "reason": element("span", text(row.fallback_reason), "cv-warn") if row.fallback_reason else "",
        "h_tick_ts": element("span", text(format_time(row.tick_ts)), "cv-num"),
        "h_price": element("span", text(format_price(row.price, row.quote_currency)), "cv-num"),
    }
