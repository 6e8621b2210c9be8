"""The record of a quote, and its spread."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cryptoviz.errors import RecordError
from cryptoviz.trades.quote import QuoteRecord, spread_bps

QUOTE = QuoteRecord(
    quote_id="a-1", venue="kraken", venue_symbol="BTC/USD", asset_id="bitcoin", quote_currency="USD", bid="63996.8", bid_size="0.10", ask="64003.2",
    ask_size="2", venue_ts=None, ingest_ts=1_764_000_000_000_000,
)  # fmt: skip


def test_a_record_keeps_the_venues_text() -> None:
    assert QUOTE.to_json().endswith(
        b'"bid":"63996.8","bid_size":"0.10","ask":"64003.2","ask_size":"2","venue_ts":null,"ingest_ts":1764000000000000}\n'
    )
    assert QuoteRecord.from_json(QUOTE.to_json()) == QUOTE


def test_the_spread_is_in_hundredths_of_a_percent_of_the_middle() -> None:
    assert QUOTE.spread_bps == 1.0
    assert spread_bps("0.00003630", "0.00003630") == 0.0


@pytest.mark.parametrize("changes", [{"bid": "0"}, {"ask_size": "-1"}, {"ask": "1e5"}, {"bid": 1.5}, {"ingest_ts": None}])
def test_what_is_no_quote_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        QuoteRecord.from_json(json.dumps(json.loads(QUOTE.to_json()) | changes).encode())
