"""What holds for each venue: arbitrary bytes, and refills that close gaps whatever the venue serves."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptoviz.errors import FrameError, ProviderFailure
from cryptoviz.providers.response import HttpResponse
from cryptoviz.trades.gap_tracker import GapTracker
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.trades.record import Side, Trade, is_amount
from cryptoviz.venues.base import RefillCall
from cryptoviz.venues.events import Quote, Trades
from cryptoviz.venues.registry import BUILT_IN_VENUES, venue_of
from tests.unit.venues import test_binance, test_coinbase, test_kraken
from tests.unit.venues.frames import BITCOIN, NOW_US, response, session

SEEDS = {
    "binance": (test_binance.TRADE, test_binance.BOOK),
    "kraken": (test_kraken.TRADE, test_kraken.TICKER),
    "coinbase": (test_coinbase.MATCH, test_coinbase.TICKER),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw):
    """A venue, and one of its frames with some bytes replaced, removed or inserted."""
    venue = draw(st.sampled_from(BUILT_IN_VENUES))
    frame = bytearray(draw(st.sampled_from(SEEDS[venue])).encode())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(frame)))
        frame[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return venue, bytes(frame)


@st.composite
def altered(draw):
    """A venue, and one of its frames with the values of some fields replaced by arbitrary JSON."""
    venue = draw(st.sampled_from(BUILT_IN_VENUES))
    data = json.loads(draw(st.sampled_from(SEEDS[venue])))
    row = data["data"][0] if venue == "kraken" else data
    for name in draw(st.sets(st.sampled_from(sorted(row)), min_size=1, max_size=3)):
        row[name] = draw(JSON)
    return venue, json.dumps(data)


def check(venue: str, frame: bytes | str) -> None:
    """Either a typed error, or events whose trades and quotes are valid records."""
    refused, events = None, []
    try:
        events = session(venue).parse(frame, NOW_US)
    except FrameError as error:
        refused = error
    assert refused is None or (refused.venue == venue and refused.reason in ("not_json", "shape", "value", "quote"))
    for event in events:
        for trade in event.trades if isinstance(event, Trades) else ():
            assert Trade.from_json(trade.to_json()) == trade
            assert is_amount(trade.price)
        if isinstance(event, Quote):
            assert all(map(is_amount, (event.bid, event.bid_size, event.ask, event.ask_size)))
            assert Decimal(event.bid) <= Decimal(event.ask)


@settings(max_examples=50)
@given(st.sampled_from(BUILT_IN_VENUES), st.binary(max_size=60) | JSON.map(json.dumps))
@example("kraken", '{"channel":"trade","type":"update","data":[{}]}')
def test_arbitrary_frames_raise_the_typed_error_only(venue, frame):
    check(venue, frame)


@given(damaged() | altered())
def test_damaged_frames_raise_the_typed_error_only(case):
    check(*case)


@given(st.sampled_from(BUILT_IN_VENUES), st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_responses_raise_typed_errors_only(venue, body):
    call = venue_of(venue).refill(BITCOIN[venue], IdRun(1, 9), (NOW_US, NOW_US))
    assert call is not None
    with suppress(ProviderFailure):
        assert venue_of(venue).parse_refill(response(body), call).trades == ()


def served(venue: str, call: RefillCall, numbers: list[int], rows: int) -> HttpResponse:
    """The answer of a venue whose history has these trades, trade n in second n, and at most so many rows in a response."""
    start_s = NOW_US // 1_000_000 - 10_000
    if venue == "binance":
        first = int(call.query["fromId"])
        page = [number for number in numbers if number >= first][: min(rows, int(call.query["limit"]))]
        return response(
            json.dumps([{"id": n, "price": "1", "qty": "1", "time": (start_s + n) * 1_000, "isBuyerMaker": False} for n in page]).encode()
        )
    if venue == "coinbase":
        page = [number for number in reversed(numbers) if number < int(call.query["after"])][: min(rows, int(call.query["limit"]))]
        return response(
            json.dumps([{"trade_id": n, "price": "1", "size": "1", "side": "sell", "time": "2025-12-31T22:00:00Z"} for n in page]).encode()
        )
    since_ns = int(call.query["since"])
    page = [number for number in numbers if (start_s + number) * 1_000_000_000 > since_ns][:rows]
    last_ns = (start_s + page[-1]) * 1_000_000_000 if page else since_ns
    listed = [["1", "1", float(start_s + n), "b", "l", "", n] for n in page]
    return as_json({"error": [], "result": {"XXBTZUSD": listed, "last": str(last_ns)}})


def as_json(value: object) -> HttpResponse:
    return response(json.dumps(value).encode())


def stream_trade(venue: str, number: int) -> Trade:
    one = BITCOIN[venue]
    return Trade.numbered(
        venue=venue, venue_symbol=one.symbol, asset_id=one.asset_id, quote_currency=one.quote_currency, trade_number=number, price="1", size="1",
        side=Side.BUY, venue_ts=NOW_US - 10_000_000_000 + number * 1_000_000, ingest_ts=NOW_US, source="stream", connection="c1",
    )  # fmt: skip


@pytest.mark.parametrize("venue", BUILT_IN_VENUES)
@given(st.integers(2, 40), st.sets(st.integers(2, 40)), st.integers(2, 50))
def test_refills_close_a_gap_with_what_the_venue_has_and_prove_the_rest_gone(venue, size, never, rows):
    """The stream had trade 1 and trade `size` + 1; of those between, the venue never had `never`. Pages have at most `rows` trades."""
    tracker = GapTracker(venue, BITCOIN[venue].symbol)
    never = {number for number in never if number <= size}
    at_venue = [number for number in range(1, size + 2) if number not in never]
    got = [int(trade.trade_id) for trade in tracker.accept([stream_trade(venue, 1), stream_trade(venue, size + 1)], NOW_US).new]
    rows_of_gap = []
    calls = 0
    (missing,) = tracker.missing()
    call = venue_of(venue).refill(BITCOIN[venue], missing.run, missing.around_us)
    while call is not None:
        calls += 1
        assert calls <= 100
        page = venue_of(venue).parse_refill(served(venue, call, at_venue, rows), call)
        accepted = tracker.accept(page.trades, NOW_US, [voided.trade_number for voided in page.voided])
        got += [int(trade.trade_id) for trade in accepted.new]
        rows_of_gap += accepted.gaps
        for run, reason in page.absent:
            rows_of_gap += tracker.give_up(run, reason, NOW_US).gaps
        call = page.next
    assert sorted(got) == at_venue
    assert tracker.missing() == []
    assert (rows_of_gap[-1].state, rows_of_gap[-1].missing) == (("permanent", len(never)) if never else ("refilled", 0))
