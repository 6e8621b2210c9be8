"""Quotes become exact rows, equally by the fast path and the slow path; what is no quote is a dead letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cryptoviz.lake.schema import QUOTES
from cryptoviz.trades.quote import QuoteRecord
from spark_jobs.streaming import decode as module
from spark_jobs.streaming.decode import Decoded, decode
from spark_jobs.tables.record_spec import QUOTES_SPEC
from tests.support.records import binary

STAMP = 1_764_000_000_000
AT_US = STAMP * 1000 - 250_123
QUOTE = QuoteRecord(
    quote_id="3f9a1c2b-7", venue="binance", venue_symbol="BTCUSDT", asset_id="bitcoin", quote_currency="USDT", bid="64000.10000000",
    bid_size="0.00000001", ask="64000.11", ask_size="12345678901234567890.5", venue_ts=None, ingest_ts=AT_US,
)  # fmt: skip


def value(**changes: Any) -> bytes:
    return json.dumps(json.loads(QUOTE.to_json()) | changes, separators=(",", ":")).encode() + b"\n"


def run(*values: bytes) -> Decoded:
    return decode(binary(values), pa.array([STAMP] * len(values), pa.int64()), QUOTES_SPEC, 4096)


def slow(*values: bytes) -> Decoded:
    return module._slow(binary(values), pa.array([STAMP] * len(values), pa.int64()), QUOTES_SPEC, 4096)


@pytest.mark.parametrize("way", [run, slow], ids=["fast", "slow"])
def test_a_quote_is_exact_and_dated_by_its_arrival_where_the_venue_gives_no_time(way: Any) -> None:
    timed, without = way(value(venue_ts=AT_US - 5), QUOTE.to_json()).rows.to_pylist()
    amounts = tuple(without[name] for name in ("bid", "bid_size", "ask", "ask_size"))
    assert amounts == (Decimal("64000.1"), Decimal("0.00000001"), Decimal("64000.11"), Decimal("12345678901234567890.5"))
    arrived = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=AT_US)
    assert (without["ts"], without["venue_ts"], without["ingest_ts"]) == (arrived, None, arrived)
    assert timed["ts"] == timed["venue_ts"] == arrived - timedelta(microseconds=5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bid": "0.000"}, "bad_price"),
        ({"ask_size": "0"}, "bad_price"),
        ({"ask": "1e5"}, "wrong_type"),
        ({"bid": 64000.1}, "wrong_type"),
        ({"bid_size": None}, "missing_field"),
        ({"ingest_ts": AT_US + 90_000_000_000}, "bad_time"),
    ],
)
def test_what_is_no_quote_is_a_dead_letter(changes: dict[str, Any], reason: str) -> None:
    done = run(value(), value(**changes))
    assert done.good.to_pylist() == [0]
    assert [bad.reason.split(":")[0] for bad in done.bad] == [reason]


def test_the_record_has_the_columns_of_the_table() -> None:
    assert {field.name for field in QUOTES_SPEC.fields} == {*QuoteRecord.__struct_fields__}
    assert {*QuoteRecord.__struct_fields__} | {"ts"} <= {*QUOTES.names}
