"""Prices of ticks from past prices: never from after the tick."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.backfill.series import Point, price_at, windows

TIMES = st.lists(st.integers(0, 1_000_000), unique=True, max_size=50).map(sorted)


@given(TIMES, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_the_newest_price_that_was_known(times: list[int], tick: int, max_age: int) -> None:
    points = [Point(at, float(at + 1)) for at in times]
    known = [at for at in times if at <= tick and tick - at <= max_age]
    found = price_at(points, tick, max_age)
    assert (found.at_ms if found else None) == (max(known) if known else None)


@given(TIMES, st.integers(1, 200_000), st.integers(0, 50_000))
def test_windows_hold_each_tick_once_and_are_short_enough(ticks: list[int], span: int, lookback: int) -> None:
    found = list(windows(ticks, span, lookback))
    assert [tick for window in found for tick in window.ticks] == ticks
    for window in found:
        assert window.from_ms == window.ticks[0] - lookback
        assert len(window.ticks) == 1 or window.to_ms - window.from_ms <= span
