"""Candles from ticks, compared with a simple recomputation; updates in place; joined with stored candles."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.lake.ohlcv import INTERVALS_MS
from dashboard.views.candles import Candle, CandleBuilder, Change, LiveCandles, change_of, choose_currency, join_candles, join_currencies

MINUTE = INTERVALS_MS["1m"]
T0 = 28_333_333 * MINUTE


def built(ticks: list[tuple[int, float]], interval_ms: int = MINUTE, limit: int = 1500) -> CandleBuilder:
    builder = CandleBuilder(interval_ms, limit)
    for tick_ms, price in ticks:
        builder.add(tick_ms, price, price * 10)
    return builder


def candle(start_ms: int, *prices: float) -> Candle:
    return Candle(start_ms, prices[0], max(prices), min(prices), prices[-1], prices[-1] * 10, len(prices))


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(1e-6, 1e6)), min_size=1, max_size=200))
def test_candles_equal_a_plain_recomputation(steps: list[tuple[int, float]]) -> None:
    ticks, now = [], T0
    for step, price in steps:
        now += step
        ticks.append((now, price))
    groups: dict[int, list[float]] = defaultdict(list)
    for tick_ms, price in ticks:
        groups[tick_ms // MINUTE * MINUTE].append(price)
    assert list(built(ticks).candles) == [candle(start, *prices) for start, prices in sorted(groups.items())]


def test_a_tick_updates_the_last_candle_and_the_next_minute_begins_another() -> None:
    builder = built([(T0, 10.0), (T0 + 2_000, 12.0), (T0 + 4_000, 9.0)])
    assert list(builder.candles) == [candle(T0, 10.0, 12.0, 9.0)]
    builder.add(T0 + MINUTE, 11.0, None)
    assert builder.candles[0] == candle(T0, 10.0, 12.0, 9.0)
    assert builder.candles[1] == Candle(T0 + MINUTE, 11.0, 11.0, 11.0, 11.0, None, 1)


def test_repeated_and_older_ticks_change_nothing() -> None:
    builder = built([(T0, 10.0), (T0 + 2_000, 12.0)])
    builder.add(T0 + 2_000, 99.0, 1.0)
    builder.add(T0, 1.0, 1.0)
    assert builder.candles == (candle(T0, 10.0, 12.0),)


def test_an_unknown_volume_does_not_erase_a_known_one() -> None:
    builder = built([(T0, 10.0)])
    builder.add(T0 + 2_000, 11.0, None)
    assert builder.candles[-1].volume == 100.0


def test_the_oldest_candles_fall_off() -> None:
    builder = built([(T0 + i * MINUTE, 1.0 + i) for i in range(5)], limit=3)
    assert [one.start_ms for one in builder.candles] == [T0 + i * MINUTE for i in (2, 3, 4)]


def test_an_interval_is_complete_only_when_seen_from_its_start() -> None:
    assert CandleBuilder(MINUTE).complete_from_ms is None
    assert built([(T0, 1.0)]).complete_from_ms == T0
    assert built([(T0 + 1, 1.0)]).complete_from_ms == T0 + MINUTE


def test_the_interval_joined_half_way_keeps_the_stored_opening_and_range() -> None:
    stored = [candle(T0 - MINUTE, 8.0), candle(T0, 10.0, 15.0, 7.0, 11.0)]
    live = built([(T0 + 30_000, 12.0), (T0 + 40_000, 9.0), (T0 + MINUTE, 9.5)])
    joined = join_candles(stored, live.candles, live.complete_from_ms)
    assert joined[0] == stored[0]
    assert (joined[1].open, joined[1].high, joined[1].low, joined[1].close, joined[1].ticks) == (10.0, 15.0, 7.0, 9.0, 4)
    assert joined[2] == candle(T0 + MINUTE, 9.5)


def test_a_live_interval_seen_whole_wins_over_a_stored_one_that_lags() -> None:
    live = built([(T0, 10.0), (T0 + 2_000, 12.0)])
    assert join_candles([candle(T0, 10.0)], live.candles, live.complete_from_ms) == [candle(T0, 10.0, 12.0)]


def test_joining_with_nothing() -> None:
    live = built([(T0, 10.0)])
    assert join_candles([], live.candles, live.complete_from_ms) == [candle(T0, 10.0)]
    assert join_candles([candle(T0, 1.0)], (), None) == [candle(T0, 1.0)]


def test_changes_at_the_ends_are_patched_and_others_redrawn() -> None:
    every = [candle(T0 + i * MINUTE, 1.0 + i) for i in range(-3, 6)]
    before, shown = every[:3], every[3:]
    assert change_of(shown, list(shown)) == Change(0, 6)
    assert change_of(shown, [*shown, candle(T0 + 6 * MINUTE, 3.0)]) == Change(0, 6)
    changed = [*shown[:5], candle(T0 + 5 * MINUTE, 6.0, 7.0), candle(T0 + 6 * MINUTE, 3.0)]
    assert change_of(shown, changed) == Change(0, 5)
    assert change_of(shown, [*before, *shown]) == Change(3, 9)
    assert change_of(shown, [*before, *changed]) == Change(3, 8)
    assert change_of(every, shown) == Change(0, 6)
    assert change_of(every, changed) == Change(0, 5)
    assert change_of(shown, [candle(T0, 2.0), *shown[1:]]) is None
    assert change_of(shown, [*before, candle(T0, 2.0), *shown[1:]]) is None
    assert change_of(shown, shown[:4]) is None
    assert change_of(shown, before) is None
    assert change_of(before, shown) is None
    assert change_of(shown, [*shown[:5], candle(T0 + 9 * MINUTE, 3.0)]) is None
    assert change_of([], shown) is None
    assert change_of(shown, []) is None


def test_a_tick_in_tether_stays_out_of_the_dollar_candle() -> None:
    # An hour polled each minute: 59 live dollar ticks at 90 000 + 10 a minute, and one backfilled tick in tether at minute 30. The dollar
    # candle opens at 90 000 (minute 0) and closes at 90 590 (minute 59), which are also its low and high.
    hour = T0 // INTERVALS_MS["1h"] * INTERVALS_MS["1h"]
    live = built([(hour + minute * MINUTE, 90_000.0 + 10 * minute) for minute in range(60) if minute != 30], INTERVALS_MS["1h"])
    dollars = live.candles[0]
    tether = candle(hour, 89_000.0)
    series = join_currencies({"USD": [dollars], "USDT": [tether]}, {"USD": LiveCandles(live.candles, live.complete_from_ms)})
    assert series == {"USD": [dollars], "USDT": [tether]}
    (shown,) = series[choose_currency({currency: candles[0].ticks for currency, candles in series.items()})]
    assert (shown.open, shown.high, shown.low, shown.close, shown.ticks) == (90_000.0, 90_590.0, 90_000.0, 90_590.0, 59)


def test_a_series_is_shown_in_the_currency_of_most_ticks() -> None:
    assert choose_currency({"USDT": 1, "USD": 59}) == "USD"
    assert choose_currency({"USDT": 59, "USD": 1}) == "USDT"
    assert choose_currency({"USDT": 5, "USD": 5, "EUR": 5}) == "USD"
    assert choose_currency({"USDT": 5, "EUR": 5}) == "EUR"
    assert choose_currency({}) == "USD"
