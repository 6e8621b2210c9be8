from __future__ import annotations

import hashlib
import json
import pickle

import pytest

from cryptoviz.errors import RecordError
from cryptoviz.trades.record import Trade, is_amount, topic_key, trade_key
from tests.unit.trades.builders import START_US, trade


def test_a_trade_is_one_line_of_json_with_the_fields_of_the_table_and_comes_back_equal():
    made = trade(7, price="0.00003630", size="6.10", side="sell")
    line = made.to_json()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "trade_key": hashlib.blake2b(b"acme\x00A\x007", digest_size=16).hexdigest(),
        "venue": "acme",
        "venue_symbol": "A",
        "asset_id": "bitcoin",
        "quote_currency": "USD",
        "trade_id": "7",
        "trade_number": 7,
        "price": "0.00003630",
        "size": "6.10",
        "side": "sell",
        "venue_ts": START_US + 7_000_000,
        "ingest_ts": START_US + 7,
        "source": "stream",
        "connection": "c1",
        "sequence": None,
    }
    assert Trade.from_json(line) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_the_key_distinguishes_venues_symbols_and_ids_and_nothing_else():
    assert trade(7).trade_key == trade(7, at_s=99.0, price="5").trade_key
    assert len({trade_key("a", "b", "1"), trade_key("a", "b1", ""), trade_key("ab", "", "1"), trade_key("a", "b", "2")}) == 4
    assert topic_key("kraken", "BTC/USD") == b"kraken:BTC/USD"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", "0"),
        ("price", "-1"),
        ("price", "1e5"),
        ("size", "0.000"),
        ("size", ".5"),
        ("size", "1."),
        ("size", "1" * 21),
        ("size", "0." + "1" * 19),
        ("side", "Buy"),
        ("source", "poll"),
        ("trade_id", "07"),
        ("trade_key", "0" * 32),
    ],
)
def test_a_record_with_an_invalid_value_is_refused_and_named(field, value):
    data = json.loads(trade(7).to_json()) | {field: value}
    with pytest.raises(RecordError, match=field):
        Trade.from_json(json.dumps(data).encode())


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b'{"trade_key":' + b"[" * 100_000])
def test_what_is_no_record_is_refused(value):
    with pytest.raises(RecordError, match="cannot be decoded"):
        Trade.from_json(value)


def test_amounts_are_plain_decimals_above_zero_within_the_tables_digits():
    assert all(map(is_amount, ("1", "0.1", "0.000000000000000001", "9" * 20 + "." + "9" * 18)))
    assert not any(map(is_amount, ("", "0", "0.0", "00", "+1", "1,5", "NaN", "Infinity", "1E-8", " 1", "1\n", "٣")))
