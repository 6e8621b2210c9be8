from __future__ import annotations

import json

import pytest

from cryptoviz.errors import BadPayload, FrameError, ProviderUnavailable
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.venues.events import Acked, Heartbeat, Quote, Refused, Trades, Unknown
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel
from tests.unit.venues.frames import BITCOIN, NOW_US, parse, response, session, the_trade

MATCH = (
    '{"type":"match","trade_id":10,"maker_order_id":"ac928c66","taker_order_id":"132fb6ae","side":"sell","size":"5.23512000","price":"400.23",'
    '"product_id":"BTC-USD","sequence":50,"time":"2025-12-31T23:59:59.028459Z"}'
)
TICKER = (
    '{"type":"ticker","sequence":7,"product_id":"BTC-USD","price":"1285.22","open_24h":"1310.79","volume_24h":"1","low_24h":"1","high_24h":"1",'
    '"volume_30d":"1","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy",'
    '"time":"2025-12-31T23:59:59Z","trade_id":370843401,"last_size":"11.4396987"}'
)
COINBASE = venue_of("coinbase")


def test_one_request_has_all_channels_and_the_acknowledgement_the_whole_set():
    one = session("coinbase")
    assert [json.loads(frame) for frame in one.subscribe()] == [
        {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["matches", "heartbeat"]},
        {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["ticker", "heartbeat"]},
    ]
    first = (
        '{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]},'
        '{"name":"ticker_1000","product_ids":["BTC-USD"]}]}'
    )
    assert one.parse(first, NOW_US) == [Acked("BTC-USD", "trades")]
    both = first.replace('"matches","product_ids":["BTC-USD"]', '"matches","product_ids":["BTC-USD","ETH-USD"]')
    assert one.parse(both, NOW_US) == [Acked("ETH-USD", "trades")]
    assert one.unacked == {("BTC-USD", "quotes"), ("ETH-USD", "quotes")}


def test_a_refused_product_is_named_and_the_others_are_asked_for_again():
    one = session("coinbase", [Channel.TRADES])
    one.subscribe()
    refused = '{"type":"error","message":"Failed to subscribe","reason":"ETH-USD is not a valid product"}'
    assert one.parse(refused, NOW_US) == [Refused("ETH-USD", "trades", "Failed to subscribe: ETH-USD is not a valid product")]
    assert json.loads(one.subscribe()[0])["product_ids"] == ["BTC-USD"]
    assert parse("coinbase", '{"type":"error","message":"rate limit exceeded"}') == [Refused("", "", "rate limit exceeded")]


@pytest.mark.parametrize("frame", [MATCH, MATCH.replace('"type":"match",', "").replace("{", '{"sequence2":1,"type":"match",')])
def test_the_side_of_a_match_is_the_makers(frame):
    trade = the_trade(parse("coinbase", frame))
    assert (trade.side, trade.price, trade.size, trade.trade_number, trade.sequence) == ("buy", "400.23", "5.23512000", 10, 50)
    assert trade.venue_ts == NOW_US - 1_000_000 + 28_459
    assert the_trade(parse("coinbase", frame.replace('"sell"', '"buy"'))).side == "sell"


def test_the_last_match_before_the_subscription_is_a_snapshot():
    (event,) = parse("coinbase", MATCH.replace('"match"', '"last_match"'))
    assert isinstance(event, Trades)
    assert event.snapshot


def test_an_impossible_time_is_unknown():
    assert the_trade(parse("coinbase", MATCH.replace("2025-12-31T23:59:59.028459Z", "0001-01-01T00:00:00.000000Z"))).venue_ts is None
    assert the_trade(parse("coinbase", MATCH.replace("2025-12-31T23:59:59.028459Z", "0001-01-01T00:00:00+14:00"))).venue_ts is None


def test_other_frames():
    beat = '{"type":"heartbeat","last_trade_id":%d,"product_id":"BTC-USD","sequence":90,"time":"2025-12-31T23:59:59.000000Z"}'
    assert parse("coinbase", beat % 20) == [Heartbeat("BTC-USD", 20, NOW_US - 1_000_000)]
    assert parse("coinbase", beat % 0) == [Heartbeat("BTC-USD", None, NOW_US - 1_000_000)]
    assert parse("coinbase", TICKER) == [Quote("BTC-USD", "1285.04", "0.46688654", "1285.27", "1.56637040", NOW_US - 1_000_000, NOW_US, 7)]
    assert parse("coinbase", TICKER.replace("1285.04", "1285.27")) != []  # at the same price: the next match is on its way
    assert parse("coinbase", '{"type":"status"}') == [Unknown("status")]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("x", "not_json"),
        ("{}", "shape"),
        (MATCH.replace("5.23512000", "0.-10000"), "value"),
        (MATCH.replace('"sell"', '"bid"'), "value"),
        (MATCH.replace("10,", '"10",', 1), "shape"),
        (TICKER.replace("1285.04", ""), "quote"),
        (TICKER.replace("1285.04", "1285.28"), "quote"),
        (TICKER.replace("1.56637040", "0"), "quote"),
        (TICKER.replace('"1285.04"', "null"), "quote"),
        (TICKER.replace("2025-12-31T23:59:59Z", "yesterday"), "quote"),
    ],
)
def test_what_is_not_as_documented_is_one_typed_error(frame, reason):
    with pytest.raises(FrameError) as caught:
        parse("coinbase", frame)
    assert (caught.value.venue, caught.value.reason) == ("coinbase", reason)


def rows_of(numbers) -> bytes:
    rows = [{"time": "2025-12-31T23:00:00.5Z", "trade_id": number, "price": "10.00", "size": "0.01", "side": "buy"} for number in numbers]
    return json.dumps(rows).encode()


def test_a_refill_comes_newest_first_and_continues_to_older_trades():
    call = COINBASE.refill(BITCOIN["coinbase"], IdRun(100, 104))
    assert call is not None
    assert (call.path, dict(call.query)) == ("/products/BTC-USD/trades", {"limit": "6", "after": "106"})
    page = COINBASE.parse_refill(response(rows_of([105, 104, 102, 101])), call)
    assert [(trade.trade_number, trade.side, trade.source) for trade in page.trades] == [(n, "sell", "refill") for n in (105, 104, 102, 101)]
    assert page.absent == ((IdRun(103, 103), "not_at_venue"),)
    assert page.next is not None
    assert (page.next.run, dict(page.next.query)) == (IdRun(100, 100), {"limit": "1", "after": "101"})
    assert COINBASE.parse_refill(response(rows_of([100])), page.next).next is None
    assert COINBASE.parse_refill(response(b"[]"), page.next).absent == ((IdRun(100, 100), "too_old"),)


def test_trades_above_the_newest_of_a_history_that_lags_are_not_gone():
    """The stream had 99 and 105. The history ends at 102 and lacks 101: 103 and 104 may still come, 101 is gone."""
    call = COINBASE.refill(BITCOIN["coinbase"], IdRun(100, 104))
    assert call is not None
    page = COINBASE.parse_refill(response(rows_of([102, 100, 99])), call)
    assert (page.absent, page.next) == (((IdRun(101, 101), "not_at_venue"),), None)
    # Once it has the trade after the gap, what it lacks is gone.
    page = COINBASE.parse_refill(response(rows_of([105, 102, 100])), call)
    assert (page.absent, page.next) == (((IdRun(101, 101), "not_at_venue"), (IdRun(103, 104), "not_at_venue")), None)


def test_a_history_that_begins_after_the_gap_ends_the_refill():
    call = COINBASE.refill(BITCOIN["coinbase"], IdRun(100, 104))
    assert call is not None
    page = COINBASE.parse_refill(response(rows_of([105])), call)
    assert page.absent == ()
    assert page.next is not None
    assert (page.next.run, dict(page.next.query)) == (IdRun(100, 104), {"limit": "5", "after": "105"})
    last = COINBASE.parse_refill(response(b"[]"), page.next)
    assert (last.absent, last.next) == (((IdRun(100, 104), "too_old"),), None)


def test_what_is_missing_between_two_pages_is_gone():
    call = COINBASE.refill(BITCOIN["coinbase"], IdRun(100, 104))
    assert call is not None
    page = COINBASE.parse_refill(response(rows_of([105, 104])), call)
    assert page.next is not None
    # Numbers below 104 are asked for: 103 is neither here nor there.
    page = COINBASE.parse_refill(response(rows_of([102, 101, 100])), page.next)
    assert (page.absent, page.next) == (((IdRun(103, 103), "not_at_venue"),), None)


def test_a_refill_that_fails_says_so_as_a_provider_does():
    call = COINBASE.refill(BITCOIN["coinbase"], IdRun(1, 2))
    assert call is not None
    with pytest.raises(ProviderUnavailable) as caught:
        COINBASE.parse_refill(response(b'{"message":"Public rate limit exceeded"}', 429), call)
    assert caught.value.reason == "rate_limited"
    for body in (b"{}", b"x", rows_of([1]).replace(b"buy", b"bid"), rows_of([1]).replace(b"2025", b"x")):
        with pytest.raises(BadPayload):
            COINBASE.parse_refill(response(body), call)
