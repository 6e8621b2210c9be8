"""Trades become exact rows, equally by the fast path and the slow path; what is no exact trade is a dead letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.streaming import decode as module
from spark_jobs.streaming.decode import Decoded, decode
from spark_jobs.tables.record_spec import TRADES_SPEC
from tests.support.records import binary

STAMP = 1_764_000_000_000
AT_US = STAMP * 1000 - 250_123
TRADE: dict[str, Any] = {
    "trade_key": "00ff", "venue": "kraken", "venue_symbol": "BTC/USD", "asset_id": "bitcoin", "quote_currency": "USD", "trade_id": "9007199254740993",
    "trade_number": 9007199254740993, "price": "0.00003630", "size": "12.5", "side": "sell", "venue_ts": AT_US, "ingest_ts": AT_US + 7,
    "source": "stream", "connection": "c1", "sequence": None,
}  # fmt: skip


def value(**changes: Any) -> bytes:
    return json.dumps(TRADE | changes, separators=(",", ":")).encode() + b"\n"


def slow(*values: bytes) -> Decoded:
    return module._slow(binary(values), pa.array([STAMP] * len(values), pa.int64()), TRADES_SPEC, 4096)


def run(*values: bytes) -> Decoded:
    return decode(binary(values), pa.array([STAMP] * len(values), pa.int64()), TRADES_SPEC, 4096)


def at(us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)


@pytest.mark.parametrize("way", [run, slow], ids=["fast", "slow"])
def test_a_trade_is_exact_to_the_digit_and_the_microsecond(way: Any) -> None:
    row = way(value()).rows.to_pylist()[0]
    assert (row["price"], row["size"]) == (Decimal("0.00003630"), Decimal("12.5"))
    assert (row["price_double"], row["size_double"]) == (0.0000363, 12.5)
    assert row["trade_number"] == 9007199254740993
    assert (row["ts"], row["venue_ts"], row["ingest_ts"]) == (at(AT_US), at(AT_US), at(AT_US + 7))


@pytest.mark.parametrize("way", [run, slow], ids=["fast", "slow"])
def test_a_trade_without_venue_time_is_dated_by_its_arrival(way: Any) -> None:
    row = way(value(venue_ts=None)).rows.to_pylist()[0]
    assert (row["ts"], row["venue_ts"]) == (at(AT_US + 7), None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": "1e-8"}, "wrong_type"),
        ({"price": "-1"}, "wrong_type"),
        ({"price": "0.0000000000000000001"}, "wrong_type"),
        ({"price": "1" * 21}, "wrong_type"),
        ({"price": "1.5\n"}, "wrong_type"),
        ({"price": "١"}, "wrong_type"),
        ({"price": ""}, "wrong_type"),
        ({"price": 1.5}, "wrong_type"),
        ({"size": "0.000"}, "bad_price"),
        ({"size": None}, "missing_field"),
        ({"trade_number": "7"}, "wrong_type"),
        ({"venue_ts": 7}, "bad_time"),
        ({"venue_ts": AT_US + 90_000_000_000}, "bad_time"),
        ({"venue_ts": None, "ingest_ts": None}, "missing_field"),
    ],
)
def test_what_is_no_exact_trade_is_a_dead_letter(changes: dict[str, Any], reason: str) -> None:
    done = run(value(), value(**changes), value(trade_id="x"))
    assert [(bad.index, bad.reason.split(":")[0]) for bad in done.bad] == [(1, reason)]
    assert done.rows.column("trade_id").to_pylist() == [TRADE["trade_id"], "x"]


AMOUNTS = st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,18})?", fullmatch=True).filter(lambda text: Decimal(text) > 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=4))
def test_both_paths_give_the_same_exact_row(amounts: list[tuple[str, str]]) -> None:
    values = [value(price=price, size=size) for price, size in amounts]
    fast, other = module._fast(binary(values), pa.array([STAMP] * len(values), pa.int64()), TRADES_SPEC, 4096), slow(*values)
    assert fast is not None
    assert fast.to_pylist() == other.rows.to_pylist()
    assert [(row["price"], row["size"]) for row in fast.to_pylist()] == [(Decimal(price), Decimal(size)) for price, size in amounts]
    assert [row["price_double"] for row in fast.to_pylist()] == [float(price) for price, _ in amounts]
