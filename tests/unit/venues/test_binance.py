from __future__ import annotations

import json

import pytest

from cryptoviz.errors import BadPayload, FrameError, ProviderUnavailable
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.venues.events import Acked, Announced, Announcement, Quote, Refused, Trades, Unknown, VenueKline, Voided
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel
from tests.unit.venues.frames import BITCOIN, NOW_US, parse, response, session, the_trade

TRADE = '{"e":"trade","E":1767225599000005,"s":"BTCUSDT","t":12345,"p":"64000.10000000","q":"0.00100000","T":1767225599000001,"m":true,"M":true}'
BOOK = '{"u":400900217,"s":"BTCUSDT","b":"25.35190000","B":"31.21","a":"25.36520000","A":"40.66"}'
BINANCE = venue_of("binance")


def test_requests_are_numbered_and_their_streams_in_lower_case():
    one = session("binance", [Channel.TRADES, Channel.KLINES])
    assert [json.loads(frame) for frame in one.subscribe()] == [
        {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade"], "id": 1},
        {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m", "ethusdt@kline_1m"], "id": 2},
    ]
    assert BINANCE.url() == "wss://data-stream.binance.vision/ws?timeUnit=MICROSECOND"
    assert BINANCE.url("ws://127.0.0.1:9/binance/") == "ws://127.0.0.1:9/binance/ws?timeUnit=MICROSECOND"


def test_an_acknowledgement_is_that_of_its_request_and_errors_come_in_two_forms():
    one = session("binance", [Channel.TRADES])
    one.subscribe()
    assert one.unacked == {("BTCUSDT", "trades"), ("ETHUSDT", "trades")}
    assert one.parse('{"result":null,"id":1}', NOW_US) == [Acked("BTCUSDT", "trades"), Acked("ETHUSDT", "trades")]
    assert one.unacked == set()
    for error in ('{"code":2,"msg":"Invalid request","id":1}', '{"error":{"code":2,"msg":"Invalid request"},"id":1}'):
        two = session("binance", [Channel.TRADES])
        two.subscribe()
        assert two.parse(error, NOW_US) == [Refused(symbol, "trades", "Invalid request") for symbol in ("BTCUSDT", "ETHUSDT")]
        assert two.unacked == set()
    assert parse("binance", '{"code":3,"msg":"Invalid JSON"}') == [Refused("", "", "Invalid JSON")]


@pytest.mark.parametrize(
    "frame",
    [
        TRADE,
        TRADE.replace(":", ": ").replace(",", ", "),
        TRADE.replace('"e":"trade",', "").replace("}", ',"e":"trade"}'),
        f'{{"stream":"btcusdt@trade","data":{TRADE}}}',
    ],
)
def test_a_trade_in_each_of_its_forms(frame):
    trade = the_trade(parse("binance", frame))
    # The buyer was the maker, so the taker sold.
    assert (trade.trade_number, trade.price, trade.size, trade.side) == (12345, "64000.10000000", "0.00100000", "sell")
    assert (trade.venue_ts, trade.ingest_ts, trade.source, trade.connection) == (1_767_225_599_000_001, NOW_US, "stream", "c1")
    assert (trade.venue, trade.venue_symbol, trade.asset_id, trade.quote_currency) == ("binance", "BTCUSDT", "bitcoin", "USDT")
    assert the_trade(parse("binance", frame.encode())) == trade


def test_times_are_ms_or_us_and_an_impossible_one_is_unknown():
    def at(text: str) -> int | None:
        return the_trade(parse("binance", TRADE.replace('"T":1767225599000001', f'"T":{text}'))).venue_ts

    assert at("1767225599001") == 1_767_225_599_001_000
    assert at("0") is None
    assert at("1767398400000") is None  # two days ahead


def test_a_void_row_is_no_trade_and_its_number_is_known():
    frame = TRADE.replace("64000.10000000", "0.00000000").replace("0.00100000", "0")
    assert parse("binance", frame) == [Trades((), (Voided("BTCUSDT", 12345),))]


def test_other_frames():
    assert parse("binance", BOOK) == [Quote("BTCUSDT", "25.35190000", "31.21", "25.36520000", "40.66", None, NOW_US, 400900217)]
    assert parse("binance", '{"e":"serverShutdown","E":1770123456789}') == [Announced(Announcement.SHUTDOWN, "serverShutdown")]
    assert parse("binance", '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}') == [
        Announced(Announcement.SHUTDOWN, "serverShutdown")
    ]
    assert parse("binance", '{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}') == [Unknown("depthUpdate")]
    assert parse("binance", TRADE.replace("BTCUSDT", "XRPUSDT")) == [Unknown("trade of XRPUSDT")]
    assert parse("binance", "{}") == [Unknown("a message without a type")]


def test_a_candle():
    frame = (
        '{"e":"kline","E":1767225660000,"s":"BTCUSDT","k":{"t":1767225540000,"T":1767225599999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"1.0",'
        '"c":"2.0","h":"2.5","l":"0.5","v":"1000","n":101,"x":true,"q":"1500.5","V":"500","Q":"750.25","B":"0"}}'
    )
    assert parse("binance", frame) == [
        VenueKline(
            symbol="BTCUSDT", interval="1m", open_us=1_767_225_540_000_000, open="1.0", high="2.5", low="0.5", close="2.0", volume="1000",
            closed=True, quote_volume="1500.5", trades=101, taker_buy_volume="500", taker_buy_quote_volume="750.25", first_trade=100, last_trade=200,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "not_json"),
        ("nonsense", "not_json"),
        (TRADE[:-5], "not_json"),
        (b"\xff\xfe", "not_json"),
        ("[" * 100_000, "shape"),
        ('{"x":' + "[" * 100_000, "not_json"),
        ("[]", "shape"),
        (TRADE.replace('"64000.10000000"', "64000.1"), "shape"),
        (TRADE.replace("12345", "-1"), "shape"),
        (TRADE.replace("12345", "9223372036854775808"), "shape"),
        (TRADE.replace("64000.10000000", "-1"), "value"),
        (TRADE.replace("64000.10000000", "0"), "value"),
        (TRADE.replace("64000.10000000", "1e5"), "value"),
        ('{"stream":"a","data":{"stream":"b","data":{}}}', "shape"),
        (BOOK.replace("25.35190000", "25.36520001"), "quote"),
        (BOOK.replace("31.21", "0.00000000"), "quote"),
        (BOOK.replace("25.36520000", "-1"), "quote"),
        (BOOK.replace("25.36520000", "NaN"), "quote"),
        (BOOK.replace('"25.36520000"', "25.3652"), "quote"),
        (BOOK.replace('"A"', '"AA"'), "quote"),
    ],
)
def test_what_is_not_as_documented_is_one_typed_error(frame, reason):
    with pytest.raises(FrameError) as caught:
        parse("binance", frame)
    assert (caught.value.venue, caught.value.reason) == ("binance", reason)


def test_a_refill_is_requested_by_id_and_continues_until_the_run_is_covered():
    call = BINANCE.refill(BITCOIN["binance"], IdRun(100, 1_199))
    assert call is not None
    assert (call.path, dict(call.query)) == ("/api/v3/historicalTrades", {"symbol": "BTCUSDT", "fromId": "100", "limit": "1000"})
    start_us = 1_767_225_000_000_000
    rows: list[dict[str, object]] = [
        {"id": n, "price": "1.50", "qty": "2", "time": start_us + n, "isBuyerMaker": n % 2 == 0, "isBestMatch": True} for n in range(100, 1_100)
    ]
    del rows[5], rows[10:12]  # 105, 111 and 112 do not exist
    rows[0] |= {"price": "0", "qty": "0.00"}
    rows[1] |= {"price": "-1"}
    page = BINANCE.parse_refill(response(json.dumps(rows).encode()), call)
    assert [(voided.symbol, voided.trade_number) for voided in page.voided] == [("BTCUSDT", 100)]
    assert len(page.trades) == 995
    trade = page.trades[0]
    assert (trade.trade_id, trade.price, trade.size, trade.side, trade.venue_ts) == ("102", "1.50", "2", "sell", 1_767_225_000_000_102)
    assert (trade.source, trade.connection, page.trades[1].side) == ("refill", "f1", "buy")
    assert page.absent == ((IdRun(105, 105), "not_at_venue"), (IdRun(111, 112), "not_at_venue"), (IdRun(101, 101), "invalid"))
    assert page.next is not None
    assert dict(page.next.query) == {"symbol": "BTCUSDT", "fromId": "1100", "limit": "100"}
    empty = BINANCE.parse_refill(response(b"[]"), page.next)
    assert (empty.trades, empty.absent, empty.next) == ((), (), None)  # the history lags behind the stream: nothing is proved


def test_a_refill_that_fails_says_so_as_a_provider_does():
    call = BINANCE.refill(BITCOIN["binance"], IdRun(1, 2))
    assert call is not None
    with pytest.raises(ProviderUnavailable) as caught:
        BINANCE.parse_refill(response(b'{"code":-1003,"msg":"Too many requests"}', 429, **{"retry-after": "7"}), call)
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limited", 7.0)
    for body in (b"{}", b"no", b'[{"id":"1"}]'):
        with pytest.raises(BadPayload):
            BINANCE.parse_refill(response(body), call)
