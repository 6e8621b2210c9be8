"""Trades are a function of the instrument and the time, and add up to the market's candles."""

from dataclasses import astuple
from itertools import pairwise

import pytest

from market.coins import replayed_coins
from market.quotes import Market
from market.tape import Steps, Tape, text
from market.trade_book import VENUES, TradeBook, UnknownInstrument
from market.trade_counts import TradeCounts

SECOND_US = 1_000_000
DAY_S = 86_400
START_S = 1_000 * DAY_S
BTC_AT_KRAKEN = Steps(1, 8)
NOW_MS = 1_795_521_600_000


@pytest.fixture(scope="module")
def market():
    return Market(20221108)


@pytest.fixture
def make(market):
    def tape(counts=None, venue="kraken", coin="bitcoin", steps=BTC_AT_KRAKEN):
        made = next(each for each in replayed_coins() if each.asset.asset_id == coin)
        counts = counts or TradeCounts(1_700)
        return Tape(market.path(made), market.factors(VENUES[venue].price_view, made), steps, market.seed, f"{venue}:{coin}", counts)

    return tape


def all_of(tape, first_s, end_s):
    return tape.trades(tape.counts.last_id_before(first_s) + 1, end_s * SECOND_US - 1, 10**6)


def added_up(tape, trades):
    prices = [trade.price for trade in trades]
    bought = [trade for trade in trades if trade.buy]
    return (
        *(prices[0], max(prices), min(prices), prices[-1]),
        *(sum(trade.size for trade in trades), sum(trade.price * trade.size for trade in trades)),
        *(sum(trade.size for trade in bought), sum(trade.price * trade.size for trade in bought)),
        *(trades[0].trade_id, trades[-1].trade_id, len(trades)),
    )


def test_ids_are_contiguous_and_times_rise(make):
    trades = all_of(make(), START_S, START_S + 1_000)
    assert len(trades) == 1_700
    assert all(later.trade_id == earlier.trade_id + 1 and later.time_us > earlier.time_us for earlier, later in pairwise(trades))


def test_pages_equal_the_whole_wherever_they_begin(make):
    whole = all_of(make(), START_S, START_S + 300)
    other = make()
    pages = [other.trades(whole[at].trade_id, (START_S + 300) * SECOND_US - 1, 7) for at in reversed(range(0, len(whole), 7))]
    assert [trade for page in reversed(pages) for trade in page] == whole


@pytest.mark.parametrize("seconds", [1, 60, 300, 900, 3_600])
@pytest.mark.parametrize(("venue", "coin", "steps"), [("binance", "vechain", Steps(5, 3)), ("kraken", "bitcoin", Steps(1, 8))])
def test_trades_add_up_to_candles(make, seconds, venue, coin, steps):
    tape = make(venue=venue, coin=coin, steps=steps)
    start = START_S + 7 * 3_600
    assert astuple(tape.candle(start, start + seconds)) == added_up(tape, all_of(tape, start, start + seconds))


def test_a_candle_of_five_minutes_has_the_recorded_volume_and_prices(make, market):
    tape, number = make(venue="binance", steps=Steps(2, 6)), START_S // 300 % (30 * 288)
    recorded, candle = tape._path.candles, tape.candle(START_S, START_S + 300)
    assert candle.size == round(recorded.volume[number] * 10**6)
    prices = [round(float(column[number]) * 100) for column in (recorded.open, recorded.high, recorded.low, recorded.close)]
    assert [candle.open, candle.high, candle.low, candle.close] == prices


def test_candles_with_a_halt_a_burst_and_a_jump_of_ids_add_up(make):
    tape = make()
    tape.counts.change(START_S + 20, 0)
    tape.counts.change(START_S + 40, 833_000)
    tape.counts.change(START_S + 41, 1_700, skipped_ids=5_000)
    trades = all_of(tape, START_S, START_S + 60)
    assert astuple(tape.candle(START_S, START_S + 60)) == added_up(tape, trades)
    assert sum(START_S + 40 <= trade.time_us // SECOND_US < START_S + 41 for trade in trades) == 833
    assert not any(START_S + 20 <= trade.time_us // SECOND_US < START_S + 40 for trade in trades)


def test_a_candle_without_trades_stays_at_the_last_price(make):
    tape = make()
    tape.counts.change(START_S, 0)
    tape.counts.change(START_S + 600, 1_700)
    last = all_of(tape, START_S - 60, START_S)[-1]
    candle = tape.candle(START_S + 60, START_S + 120)
    assert (candle.open, candle.high, candle.low, candle.close) == (last.price,) * 4
    assert (candle.size, candle.value, candle.trades, candle.last_id) == (0, 0, 0, last.trade_id)


def test_a_change_of_the_rate_leaves_earlier_trades_as_they_were(make):
    tape = make()
    before = all_of(tape, START_S - 60, START_S + 5)
    tape.counts.change(START_S + 5, 83_000)
    assert all_of(tape, START_S - 60, START_S + 5) == before


def test_the_last_trades_end_at_the_time(make):
    tape = make()
    now_us = START_S * SECOND_US + 123_456
    last = tape.last(tape.count(now_us) + 1, now_us, 50)
    assert len(last) == 50
    assert last[-1].trade_id == tape.count(now_us)
    assert last[-1].time_us <= now_us < tape.trades(last[-1].trade_id + 1, now_us + 10 * SECOND_US, 1)[0].time_us


def test_the_first_trade_of_a_minute_is_at_its_start(make):
    first = all_of(make(), START_S, START_S + 1)[0]
    assert first.time_us == START_S * SECOND_US


def test_every_size_is_at_least_one_step_in_the_quietest_candle(make, market):
    tape = make(TradeCounts(1_000_000), "binance", "filecoin", Steps(2, 6))
    quietest = int(tape._path.candles.volume.argmin())
    assert tape._path.candles.volume[quietest] == 0
    trades = all_of(tape, quietest * 300, quietest * 300 + 2)
    assert (len(trades), min(trade.size for trade in trades)) == (2_000, 1)


def test_texts_are_exact():
    assert [text(units, 3) for units in (0, 5, 1_000, 123_456_789_012_345_678)] == ["0.000", "0.005", "1.000", "123456789012345.678"]
    assert text(42, 0) == "42"


def test_instruments_have_different_ids(market):
    book = TradeBook(market, 1.7)
    btc = [book.instruments[venue][symbol] for venue, symbol in (("binance", "BTCUSDT"), ("kraken", "BTC/USD"), ("coinbase", "BTC-USD"))]
    now_us = book.market_us(NOW_MS)
    last = [each.tape.last(each.tape.count(now_us) + 1, now_us, 1)[0] for each in btc]
    assert len({trade.trade_id for trade in last}) == 3


def test_changes_of_rates_survive_a_restart(market, tmp_path):
    first = TradeBook(market, 1.7, tmp_path)
    first.set_rate(first.chosen("binance", ("BTCUSDT",)), 0, NOW_MS, for_s=60)
    first.set_rate(first.chosen("kraken", ()), None, NOW_MS, skipped_ids=77)
    again = TradeBook(market, 1.7, tmp_path)
    for venue, symbol in (("binance", "BTCUSDT"), ("kraken", "DOT/USD"), ("coinbase", "BTC-USD")):
        assert again.instruments[venue][symbol].tape.counts.segments == first.instruments[venue][symbol].tape.counts.segments
    again.set_rate(again.chosen("coinbase", ()), 0, NOW_MS, for_s=60)
    assert len(TradeBook(market, 1.7, tmp_path).instruments["binance"]["BTCUSDT"].tape.counts.segments) == 3
    assert len(TradeBook(market, 2.0, tmp_path).instruments["binance"]["BTCUSDT"].tape.counts.segments) == 1


def test_unknown_symbols_are_refused(market):
    with pytest.raises(UnknownInstrument, match="unknown symbols XBT/USD at kraken; valid: "):
        TradeBook(market, 1.7).chosen("kraken", ("XBT/USD",))
