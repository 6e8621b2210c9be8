"""The market at a glance: rising and falling coins, dominance, top movers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptoviz.records import UnifiedRecord
from dashboard.views.markup import element, text
from dashboard.views.numbers import Direction, direction, format_percent, format_share

__all__ = ["MarketSummary", "Mover", "summarize", "summary_strip"]

_MOVERS = 3
_DOMINANT = 2


@dataclass(frozen=True, slots=True)
class Mover:
    """A coin and its change over 24 h, percent."""

    asset_id: str
    symbol: str
    change_pct: float


@dataclass(frozen=True, slots=True)
class MarketSummary:
    """Counts of coins by the direction of 24 h; the largest rises and falls; (symbol, percent of all capitalisation) of the largest coins."""

    rising: int
    falling: int
    gainers: tuple[Mover, ...]
    losers: tuple[Mover, ...]
    dominance: tuple[tuple[str, float], ...]


def summarize(records: Iterable[UnifiedRecord]) -> MarketSummary:
    """Summary of the latest records. Capitalisations in other currencies than US dollars are omitted, as in the totals."""
    rows = list(records)
    moved = [Mover(row.asset_id, row.symbol, row.change_24h_pct) for row in rows if row.change_24h_pct is not None]
    moved.sort(key=lambda mover: (-mover.change_pct, mover.asset_id))
    caps = sorted(((row.market_cap, row.symbol) for row in rows if row.market_cap and row.quote_currency == "USD"), reverse=True)
    whole = sum(cap for cap, _ in caps)
    return MarketSummary(
        rising=sum(direction(mover.change_pct) is Direction.UP for mover in moved),
        falling=sum(direction(mover.change_pct) is Direction.DOWN for mover in moved),
        gainers=tuple(mover for mover in moved[:_MOVERS] if mover.change_pct > 0),
        losers=tuple(mover for mover in moved[::-1][:_MOVERS] if mover.change_pct < 0),
        dominance=tuple((symbol, 100 * cap / whole) for cap, symbol in caps[:_DOMINANT]),
    )


def summary_strip(summary: MarketSummary, t: Callable[[str], str]) -> str:
    """The summary as a strip above the table."""
    parts = [
        _group(t("breadth"), [element("b", text(f"▲ {summary.rising}"), "cv-up") + " " + element("b", text(f"▼ {summary.falling}"), "cv-down")]),
        _group(
            t("dominance"),
            [f"{element('span', text(symbol))} {element('b', text(format_share(share / 100)), 'cv-num')}" for symbol, share in summary.dominance],
        ),
        _group(t("gainers"), _movers(summary.gainers)),
        _group(t("losers"), _movers(summary.losers)),
    ]
    return element("div", "".join(parts), "cv-strip")


def _group(label: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    return element("div", element("span", text(label), "cv-muted") + "".join(element("span", item) for item in items), "cv-strip-group")


def _movers(movers: Sequence[Mover]) -> list[str]:
    return [
        element(
            "button",
            f"{text(mover.symbol)} {element('span', text(format_percent(mover.change_pct)), f'cv-num cv-{direction(mover.change_pct)}')}",
            "cv-mover",
            type="button",
            data_do="choose",
            data_coin=mover.asset_id,
            data_key=mover.asset_id,
        )
        for mover in movers
    ]
