"""Prices per second compared with their candles, and derived values with brute force and pandas."""

import numpy as np
import pandas as pd
import pytest

from cryptoviz.times import DAY_MS
from market.path import PricePath
from market.recorded import CANDLE_MS, FIVE_MINUTE_FILE, HISTORY_START_MS, load_candles

CANDLES = load_candles(FIVE_MINUTE_FILE)
SEED = 11


def seconds_of(path, start_ms, count):
    return np.array([path.price(start_ms + second * 1000) for second in range(count)])


@pytest.mark.parametrize("symbol", ["BTC", "VET", "FIL", "XRP"])
def test_path_goes_through_each_candle(symbol):
    candles, path = CANDLES[symbol], PricePath(CANDLES[symbol], SEED)
    for index in range(2000, 2100):
        prices = seconds_of(path, HISTORY_START_MS + index * CANDLE_MS, 300)
        assert prices[0] == candles.open[index]
        assert prices[-1] == candles.close[index]
        assert prices.max() == candles.high[index]
        assert prices.min() == candles.low[index]


def test_resampled_seconds_are_the_recorded_candles():
    """pandas' resampling of two hours of seconds returns the exchange's OHLC."""
    candles, path, first = CANDLES["ETH"], PricePath(CANDLES["ETH"], SEED), 500
    start = HISTORY_START_MS + first * CANDLE_MS
    series = pd.Series(seconds_of(path, start, 7200), index=pd.to_datetime(start + np.arange(7200) * 1000, unit="ms", utc=True))
    ohlc = series.resample("5min").ohlc()
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(ohlc[name].to_numpy(), getattr(candles, name)[first : first + 24])


def test_price_moves_nearly_every_second():
    prices = seconds_of(PricePath(CANDLES["BTC"], SEED), HISTORY_START_MS + 3 * DAY_MS, 3600)
    assert (np.diff(prices) != 0).mean() > 0.98
    assert np.abs(np.diff(np.log(prices))).max() < 0.01


def test_same_seed_same_price_and_order_of_asking_does_not_matter():
    times = [HISTORY_START_MS + offset for offset in (0, 12_345_678, 999, DAY_MS * 20 + 17_000, 5)]
    one, two = PricePath(CANDLES["SOL"], SEED), PricePath(CANDLES["SOL"], SEED)
    assert [one.price(at) for at in times] == [two.price(at) for at in reversed(times)][::-1]
    other = PricePath(CANDLES["SOL"], SEED + 1)
    assert seconds_of(one, times[1], 300).tolist() != seconds_of(other, times[1], 300).tolist()


def test_price_is_pinned_for_a_seed():
    """A change here changes every seeded test and recorded demo, and must be intended."""
    path = PricePath(CANDLES["BTC"], 20221108)
    assert [path.price(HISTORY_START_MS + at) for at in (0, 100_000, 299_000)] == [20490.74, 20496.607306, 20476.78]


def test_the_month_repeats_in_both_directions():
    path, month = PricePath(CANDLES["LTC"], SEED), 30 * DAY_MS
    at = HISTORY_START_MS + 4 * DAY_MS + 77_000
    assert path.price(at) == path.price(at + month) == path.price(at - 2 * month)
    # the seam: the first second of the month follows its last
    assert path.price(HISTORY_START_MS + month) == CANDLES["LTC"].open[0]
    assert path.price(HISTORY_START_MS - 1) == CANDLES["LTC"].close[-1]


@pytest.mark.parametrize("back", [1, 12, 288, 7 * 288])
def test_changes_equal_pandas_on_the_closes(back):
    """At a candle's last second the path is at its close, so pct_change of the recorded closes is the expected value."""
    closes = pd.Series(CANDLES["AVAX"].close)
    expected = closes.pct_change(back) * 100
    path = PricePath(CANDLES["AVAX"], SEED)
    for index in (2500, 4000, 8639):
        at = HISTORY_START_MS + (index + 1) * CANDLE_MS - 1
        assert path.change_pct(at, back * CANDLE_MS) == pytest.approx(expected[index], rel=1e-12)


def test_change_across_the_seam_compares_with_the_month_before():
    path, closes = PricePath(CANDLES["BTC"], SEED), CANDLES["BTC"].close
    at = HISTORY_START_MS + 2 * CANDLE_MS - 1
    assert path.change_pct(at, 2 * CANDLE_MS) == pytest.approx((closes[1] / closes[-1] - 1) * 100, rel=1e-12)


@pytest.mark.parametrize("offset_s", [0, 299, 86_400 * 9 + 137, 86_400 * 30 - 1])
def test_day_extremes_and_volume_equal_brute_force(offset_s):
    candles, path = CANDLES["ADA"], PricePath(CANDLES["ADA"], SEED)
    now = HISTORY_START_MS + offset_s * 1000
    every_second = seconds_of(path, now - DAY_MS, 86_401)
    assert path.high_low_24h(now) == (every_second.max(), every_second.min())
    # volume: each candle's USDT spread evenly over its seconds, summed over the last 86 400 of them
    per_second = pd.Series(np.repeat(candles.volume * (candles.high + candles.low + candles.close) / 3 / 300, 300))
    last = np.arange(offset_s - 86_399, offset_s + 1) % len(per_second)
    assert path.volume_24h(now) == pytest.approx(per_second.iloc[last].sum(), rel=1e-9)
