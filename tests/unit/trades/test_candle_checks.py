from __future__ import annotations

from typing import Any

from cryptoviz.trades.candle_checks import CandleCheck, Difference, check_candle
from cryptoviz.trades.candles import candles_of
from cryptoviz.venues.events import VenueKline
from tests.unit.trades.builders import SECOND_US, START_US, trade

TRADES = [
    trade(7, at_s=1, price="2.00", size="3", side="buy"),
    trade(8, at_s=2, price="4.00", size="1", side="sell"),
    trade(9, at_s=3, price="1.00", size="2.0", side="buy"),
]
"""Volume 6, quote volume 6 + 4 + 2 = 12, average 2, bought 5 for 8."""
(OURS,) = candles_of(TRADES, "1m", (), START_US + 60 * SECOND_US, quiet_rows=False)


def kline(**changes) -> VenueKline:
    values: dict[str, Any] = {
        "symbol": "A", "interval": "1m", "open_us": START_US, "open": "2.0", "high": "4.0", "low": "1", "close": "1.00", "volume": "6.000",
        "closed": True, "quote_volume": "12.0", "trades": 3, "taker_buy_volume": "5", "taker_buy_quote_volume": "8.0", "first_trade": 7,
        "last_trade": 9,
    }  # fmt: skip
    return VenueKline(**(values | changes))


def test_equal_numbers_are_equal_however_they_are_written():
    assert check_candle("acme", "A", OURS, kline().candle()) == CandleCheck(
        venue="acme", venue_symbol="A", interval="1m", open_us=START_US, equal=True, fields=11, differences=()
    )


def test_each_difference_is_named_with_both_values():
    check = check_candle("acme", "A", OURS, kline(high="4.01", trades=4).candle())
    assert check.differences == (Difference("high", "4.00", "4.01"), Difference("trades", "3", "4"))
    assert not check.equal


def test_an_average_is_compared_to_the_venues_digits():
    rounded = {"quote_volume": None, "taker_buy_volume": None, "taker_buy_quote_volume": None, "first_trade": None, "last_trade": None}
    assert check_candle("acme", "A", OURS, kline(vwap="2.01", **rounded).candle()).equal
    assert not check_candle("acme", "A", OURS, kline(vwap="2.02", **rounded).candle()).equal


def test_a_quiet_interval_may_have_no_row_of_ours_and_any_other_may_not():
    quiet = kline(volume="0", trades=0, first_trade=-1, last_trade=-1).candle()
    assert check_candle("acme", "A", None, quiet).equal
    lost = check_candle("acme", "A", None, kline().candle())
    assert (lost.equal, lost.differences[0]) == (False, Difference("open", "-", "2.0"))
