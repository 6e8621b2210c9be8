"""Quote header of the selected coin, summary statistics, and placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptoviz.records import UnifiedRecord
from dashboard.views.markup import element, text
from dashboard.views.numbers import UNKNOWN, direction, format_compact, format_count, format_percent, format_price
from dashboard.views.source import source_badge
from dashboard.views.statistics import Summary

__all__ = ["format_time", "other_currencies", "quote_markup", "state_markup", "summary_markup"]


def format_time(epoch_ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def quote_markup(record: UnifiedRecord | None, coin: str) -> str:
    """Name, price, change and facts of the selected coin, and the timestamps of the record, for measurements."""
    if record is None:
        return element("div", element("span", text(coin), "cv-quote-name") + element("span", "no price yet", "cv-muted"), "cv-quote")
    change = record.change_24h_pct
    badge = source_badge(record)
    head = [
        element("span", f"{text(record.name)} {element('span', text(record.symbol), 'cv-muted')}", "cv-quote-name"),
        element("span", text(format_price(record.price, record.quote_currency)), "cv-quote-price"),
        element("span", f"{text(format_percent(change))} 24h", f"cv-change cv-{direction(change)}"),
    ]
    if badge.fallback is not None:
        head.append(element("span", text(f"{badge.provider} · {badge.fallback}"), "cv-badge cv-fallback", title=badge.tooltip))
    facts = [
        _fact("High 24h", format_price(record.high_24h, record.quote_currency)),
        _fact("Low 24h", format_price(record.low_24h, record.quote_currency)),
        _fact("Supply", format_compact(record.circulating_supply)),
        _fact("Consensus", f"{format_price(record.consensus_price, record.quote_currency)} ({record.consensus_sources})"),
    ]
    return element("div", "".join(head), "cv-quote") + element("div", "".join(facts), "cv-facts") + _stamps(record)


def _fact(label: str, value: str) -> str:
    return element("span", f"{text(label)} {element('b', text(value))}")


def _stamps(record: UnifiedRecord) -> str:
    """Hidden element for benchmarks: timestamps of the displayed record, in UTC epoch ms."""
    return element(
        "span",
        "",
        "cv-latest-ingest",
        hidden="",
        data_asset=record.asset_id,
        data_tick_ts=record.tick_ts,
        data_ingest_ts=record.ingest_ts,
        data_price=repr(record.price),
        data_provider=record.provider,
        data_role=record.role,
    )


def other_currencies(counts: Mapping[str, int], what: str) -> str:
    """Sentence about omitted data in other currencies; empty if nothing is omitted."""
    if not counts:
        return ""
    parts = ", ".join(f"{count:,} in {currency or 'no currency'}" for currency, count in sorted(counts.items()))
    return f"Omitted: {what} in other currencies ({parts})."


def summary_markup(summary: Summary) -> str:
    """The summary statistics as a definition list."""
    currency = summary.currency
    price = [
        ("First", summary.first),
        ("Last", summary.last),
        ("Minimum", summary.minimum),
        ("Maximum", summary.maximum),
        ("Mean", summary.mean),
        ("Median", summary.median),
    ]
    cells = [_cell("Rows", format_count(summary.count), "cv-stat-count")]
    cells.append(_cell("Fallback rows", format_count(summary.fallback_rows), "cv-stat-fallback"))
    cells += [_cell(label, format_price(value, currency), f"cv-stat-{label.lower()}") for label, value in price]
    cells.append(_cell("Std deviation", format_price(summary.std, currency), "cv-stat-std"))
    cells.append(_cell("Change", format_percent(summary.change_pct), f"cv-stat-change cv-{direction(summary.change_pct)}"))
    volatility = UNKNOWN if summary.volatility_pct is None else f"{summary.volatility_pct:,.3f}%"
    cells.append(_cell("Volatility /√h", volatility, "cv-stat-volatility", "Realised volatility of the log returns, per square root of an hour"))
    cells.append(_cell("Coverage", f"{summary.coverage:.1%}", "cv-stat-coverage", "Fraction of the ticks between first and last row that have a row"))
    cells.append(_cell("From", f"{format_time(summary.from_ts)} UTC", "cv-stat-from", whole=True))
    cells.append(_cell("To", f"{format_time(summary.to_ts)} UTC", "cv-stat-to", whole=True))
    shares = ", ".join(f"{provider} {share:.1%}" for provider, share in summary.sources)
    cells.append(_cell("Sources", shares, "cv-stat-sources", whole=True))
    return element("dl", "".join(cells), "cv-stats")


def _cell(label: str, value: str, classes: str, title: str | None = None, *, whole: bool = False) -> str:
    return element("div", element("dt", text(label)) + element("dd", text(value), classes), "cv-whole" if whole else "", title=title)


def state_markup(kind: str, title: str, detail: str = "") -> str:
    """Placeholder without data: `kind` is empty, loading or error."""
    body = element("b", text(title)) + (element("span", text(detail)) if detail else "")
    return element("div", body, f"cv-state cv-state-{kind}", role="alert" if kind == "error" else "status")
