"""Which quotes are recorded: the newest of each interval that differs from the one recorded last."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest

from actors.publishing.transaction import KafkaTransaction, Message
from actors.streaming.quote_sampler import OLDER_S, WAITING_SAMPLES, QuoteSampler
from cryptoviz.trades.quote import QUOTE_KEEP_S
from cryptoviz.venues.events import Quote, Refused
from cryptoviz.venues.spec import Instrument
from tests.support.clock import FakeClock

INSTRUMENTS = [Instrument("BTCUSDT", "bitcoin", "USDT"), Instrument("ETHUSDT", "ethereum", "USDT")]
QUOTE = Quote("BTCUSDT", "64000.10", "1.5", "64000.20", "2", None, 1_764_000_000_000_000)


def sampler(clock: FakeClock | None = None) -> QuoteSampler:
    return QuoteSampler("binance", INSTRUMENTS, "quotes", clock or FakeClock())


def committed(one: QuoteSampler, messages: list[Message]) -> None:
    one.acknowledged(KafkaTransaction("t", 0, (), (Message(b"k", b"{}"), *messages)))


def test_a_sample_has_the_newest_quote_of_each_instrument_that_changed() -> None:
    one = sampler()
    assert one.sample() == []
    one.take(QUOTE)
    one.take(replace(QUOTE, bid="64000.11", venue_ts=7))
    one.take(replace(QUOTE, symbol="ETHUSDT", bid="3000", ask="3000.5"))
    one.take(replace(QUOTE, symbol="XRPUSDT"))
    found = one.sample()
    assert [(row.venue_symbol, row.asset_id, row.quote_currency, row.bid, row.venue_ts) for row in found] == [
        ("BTCUSDT", "bitcoin", "USDT", "64000.11", 7),
        ("ETHUSDT", "ethereum", "USDT", "3000", None),
    ]
    assert one.sample() == []
    one.take(replace(QUOTE, bid="64000.11", ingest_ts=QUOTE.ingest_ts + 9))  # the same amounts again
    assert one.sample() == []
    one.take(replace(QUOTE, bid="64000.11", ask_size="2.0"))  # another text is another quote
    assert [(row.venue_symbol, row.ask_size) for row in one.sample()] == [("BTCUSDT", "2.0")]


@pytest.mark.parametrize(
    ("newer", "older"),
    [({"sequence": 9}, {"sequence": 8}), ({"venue_ts": 9}, {"venue_ts": 8}), ({"sequence": 9, "venue_ts": 8}, {"sequence": 8, "venue_ts": 9})],
    ids=["number", "time", "number before time"],
)
def test_a_late_quote_of_the_old_connection_does_not_replace_a_newer_one(newer: dict[str, Any], older: dict[str, Any]) -> None:
    clock = FakeClock()
    one = sampler(clock)
    one.take(replace(QUOTE, bid="64000.11", **newer))
    one.take(replace(QUOTE, **older))
    assert [row.bid for row in one.sample()] == ["64000.11"]
    assert one.metrics()["quote_frames_total"] == 2.0
    clock.advance(OLDER_S)  # the venue counts from the start again
    one.take(replace(QUOTE, **older))
    assert [row.bid for row in one.sample()] == ["64000.10"]


def test_a_quote_without_number_and_time_replaces_any() -> None:
    one = sampler()
    one.take(replace(QUOTE, bid="64000.11", sequence=9, venue_ts=9))
    one.take(QUOTE)
    assert [row.bid for row in one.sample()] == ["64000.10"]


def test_the_id_of_a_record_is_its_own() -> None:
    chance, one, found = random.Random(1), sampler(), []
    for _ in range(60):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            one.take(replace(QUOTE, symbol=symbol, bid_size=str(chance.randint(1, 3))))
        rows = one.sample()
        committed(one, one.messages(rows))
        found += [row.quote_id for row in rows]
    assert len(found) == len(set(found)) > 60
    other = sampler()
    other.take(QUOTE)
    assert other.sample()[0].quote_id not in found


def test_records_go_to_the_topic_of_quotes_with_the_key_of_the_instrument() -> None:
    one = sampler()
    one.take(QUOTE)
    (message,) = one.messages(one.sample())
    assert (message.topic, message.key) == ("quotes", b"binance:BTCUSDT")
    row = orjson.loads(message.value)
    assert (row["bid"], row["bid_size"], row["ask"], row["ask_size"], row["ingest_ts"]) == ("64000.10", "1.5", "64000.20", "2", QUOTE.ingest_ts)


def test_while_kafka_does_not_keep_up_samples_are_left_out_and_the_newest_quote_is_recorded_then() -> None:
    one, messages = sampler(), []
    most = WAITING_SAMPLES * len(INSTRUMENTS)
    for number in range(most + 5):
        one.take(replace(QUOTE, bid_size=f"{number + 1}"))
        messages += one.messages(one.sample())
    assert len(messages) == most
    assert one.metrics()["quotes_skipped_total"] == 5
    committed(one, messages[: most // 2])
    one.lost(messages[most // 2])
    assert one.metrics()["quotes_recorded_total"] == most // 2
    assert [row.bid_size for row in one.sample()] == [f"{most + 5}"]


def test_a_spread_is_shown_until_its_quote_is_old() -> None:
    clock = FakeClock()
    one = sampler(clock)
    one.take(replace(QUOTE, bid="63996.8", ask="64003.2"))
    assert one.metrics()["spread_bps@BTCUSDT"] == 1.0
    clock.advance(QUOTE_KEEP_S + 1)
    assert "spread_bps@BTCUSDT" not in one.metrics()


def test_acknowledgements_and_refusals_are_those_of_quotes() -> None:
    one = sampler()
    one.acked("BTCUSDT")
    one.refused(Refused("ETHUSDT", "quotes", "no such channel"))
    one.refused(Refused("", "", "rate limit"))
    assert one.metrics()["quotes_acked"] == 1.0
    assert one.problems() == ["quotes of ETHUSDT are refused: no such channel"]
    one.acked("ETHUSDT")
    assert one.problems() == []


def test_a_bad_quote_is_logged_once_a_minute() -> None:
    clock = FakeClock()
    one = sampler(clock)
    assert [one.bad(), one.bad()] == [True, False]
    clock.advance(60)
    assert one.bad()
    assert one.metrics()["bad_quotes_total"] == 3.0


def test_nothing_is_done_while_quotes_are_off() -> None:
    one = QuoteSampler("binance", (), "quotes", FakeClock())
    one.take(QUOTE)
    assert (one.on, one.sample(), one.metrics(), one.problems()) == (False, [], {}, [])
