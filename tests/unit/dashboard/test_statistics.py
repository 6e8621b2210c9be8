"""Summary statistics against figures worked out by hand or by another formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dashboard.view_logic.statistics import PriceRow, summarise

HOUR_MS = 3_600_000


def row(tick_ts: int, price: float, provider: str = "coingecko", role: str = "primary") -> PriceRow:
    return PriceRow(tick_ts, price, provider, role, "timeout" if role == "fallback" else None)


def test_no_rows_have_no_summary() -> None:
    assert summarise([], 2_000) is None


def test_one_row_has_no_deviation_and_no_volatility() -> None:
    summary = summarise([row(1_000, 5.0)], 2_000)
    assert summary is not None
    assert (summary.count, summary.first, summary.last, summary.mean, summary.median, summary.coverage) == (1, 5.0, 5.0, 5.0, 5.0, 1.0)
    assert summary.std is None
    assert summary.volatility_pct is None


def test_figures_agree_with_numpy_whatever_the_order_of_rows() -> None:
    prices = [100.0, 104.0, 98.0, 101.0, 110.0]
    rows = [row(i * 2_000, price) for i, price in enumerate(prices)]
    summary = summarise(rows[::-1], 2_000)
    assert summary is not None
    assert summary == summarise(rows, 2_000)
    assert (summary.first, summary.last, summary.minimum, summary.maximum) == (100.0, 110.0, 98.0, 110.0)
    assert summary.mean == pytest.approx(np.mean(prices))
    assert summary.median == pytest.approx(np.median(prices))
    assert summary.std == pytest.approx(np.std(prices, ddof=1))
    assert summary.change_pct == pytest.approx(10.0)
    assert (summary.from_ts, summary.to_ts) == (0, 8_000)


def test_volatility_does_not_depend_on_how_often_is_sampled() -> None:
    # A step of +r and one of -r each hour: sqrt(2 r^2 / 2 h) = r, at any sampling in between.
    r = 0.01
    coarse = [row(0, 100.0), row(HOUR_MS, 100.0 * math.exp(r)), row(2 * HOUR_MS, 100.0)]
    fine = [row(i * HOUR_MS // 10, coarse[i // 10].price) for i in range(21)]
    for rows, tick_ms in ((coarse, HOUR_MS), (fine, HOUR_MS // 10)):
        summary = summarise(rows, tick_ms)
        assert summary is not None
        assert summary.volatility_pct == pytest.approx(100 * r)


def test_sources_fallback_rows_and_coverage_are_counted() -> None:
    rows = [row(0, 1.0), row(2_000, 1.0), row(4_000, 1.0, "coinmarketcap", "fallback"), row(10_000, 1.0)]
    summary = summarise(rows, 2_000)
    assert summary is not None
    assert summary.sources == (("coingecko", 0.75), ("coinmarketcap", 0.25))
    assert summary.fallback_rows == 1
    assert summary.coverage == pytest.approx(4 / 6)
