"""Times of trades at the edges of the calendar."""

from __future__ import annotations

import pytest

from cryptoviz.trades.id_runs import IdRun
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.values import us_of_text
from tests.unit.venues.frames import BITCOIN, NOW_US, parse, response, the_trade

MIDNIGHT_2017_US = 1_483_228_800_000_000
"""17 167 days after 1970-01-01. The second before it was the last leap second so far."""


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2016-12-31T23:59:59.999999Z", MIDNIGHT_2017_US - 1),
        ("2016-12-31T23:59:60Z", MIDNIGHT_2017_US),
        ("2016-12-31T23:59:60.250000999Z", MIDNIGHT_2017_US + 250_000),
        ("2016-12-31T15:59:60.5-08:00", MIDNIGHT_2017_US + 500_000),
        ("2017-01-01T00:00:00Z", MIDNIGHT_2017_US),
        ("2024-02-29T23:59:59.000001Z", 1_709_251_199_000_001),
    ],
)
def test_a_leap_second_is_the_second_after_it(text: str, expected_us: int) -> None:
    assert us_of_text(text, NOW_US) == expected_us


@pytest.mark.parametrize("text", ["2016-12-31T23:58:60Z", "2016-12-31T23:59:61Z", "2016-12-31T12:00:60Z", "2025-02-29T00:00:00Z"])
def test_other_seconds_beyond_a_minute_are_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"valid is RFC 3339|must be in|out of range"):
        us_of_text(text, NOW_US)


def test_a_trade_in_a_leap_second_costs_neither_its_frame_nor_the_page_of_its_refill() -> None:

    rest = '"product_id":"BTC-USD","size":"1","price":"2","side":"sell"}'
    frame = f'{{"type":"match","trade_id":7,"time":"2016-12-31T23:59:60.1Z",{rest}'
    assert the_trade(parse("coinbase", frame)).venue_ts == MIDNIGHT_2017_US + 100_000
    coinbase = venue_of("coinbase")
    call = coinbase.refill(BITCOIN["coinbase"], IdRun(7, 7))
    assert call is not None
    page = coinbase.parse_refill(response(f"[{frame}]".encode()), call)
    assert [(one.trade_number, one.venue_ts) for one in page.trades] == [(7, MIDNIGHT_2017_US + 100_000)]
