"""Simulated candles keep the day's open, high, low, close and volume."""

import numpy as np
import pytest

from market.bridge import daily_to_five_minutes, free_walk
from market.recorded import DAILY_FILE, FIVE_MINUTE_FILE, load_candles


@pytest.fixture(scope="module")
def daily():
    return load_candles(DAILY_FILE)["BNB"]


@pytest.fixture(scope="module")
def guide():
    return load_candles(FIVE_MINUTE_FILE)["BTC"]


@pytest.mark.parametrize("seed", [1, 2, 20221108])
def test_bridge_keeps_each_days_candle(daily, guide, seed):
    made = daily_to_five_minutes(daily, guide, seed)
    assert len(made) == 30 * 288
    for day in range(30):
        rows = slice(day * 288, (day + 1) * 288)
        assert made.open[rows][0] == daily.open[day]
        assert made.close[rows][-1] == daily.close[day]
        assert made.high[rows].max() == daily.high[day]
        assert made.low[rows].min() == daily.low[day]
        assert made.volume[rows].sum() == pytest.approx(daily.volume[day], rel=1e-9)


def test_bridge_candles_are_candles(daily, guide):
    made = daily_to_five_minutes(daily, guide, 1)
    assert (made.high >= np.maximum(made.open, made.close)).all()
    assert (made.low <= np.minimum(made.open, made.close)).all()
    # within a day each candle opens at the previous close
    inside = np.arange(1, len(made)) % 288 != 0
    np.testing.assert_array_equal(made.open[1:][inside], made.close[:-1][inside])
    assert (np.diff(made.close) != 0).mean() > 0.7


def test_bridge_depends_on_the_seed_alone(daily, guide):
    once, again, other = (daily_to_five_minutes(daily, guide, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once.close, again.close)
    assert (once.close != other.close).any()


def test_free_walk_is_a_positive_closed_loop():
    walk = free_walk("dogecoin", 8640, 3)
    assert len(walk) == 8640
    assert (walk.low > 0).all()
    assert (walk.high >= np.maximum(walk.open, walk.close)).all()
    assert walk.close[-1] == pytest.approx(walk.open[0], rel=1e-4)
    np.testing.assert_array_equal(walk.close, free_walk("dogecoin", 8640, 3).close)
    assert walk.open[0] != free_walk("shiba-inu", 8640, 3).open[0]
