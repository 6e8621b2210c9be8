"""History of a coin: ranges, rows of the table, summary statistics."""

from __future__ import annotations

from collections.abc import Sequence

from cryptoviz.providers.registry import display_name
from cryptoviz.records import Role
from cryptoviz.times import DAY_MS
from dashboard.views.markup import element, text
from dashboard.views.numbers import UNKNOWN, direction, format_count, format_number, format_percent, format_price, format_share
from dashboard.views.statistics import PriceRow, Summary
from dashboard.views.texts import say

__all__ = ["RANGES_MS", "history_table", "range_start", "summary_markup"]

RANGES_MS: dict[str, int] = {"15m": 900_000, "1h": 3_600_000, "6h": 21_600_000, "24h": DAY_MS, "7d": 604_800_000}

_STEP_MS = 5_000


def range_start(now_ms: int, name: str) -> int:
    """Start of a range that ends now, rounded to 5 s, so that concurrent requests share a read."""
    return now_ms // _STEP_MS * _STEP_MS - RANGES_MS[name]


_PAGE_ROWS = 8  # matches the height of the statistics
_HEADS = (("Tick", ""), ("Price", "cv-right"), ("Provider", ""), ("Role", "cv-wide-only"), ("Fallback reason", "cv-wide-only"))


def history_table(rows: Sequence[PriceRow], page: int) -> str:
    """A page (from 0) of the rows, newest first, and the controls to turn it."""
    last = max(0, (len(rows) - 1) // _PAGE_ROWS)
    page = min(page, last)
    head = "".join(element("th", text(say(title)), classes, scope="col") for title, classes in _HEADS)
    body = "".join(element("tr", _history_cells(row)) for row in rows[page * _PAGE_ROWS : (page + 1) * _PAGE_ROWS])
    turns = (("«", "First page", 0), ("‹", "Previous page", page - 1), ("›", "Next page", page + 1), ("»", "Last page", last))
    buttons = "".join(
        element(
            "button", mark, "cv-button", type="button", data_act="turn", data_value=to, aria_label=say(label),
            disabled=None if 0 <= to <= last and to != page else "",
        )
        for mark, label, to in turns
    )  # fmt: skip
    table = element("table", element("thead", element("tr", head)) + element("tbody", body), "cv-table")
    return table + element("div", buttons + element("span", f"{page + 1} / {last + 1}", "cv-note cv-num"), "cv-pager")


def _history_cells(row: PriceRow) -> str:
    phone = element("span", "F", "cv-badge cv-fallback cv-narrow", title=row.fallback_reason) if row.role == Role.FALLBACK else ""
    cells = (
        (_moment(row.tick_ts), ""),
        (element("span", text(format_price(row.price, row.quote_currency)), "cv-num"), "cv-right"),
        (text(display_name(row.provider)) + phone, ""),
        (element("span", text(say(row.role)), "cv-badge cv-fallback" if row.role == Role.FALLBACK else "cv-muted"), "cv-wide-only"),
        (element("span", text(row.fallback_reason), "cv-warn") if row.fallback_reason else "", "cv-wide-only"),
    )
    return "".join(element("td", markup, classes) for markup, classes in cells)


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
    volatility = UNKNOWN if summary.volatility_pct is None else f"{format_number(summary.volatility_pct, 3)}%"
    cells.append(_cell("Volatility /√h", volatility, "cv-stat-volatility", "Realised volatility of the log returns, per square root of an hour"))
    cells.append(
        _cell("Coverage", format_share(summary.coverage), "cv-stat-coverage", "Fraction of the ticks between first and last row that have a row")
    )
    cells.append(_whole("From", _moment(summary.from_ts), "cv-stat-from"))
    cells.append(_whole("To", _moment(summary.to_ts), "cv-stat-to"))
    shares = ", ".join(f"{provider} {format_share(share)}" for provider, share in summary.sources)
    cells.append(_whole("Sources", text(shares), "cv-stat-sources"))
    return element("dl", "".join(cells), "cv-stats")


def _cell(label: str, value: str, classes: str, title: str | None = None) -> str:
    return element("div", element("dt", text(say(label))) + element("dd", text(value), classes), title=None if title is None else say(title))


def _whole(label: str, markup: str, classes: str) -> str:
    """A cell as wide as the list."""
    return element("div", element("dt", text(say(label))) + element("dd", markup, classes), "cv-whole")


def _moment(epoch_ms: int) -> str:
    """By the clock that the visitor has chosen, to the second."""
    return element("cv-time", "", "cv-num", data_ms=epoch_ms)
