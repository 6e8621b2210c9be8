"""Rows of the coin table: sort values and their markup, with the source badge and the sparkline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role, UnifiedRecord
from dashboard.views.markup import age_element, element, text
from dashboard.views.numbers import direction, format_bps, format_compact, format_percent, format_price

__all__ = ["COLUMNS", "PACKED", "SEPARATOR", "CoinView", "Column", "SourceBadge", "by_rank", "coin_row", "matches", "source_badge", "sparkline_svg"]

_NOT_RANKED = 1_000_000
_SPREAD_WARN_BPS = 50.0
_WIDTH, _HEIGHT, _MARGIN = 92, 24, 2.0
_MAX_POINTS = 46  # one per two pixels


@dataclass(frozen=True, slots=True)
class Column:
    """A column: sort field, title, width in px, and the window width (px) below which it is hidden."""

    field: str
    title: str
    width: int
    align: str = "right"
    needs_px: int = 0
    tooltip: str = ""


COLUMNS: tuple[Column, ...] = (
    Column("rank", "#", 30, needs_px=600, tooltip="Rank by market cap"),
    Column("coin", "Coin", 118, align="left", tooltip="Click a row to select the coin"),
    Column("price", "Price", 92, tooltip="Price in quote currency, from the provider under Source"),
    Column("change_1h", "1h", 70, needs_px=760, tooltip="Change over one hour, reported by the provider"),
    Column("change_24h", "24h", 74, tooltip="Change over 24 hours, reported by the provider"),
    Column("change_7d", "7d", 72, needs_px=760, tooltip="Change over seven days, reported by the provider"),
    Column("volume", "Vol. 24h", 80, needs_px=900, tooltip="Reported rolling 24 h volume"),
    Column("market_cap", "Market cap", 80, needs_px=900, tooltip="Reported market capitalisation"),
    Column("spark", "Recent", 100, align="center", needs_px=1100, tooltip="Prices of at most the last 180 ticks, in the price's quote currency"),
    Column("source", "Source", 100, align="left", needs_px=600, tooltip="Provider of the price; the reason if it is not the primary provider"),
    Column("spread", "Spread", 56, needs_px=1100, tooltip="Consensus spread of the providers that answered, in basis points"),
    Column("age", "Age", 50, tooltip="Time since the tick (scheduled poll slot): live < 2 ticks, late < 5, else stale"),
)


@dataclass(frozen=True, slots=True)
class CoinView:
    """Inputs of a row. `previous_price` is the last displayed price, for the flash; None for no flash."""

    record: UnifiedRecord
    recent_prices: Sequence[float]
    previous_price: float | None = None


PACKED: tuple[str, ...] = ("rank", "price", "change_1h", "change_24h", "change_7d", "volume", "market_cap", "spread", "age")
"""Fields sorted by number. Their markup is packed in one column, because each column of a table costs three models per browser."""

SEPARATOR = "\x1f"
"""ASCII unit separator, which never occurs in markup."""


def coin_row(view: CoinView, tick_ms: int) -> dict[str, float | str | None]:
    """Values by field: sort numbers, or markup for fields sorted by text. `cells` is the markup of `PACKED`, in order.

    Unknown numbers are None and sort last.
    """
    record = view.record
    row: dict[str, float | str | None] = {
        "asset_id": record.asset_id,
        "rank": record.rank if record.rank is not None else _NOT_RANKED,
        "coin": _coin_cell(record),
        "price": record.price,
        "change_1h": record.change_1h_pct,
        "change_24h": record.change_24h_pct,
        "change_7d": record.change_7d_pct,
        "volume": record.volume_24h,
        "market_cap": record.market_cap,
        "spark": sparkline_svg(view.recent_prices),
        "source": _source_cell(record),
        "spread": record.spread_bps,
        "age": -float(record.tick_ts),  # sorts like the age, but changes only with the tick
    }
    markup = {
        "rank": element("span", text(record.rank if record.rank is not None else "—"), "cv-muted"),
        "price": _price_cell(view),
        "change_1h": _change_cell(record.change_1h_pct),
        "change_24h": _change_cell(record.change_24h_pct),
        "change_7d": _change_cell(record.change_7d_pct),
        "volume": element("span", text(format_compact(record.volume_24h, record.quote_currency)), "cv-num"),
        "market_cap": element("span", text(format_compact(record.market_cap, record.quote_currency)), "cv-num"),
        "spread": _spread_cell(record),
        "age": age_element(record.tick_ts, tick_ms, "cv-age"),
    }
    row["cells"] = SEPARATOR.join(markup[field].replace(SEPARATOR, "") for field in PACKED)
    return row


def _coin_cell(record: UnifiedRecord) -> str:
    """Symbol and name; on a phone, without the source column, also the fallback mark."""
    badge = source_badge(record)
    mark = "" if badge.fallback is None else element("span", "F", "cv-badge cv-fallback cv-narrow", title=badge.tooltip, aria_label=badge.fallback)
    return element("span", text(record.symbol), "cv-symbol") + element("span", text(record.name), "cv-name", title=record.name) + mark


def _price_cell(view: CoinView) -> str:
    price, before = view.record.price, view.previous_price
    flash = "" if before is None or before == price else (" cv-flash-up" if price > before else " cv-flash-down")
    shown = text(format_price(price, view.record.quote_currency))
    return element("span", shown, f"cv-price cv-num{flash}", data_asset=view.record.asset_id, data_price=repr(price), data_tick=view.record.tick_ts)


def _change_cell(percent: float | None) -> str:
    return element("span", text(format_percent(percent)), f"cv-num cv-change cv-{direction(percent)}")


def _source_cell(record: UnifiedRecord) -> str:
    badge = source_badge(record)
    provider = element("span", text(badge.provider), "cv-source" + ("" if badge.fallback is None else " cv-source-fallback"))
    reason = "" if badge.fallback is None else element("span", text(badge.fallback), "cv-badge cv-fallback")
    return element("span", provider + reason, "cv-source-cell", title=badge.tooltip)


def _spread_cell(record: UnifiedRecord) -> str:
    wide = record.disagrees or (record.spread_bps is not None and record.spread_bps > _SPREAD_WARN_BPS)
    title = "providers disagree" if record.disagrees else None
    return element("span", text(format_bps(record.spread_bps)), "cv-num" + (" cv-warn" if wide else ""), title=title)


def matches(record: UnifiedRecord, search: str) -> bool:
    """Whether the search text is part of the coin's name, symbol or id, ignoring case; an empty text matches all."""
    wanted = search.strip().lower()
    return any(wanted in value.lower() for value in (record.name, record.symbol, record.asset_id))


def by_rank(records: Iterable[UnifiedRecord]) -> list[UnifiedRecord]:
    """Records by rank, unranked last, then by id, for a stable order."""
    return sorted(records, key=lambda record: (record.rank if record.rank is not None else _NOT_RANKED, record.asset_id))


def sparkline_svg(prices: Sequence[float]) -> str:
    """An inline SVG of the prices, oldest first; green if the last is at or above the first. Empty with fewer than two prices."""
    points = _thin(prices)
    if len(points) < 2:
        return '<span class="cv-muted">—</span>'
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    step = (_WIDTH - 2 * _MARGIN) / (len(points) - 1)
    path = " ".join(
        f"{_MARGIN + i * step:.1f},{_HEIGHT - _MARGIN - (price - low) / span * (_HEIGHT - 2 * _MARGIN):.1f}" for i, price in enumerate(points)
    )
    way = "up" if points[-1] >= points[0] else "down"
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return (
        f'<svg class="cv-spark cv-{way}" {size} role="img" aria-label="recent prices, {way}">'
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"/></svg>'
    )


def _thin(prices: Sequence[float]) -> list[float]:
    if len(prices) <= _MAX_POINTS:
        return list(prices)
    step = (len(prices) - 1) / (_MAX_POINTS - 1)
    return [prices[round(i * step)] for i in range(_MAX_POINTS)]


@dataclass(frozen=True, slots=True)
class SourceBadge:
    """Plain texts, to be escaped by the renderer. `fallback` is None for the primary provider's price."""

    provider: str
    fallback: str | None
    tooltip: str


def source_badge(record: UnifiedRecord) -> SourceBadge:
    """The badge of one record."""
    provider = display_name(record.provider)
    sources = f"{record.consensus_sources} source{'s' if record.consensus_sources != 1 else ''} answered this tick"
    if record.role == Role.FALLBACK:
        reason = record.fallback_reason or "unknown"
        return SourceBadge(provider, f"fallback: {reason}", f"{provider}, fallback for the primary provider ({reason}); {sources}")
    return SourceBadge(provider, None, f"{provider}, the primary provider; {sources}")
