from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoviz.trades.candle import INTERVALS_US, TradeCandle
from cryptoviz.trades.candles import CandleBuilder, candles_of
from cryptoviz.trades.gap_tracker import GapTracker
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Source, Trade
from tests.unit.trades.builders import SECOND_US, START_US, trade

NOW_US = START_US + 90_000 * SECOND_US
MINUTE_US = 60 * SECOND_US


class Stream:
    """A tracker and a builder, as an actor has them."""

    def __init__(self, *, quiet_rows: bool = False, intervals=("1m",), **options) -> None:
        self.tracker = GapTracker("acme", "A")
        self.builder = CandleBuilder(quiet_rows=quiet_rows, intervals=intervals, **options)

    def take(self, *trades: Trade) -> list[TradeCandle]:
        self.builder.add(self.tracker.accept(trades, NOW_US), self.tracker.seen_us)
        return self.builder.changed()

    def give_up(self, first: int, last: int) -> list[TradeCandle]:
        self.builder.add(self.tracker.give_up(IdRun(first, last), "not_at_venue", NOW_US), self.tracker.seen_us)
        return self.builder.changed()


def minutes(candles: list[TradeCandle]) -> list[tuple[int, int, bool]]:
    """(minute since the start, trades, complete) of each."""
    return [((candle.open_us - START_US) // MINUTE_US, candle.trades, candle.complete) for candle in candles]


def test_the_values_of_a_minute_are_exact_and_ordered_by_number_not_by_arrival():
    stream = Stream()
    stream.take(trade(1, at_s=0, price="1"))
    stream.take(
        trade(3, at_s=61, price="0.3", size="0.2", side="buy"),
        trade(2, at_s=61, price="0.1", size="0.1", side="sell"),
        trade(4, at_s=119.999999, price="0.2", size="0.7", side="buy"),
    )
    (candle,) = stream.take(trade(5, at_s=120, price="9"))[:1]
    # 0.1 * 0.1 + 0.3 * 0.2 + 0.2 * 0.7 = 0.01 + 0.06 + 0.14
    assert candle == TradeCandle(
        source="trades:acme", venue="acme", venue_symbol="A", asset_id="bitcoin", quote_currency="USD", interval="1m",
        open_us=START_US + MINUTE_US, open=Decimal("0.1"), high=Decimal("0.3"), low=Decimal("0.1"), close=Decimal("0.2"), volume=Decimal("1.0"),
        quote_volume=Decimal("0.21"), trades=3, taker_buy_volume=Decimal("0.9"), taker_buy_quote_volume=Decimal("0.20"), vwap=Decimal("0.21"),
        first_trade=2, last_trade=4, complete=True,
    )  # fmt: skip
    assert str(candle.quote_volume) == "0.21"


def test_nothing_is_rounded_but_the_average():
    stream = Stream()
    (candle,) = stream.take(trade(1, price="123456789012345.123456789012345678", size="1.000000000000000001"), trade(2, price="1", size="2"))
    # By hand: the price, plus the price shifted by 18 digits (0.000123456789012345123456789012345678), plus 1 * 2.
    assert str(candle.quote_volume) == "123456789012347.123580245801358023123456789012345678"
    assert candle.vwap is not None
    assert candle.vwap.as_tuple().exponent == -18


def test_each_interval_starts_at_a_multiple_of_its_length():
    stream = Stream(intervals=tuple(INTERVALS_US))
    found = {candle.interval: candle.open_us - START_US for candle in stream.take(trade(1, at_s=5 * 3_600 + 17 * 60 + 42.5))}
    hour_s = 3_600
    assert {name: offset // SECOND_US for name, offset in found.items()} == {
        "1s": 5 * hour_s + 17 * 60 + 42, "1m": 5 * hour_s + 17 * 60, "5m": 5 * hour_s + 15 * 60, "15m": 5 * hour_s + 15 * 60, "1h": 5 * hour_s,
        "4h": 4 * hour_s, "1d": 0,
    }  # fmt: skip


def test_a_candle_is_complete_once_a_later_trade_came_and_not_if_the_stream_began_in_it():
    stream = Stream()
    assert minutes(stream.take(trade(1, at_s=30))) == [(0, 1, False)]
    assert minutes(stream.take(trade(2, at_s=60))) == [(1, 1, False)]
    assert minutes(stream.take(trade(3, at_s=125))) == [(1, 1, True), (2, 1, False)]


def test_a_gap_leaves_its_candles_incomplete_until_the_ids_meet_and_the_others_complete():
    stream = Stream()
    stream.take(trade(1, at_s=0), trade(2, at_s=70))
    assert minutes(stream.take(trade(5, at_s=190))) == [(3, 1, False)]  # 3 and 4 are missing: minute 1 stays as it is
    assert minutes(stream.take(trade(6, at_s=241), trade(7, at_s=300))) == [(4, 1, True), (5, 1, False)]
    filled = stream.take(trade(3, at_s=80, source=Source.REFILL), trade(4, at_s=130, source=Source.REFILL))
    assert minutes(filled) == [(1, 2, True), (2, 1, True), (3, 1, True)]


def test_a_permanent_gap_leaves_its_candles_incomplete_for_ever():
    stream = Stream()
    stream.take(trade(1, at_s=0), trade(2, at_s=70), trade(4, at_s=119), trade(5, at_s=125))
    assert stream.give_up(3, 3) == []
    assert minutes(stream.take(trade(6, at_s=200))) == [(2, 1, True), (3, 1, False)]


def test_a_late_trade_corrects_a_complete_candle():
    stream = Stream()
    stream.take(trade(10, at_s=0), trade(11, at_s=70, price="5"), trade(12, at_s=130))
    (first,) = stream.take(trade(9, at_s=60, price="7"))  # received out of order at the start of the symbol
    assert (first.open, first.close, first.trades, first.complete) == (Decimal(7), Decimal(5), 2, True)


def test_quiet_minutes_are_rows_only_where_the_venue_has_them():
    def run(quiet_rows: bool) -> list[tuple[int, int, bool]]:
        stream = Stream(quiet_rows=quiet_rows)
        stream.take(trade(1, at_s=0), trade(2, at_s=70, price="5"))
        candles = stream.take(trade(3, at_s=241))
        for candle in candles:
            if not candle.trades:
                assert (candle.open, candle.high, candle.low, candle.close) == (Decimal(5),) * 4
                assert (candle.volume, candle.vwap, candle.first_trade) == (Decimal(0), None, None)
        return minutes(candles)

    assert run(quiet_rows=False) == [(1, 1, True), (4, 1, False)]
    assert run(quiet_rows=True) == [(1, 1, True), (2, 0, True), (3, 0, True), (4, 1, False)]


def test_minutes_in_a_gap_are_unknown_and_not_quiet():
    stream = Stream(quiet_rows=True)
    stream.take(trade(1, at_s=0), trade(2, at_s=70))
    assert minutes(stream.take(trade(4, at_s=241))) == [(4, 1, False)]
    assert minutes(stream.take(trade(3, at_s=150, source=Source.REFILL))) == [(1, 1, True), (2, 1, True), (3, 0, True)]


def test_a_halt_has_no_rows():
    stream = Stream(quiet_rows=True, halt_after_us=600 * SECOND_US)
    stream.take(trade(1, at_s=0), trade(2, at_s=70))
    assert minutes(stream.take(trade(3, at_s=70 + 1_200))) == [(1, 1, True), (21, 1, False)]


def test_a_late_trade_changes_the_quiet_rows_after_it():
    stream = Stream(quiet_rows=True)
    stream.take(trade(10, at_s=0), trade(11, at_s=70, price="5"), trade(12, at_s=190))
    found = stream.take(trade(9, at_s=60, price="8"))
    assert minutes(found) == [(1, 2, True)]  # the close is still 5
    assert minutes(stream.take(trade(8, at_s=125, price="8"))) == [(2, 1, True)]  # no longer quiet


def test_trades_without_a_venue_time_are_in_no_candle_which_is_then_incomplete():
    stream = Stream()
    stream.take(trade(1, at_s=0), trade(2, at_s=70))
    untimed = Trade.numbered(
        venue="acme", venue_symbol="A", asset_id="bitcoin", quote_currency="USD", trade_number=3, price="1", size="1", side="buy", venue_ts=None,
        ingest_ts=NOW_US, source="stream", connection="c1",
    )  # fmt: skip
    stream.take(untimed)
    assert stream.builder.untimed == 1
    assert minutes(stream.take(trade(4, at_s=125), trade(5, at_s=185))) == [(2, 1, True), (3, 1, False)]


def test_after_a_restart_candles_from_before_it_are_named_and_not_reported_in_part():
    tracker = GapTracker.after("acme", "A", 5, START_US + 90 * SECOND_US)
    builder = CandleBuilder(quiet_rows=False, intervals=("1m", "5m"), resumed_us=START_US + 90 * SECOND_US)
    builder.add(tracker.accept([trade(6, at_s=110), trade(7, at_s=120), trade(8, at_s=300), trade(9, at_s=360)], NOW_US), tracker.seen_us)
    assert [(candle.interval, *minutes([candle])[0]) for candle in builder.changed()] == [
        ("1m", 2, 1, True), ("1m", 5, 1, True), ("1m", 6, 1, False), ("5m", 5, 2, False),
    ]  # fmt: skip
    assert builder.recompute == {("1m", START_US + MINUTE_US), ("5m", START_US)}
    again = candles_of([trade(5, at_s=90), trade(6, at_s=110)], "1m", (), START_US + 120 * SECOND_US, quiet_rows=False)
    assert minutes(again) == [(1, 2, True)]


def test_memory_is_bounded_and_late_trades_of_forgotten_candles_are_named():
    stream = Stream(intervals=("1s",))
    for start in range(0, 4_000, 500):
        stream.take(*(trade(number) for number in range(start + 2, start + 502)))
    (interval,) = stream.builder._intervals
    assert max(len(interval.sums), len(interval.reported)) <= 1_650
    stream.take(trade(1, at_s=1))
    assert stream.builder.recompute == {("1s", START_US + SECOND_US)}


@st.composite
def markets(draw):
    """Trades of some minutes in the venue's order, and an arbitrary order of arrival in frames."""
    size = draw(st.integers(2, 40))
    seconds = sorted(draw(st.lists(st.integers(0, 900), min_size=size, max_size=size)))
    prices = draw(st.lists(st.integers(1, 999), min_size=size, max_size=size))
    served = [
        trade(number + 1, at_s=second, price=f"{price / 100:.2f}", size=f"0.{price:03}", side="buy" if price % 3 else "sell")
        for number, (second, price) in enumerate(zip(seconds, prices, strict=True))
    ]
    arriving = served[1:]
    random.Random(draw(st.integers(0, 2**16))).shuffle(arriving)
    return served, [served[0], *arriving]


@settings(max_examples=40)
@given(markets(), st.booleans(), st.integers(1, 7))
def test_any_order_of_arrival_ends_in_the_candles_of_all_trades_and_each_complete_one_was_right_when_said(market, quiet_rows, size):
    served, arriving = market
    end_us = START_US + 3_600 * SECOND_US
    for interval in ("1m", "5m"):
        stream = Stream(quiet_rows=quiet_rows, intervals=(interval,))
        expected = {c.open_us: c for c in candles_of(served, interval, (), end_us, quiet_rows=False) if c.open_us >= START_US}
        shown: dict[int, TradeCandle] = {}
        for start in range(0, len(arriving), size):
            for candle in stream.take(*arriving[start : start + size]):
                shown[candle.open_us] = candle
                if candle.complete and candle.trades:
                    assert candle == expected[candle.open_us]
        stream.builder.add(stream.tracker.expect(served[-1].trade_number or 0, NOW_US, end_us), stream.tracker.seen_us)
        for candle in stream.builder.changed():
            shown[candle.open_us] = candle
        first_us = served[0].venue_ts or 0
        whole = {start: candle for start, candle in expected.items() if start >= first_us}
        assert {start: shown[start] for start in whole} == whole
        assert all(not candle.trades for start, candle in shown.items() if start not in expected)
        if not quiet_rows:
            assert shown.keys() == expected.keys()
