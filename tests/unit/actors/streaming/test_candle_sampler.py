"""Which of a venue's candles are read: each closed minute once, one instrument at a time."""

from __future__ import annotations

import orjson

from actors.streaming.candle_sampler import MINUTE_US, MOST_MINUTES, CandleSampler
from cryptoviz.venues.events import VenueKline
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Instrument
from tests.support.clock import FakeClock

VENUE = venue_of("binance")
INSTRUMENTS = [Instrument("BTCUSDT", "bitcoin", "USDT"), Instrument("ETHUSDT", "ethereum", "USDT")]


def sampler(clock: FakeClock, every_s: float = 60.0) -> CandleSampler:
    return CandleSampler(VENUE, INSTRUMENTS, "candles", every_s, clock, lambda: clock.now_ms() * 1000)


def minutes(clock: FakeClock) -> int:
    return clock.now_ms() * 1000 // MINUTE_US


def test_instruments_take_turns_and_each_sample_goes_on_where_the_last_one_ended() -> None:
    clock = FakeClock(1_772_323_230_000)
    one, first = sampler(clock), minutes(clock) + 1
    assert one.due() is None
    clock.advance(60.0)
    assert one.due() is None  # the first whole minute is not over
    clock.advance(60.0)
    call = one.due()
    assert call is not None
    assert (call.instrument.symbol, call.first_us // MINUTE_US, call.until_us // MINUTE_US) == ("ETHUSDT", first, first + 1)
    assert one.due() is None  # not before the next time
    one.records(call, [])
    clock.advance(60.0)
    assert (found := one.due()) is not None
    assert (found.instrument.symbol, found.first_us // MINUTE_US, found.until_us // MINUTE_US) == ("BTCUSDT", first, first + 2)
    clock.advance(60.0)
    assert (found := one.due()) is not None
    assert (found.instrument.symbol, found.first_us // MINUTE_US, found.until_us // MINUTE_US) == ("ETHUSDT", first + 1, first + 3)


def test_what_failed_is_asked_for_again_and_a_request_is_bounded() -> None:
    clock = FakeClock(1_772_323_230_000)
    one = sampler(clock)
    clock.advance(3600.0 * 5)
    first = one.due()
    assert first is not None
    assert first.until_us - first.first_us == MOST_MINUTES * MINUTE_US
    clock.advance(60.0)
    one.due()
    clock.advance(60.0)
    again = one.due()
    assert again is not None
    assert again.instrument == first.instrument
    assert again.until_us - again.first_us == MOST_MINUTES * MINUTE_US


def test_records_are_the_venues_text() -> None:
    clock = FakeClock(1_772_323_230_000)
    one = sampler(clock)
    clock.advance(150.0)
    call = one.due()
    assert call is not None
    kline = VenueKline("BTCUSDT", "1m", call.first_us, "1.50", "2", "1", "1.7", "3.000", True, quote_volume="5.1", trades=4)
    (message,) = one.records(call, [kline])
    row = orjson.loads(message.value)
    assert (message.topic, message.key) == ("candles", b"binance:BTCUSDT")
    assert (row["open"], row["volume"], row["quote_volume"], row["trades"], row["vwap"]) == ("1.50", "3.000", "5.1", 4, None)
    assert row["ts"] == call.first_us


def test_zero_means_never() -> None:
    clock = FakeClock()
    one = sampler(clock, 0.0)
    clock.advance(3600.0)
    assert one.due() is None
