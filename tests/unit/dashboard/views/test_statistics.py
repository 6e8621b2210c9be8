"""Statistics of price history, compared with figures computed by hand or by another formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from cryptoviz.lake.schema import TIME
from dashboard.feeds.summary import price_history
from dashboard.views.history_rows import summary_markup
from dashboard.views.quote import other_currencies
from dashboard.views.statistics import PriceHistory, Summary

HOUR_MS = 3_600_000
TICK_MS = 2_000


def row(tick_ts: int, price: float, provider: str = "coingecko", role: str = "primary", currency: str = "USD") -> dict[str, Any]:
    when = datetime.fromtimestamp(tick_ts / 1000, UTC)
    reason = "timeout" if role == "fallback" else None
    return {"tick_ts": when, "quote_currency": currency, "price": price, "provider": provider, "role": role, "fallback_reason": reason}


SCHEMA = pa.schema(
    [("tick_ts", TIME), ("quote_currency", pa.string()), ("price", pa.float64())]
    + [(name, pa.string()) for name in ("provider", "role", "fallback_reason")]
)


def history(rows: Sequence[dict[str, Any]], tick_ms: int = TICK_MS, limit: int = 100) -> PriceHistory:
    return price_history(pa.Table.from_pylist(list(rows), schema=SCHEMA), limit, tick_ms)


def summary_of(rows: Sequence[dict[str, Any]], tick_ms: int = TICK_MS) -> Summary:
    (summary,) = history(rows, tick_ms).summaries
    return summary


def test_no_rows_have_no_summary() -> None:
    assert history([]) == PriceHistory((), ())


def test_one_row_has_no_deviation_and_no_volatility() -> None:
    summary = summary_of([row(1_000, 5.0)])
    assert (summary.count, summary.first, summary.last, summary.mean, summary.median, summary.coverage) == (1, 5.0, 5.0, 5.0, 5.0, 1.0)
    assert summary.std is None
    assert summary.volatility_pct is None


def test_figures_are_those_worked_out_by_hand() -> None:
    # 100, 104, 98, 101, 110: mean 513 / 5 = 102.6, middle of 98 100 101 104 110 = 101, squared deviations 6.76 + 1.96 + 21.16 + 2.56 + 54.76 = 87.2.
    summary = summary_of([row(i * TICK_MS, price) for i, price in enumerate((100.0, 104.0, 98.0, 101.0, 110.0))])
    assert (summary.first, summary.last, summary.minimum, summary.maximum) == (100.0, 110.0, 98.0, 110.0)
    assert summary.mean == pytest.approx(102.6)
    assert summary.median == 101.0
    assert summary.std == pytest.approx(math.sqrt(87.2 / 4))
    assert summary.change_pct == pytest.approx(10.0)
    assert (summary.from_ts, summary.to_ts) == (0, 8_000)


def test_volatility_does_not_depend_on_how_often_is_sampled() -> None:
    # A step of +r and one of -r each hour: sqrt(2 r^2 / 2 h) = r, at any sampling in between.
    r = 0.01
    coarse = [100.0, 100.0 * math.exp(r), 100.0]
    hours = [row(i * HOUR_MS, price) for i, price in enumerate(coarse)]
    fine = [row(i * HOUR_MS // 10, coarse[i // 10]) for i in range(21)]
    for rows, tick_ms in ((hours, HOUR_MS), (fine, HOUR_MS // 10)):
        assert summary_of(rows, tick_ms).volatility_pct == pytest.approx(100 * r)


def test_sources_fallback_rows_and_coverage_are_counted() -> None:
    rows = [row(0, 1.0), row(2_000, 1.0), row(4_000, 1.0, "coinmarketcap", "fallback"), row(10_000, 1.0)]
    summary = summary_of(rows)
    assert summary.sources == (("coingecko", 0.75), ("coinmarketcap", 0.25))
    assert summary.fallback_rows == 1
    assert summary.coverage == pytest.approx(4 / 6)


def test_a_week_of_ticks_counts_from_its_first_row() -> None:
    # Seven days at 2 s are 302 400 rows. The price is 11 for the first day and 100 after it: +809.09 % over the week, 0 % over its last day.
    count, day = 302_400, 43_200
    table = pa.table(
        {
            "tick_ts": pa.array([i * TICK_MS * 1000 for i in range(count)], pa.int64()).cast(TIME),
            "quote_currency": ["USD"] * count,
            "price": [11.0] * day + [100.0] * (count - day),
            "provider": ["coingecko"] * count,
            "role": ["primary"] * count,
            "fallback_reason": pa.nulls(count, pa.string()),
        }
    )
    found = price_history(table, 2_000, TICK_MS)
    (summary,) = found.summaries
    assert (found.count, len(found.rows)) == (count, 2_000)
    assert found.rows[0].tick_ts == (count - 1) * TICK_MS
    assert (summary.from_ts, summary.first, summary.last) == (0, 11.0, 100.0)
    assert summary.change_pct == pytest.approx(809.0909, abs=1e-4)
    assert summary.mean == pytest.approx((11 + 6 * 100) / 7)
    assert summary.coverage == 1.0


def test_each_quote_currency_has_statistics_of_its_own() -> None:
    # An hour of 59 dollar ticks from 90 000 to 90 590 and one backfilled tick in tether between them.
    rows = [row(i * 60_000, 90_000.0 + 10 * i) if i != 30 else row(i * 60_000, 89_000.0, "binance", currency="USDT") for i in range(60)]
    found = history(rows, 60_000)
    dollars, tether = found.summaries
    assert (dollars.currency, dollars.count, dollars.first, dollars.last, dollars.minimum, dollars.maximum) == (
        "USD",
        59,
        90_000,
        90_590,
        90_000,
        90_590,
    )
    assert (tether.currency, tether.count, tether.last, tether.coverage) == ("USDT", 1, 89_000, 1.0)
    assert {one.quote_currency for one in found.rows} == {"USD", "USDT"}
    assert "$90,000.00" in summary_markup(dollars)
    assert "₮" not in summary_markup(dollars)
    assert "₮89,000.00" in summary_markup(tether)
    assert "$" not in summary_markup(tether)
    assert other_currencies({"USDT": 1}, "rows") == "Omitted: rows in other currencies (1 in USDT)."
    assert other_currencies({}, "rows") == ""
