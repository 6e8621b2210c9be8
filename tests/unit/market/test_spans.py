"""A span equals the result of iterating its seconds."""

import itertools
import random

import numpy as np
import pytest

from cryptoviz.times import DAY_MS
from market.path import PricePath
from market.quotes import MONTH_MS, Market, PriceView
from market.recorded import CANDLE_MS, FIVE_MINUTE_FILE, HISTORY_START_MS, load_candles
from market.spans import span

CANDLES = load_candles(FIVE_MINUTE_FILE)
MONTH_S = MONTH_MS // 1000
JAN_2024_MS = 1_704_067_200_000
"""Wall time at which the market stands at the first second of the recording."""


@pytest.fixture(scope="module")
def path():
    return PricePath(CANDLES["ETH"], seed=5)


def stretches():
    draw = random.Random(7)
    fixed = [
        (0, 300),
        (0, 1),
        (299, 300),
        (300, 900),
        (10, 20),
        (299, 301),
        (MONTH_S - 400, MONTH_S + 400),
        (-1000, 10),
        (5 * MONTH_S, 5 * MONTH_S + 60),
    ]
    return fixed + [(first, first + draw.randrange(1, 3000)) for first in (draw.randrange(-MONTH_S, 2 * MONTH_S) for _ in range(40))]


@pytest.mark.parametrize(("first", "end"), stretches())
def test_a_span_is_its_seconds(path, first, end):
    factors = 1 + np.arange(len(path.candles)) % 7 / 10_000
    seconds = [path.price(HISTORY_START_MS + at * 1000) * factors[at // 300 % len(factors)] for at in range(first, end)]
    shares = [at // 300 % len(factors) for at in range(first, end)]
    found = span(path, factors, first, end)
    assert (found.open, found.close, found.high, found.low) == (seconds[0], seconds[-1], max(seconds), min(seconds))
    assert found.coins == pytest.approx(sum(path.candles.volume[candle] / 300 for candle in shares))
    assert found.usd == pytest.approx(sum(path.quote_volume[candle] * factors[candle] / 300 for candle in shares))
    assert found.low * 0.99 <= found.average <= found.high * 1.01
    assert found.trades >= 1


def test_five_minutes_are_the_recording_bit_for_bit(path):
    data, ones = path.candles, np.ones(len(path.candles))
    for number in range(0, len(data), 97):
        found = span(path, ones, number * 300, number * 300 + 300)
        assert (found.open, found.high, found.low, found.close) == (data.open[number], data.high[number], data.low[number], data.close[number])
        assert found.coins == data.volume[number]


def test_nothing_traded_has_the_close_as_its_average(path):
    quiet = span(path, np.ones(len(path.candles)), 0, 60)
    assert type(quiet)(1, 1, 1, 1, 0, 0).average == 1


@pytest.fixture(scope="module")
def market():
    return Market(seed=5)


@pytest.mark.parametrize("price_view", [PriceView("near"), PriceView("beside", spread_bps=4, stepped=True)])
def test_candles_of_a_price_view_are_those_of_its_ticks(market, price_view):
    coin = market.coins[0]
    start = JAN_2024_MS + 9 * DAY_MS
    ticks = [market.price(price_view, coin, start + at * 1000) for at in range(600)]
    both = market.candle(price_view, coin, start, start + 600_000)
    assert (both.open, both.high, both.low, both.close) == (ticks[0], max(ticks), min(ticks), ticks[-1])
    minutes = [market.candle(price_view, coin, at, at + 60_000) for at in range(start, start + 600_000, 60_000)]
    assert [minute.open for minute in minutes] == ticks[::60]
    assert max(minute.high for minute in minutes) == both.high


def test_a_stepped_price_view_holds_its_distance_for_a_candle(market):
    near, beside, coin = PriceView("near"), PriceView("beside", spread_bps=4, stepped=True), market.coins[0]
    start = JAN_2024_MS + 9 * DAY_MS
    ratios = [market.price(beside, coin, at) / market.price(near, coin, at) for at in range(start, start + 3 * CANDLE_MS, 60_000)]
    for a, b in itertools.pairwise(ratios[:5]):
        assert a == pytest.approx(b, abs=1e-12)
    assert abs(ratios[4] - ratios[5]) > 1e-9
    assert all(abs(ratio - 1) <= 4.0001e-4 for ratio in ratios)


def test_faster_markets_have_candles_of_more_market_time():
    fast, price_view = Market(seed=5, speed=60), PriceView("near")
    coin, start = fast.coins[0], JAN_2024_MS + 300_000
    found = fast.candle(price_view, coin, start, start + 5_000)
    data, number = CANDLES["BTC"], 60
    assert (found.open, found.high, found.low, found.close) == (data.open[number], data.high[number], data.low[number], data.close[number])


def test_the_last_day_and_today(market):
    price_view, coin, data = PriceView("near"), market.coins[1], CANDLES["ETH"]
    stamp = JAN_2024_MS + 3 * DAY_MS + DAY_MS // 2 - 1000  # the last second before noon
    half = DAY_MS // CANDLE_MS // 2
    day, today = market.last_24h(price_view, coin, stamp), market.today(price_view, coin, stamp)
    assert day.high == data.high[5 * half : 7 * half].max()
    assert day.coins == pytest.approx(data.volume[5 * half : 7 * half].sum())
    assert (today.open, today.low, today.close) == (data.open[6 * half], data.low[6 * half : 7 * half].min(), data.close[7 * half - 1])
    assert day.close == market.price(price_view, coin, stamp)
    assert market.change_pct(price_view, coin, stamp, 3_600_000) == pytest.approx(
        (day.close / market.price(price_view, coin, stamp - 3_600_000) - 1) * 100
    )
