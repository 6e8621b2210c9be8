from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoviz.errors import BadPayload, FrameError, ProviderUnavailable
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.venues.events import Acked, Announced, Announcement, Heartbeat, Quote, Refused, Trades, Unknown, VenueKline
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import Channel, Instrument
from tests.unit.venues.frames import BITCOIN, NOW_US, parse, response, session, the_trade

ROW = (
    '{"symbol":"BTC/USD","side":"sell","price":0.00003630,"qty":6.10,"ord_type":"market","trade_id":4665846,'
    '"timestamp":"2025-12-31T23:59:59.708706Z"}'
)
TRADE = f'{{"channel":"trade","type":"update","data":[{ROW}]}}'
TICKER = (
    '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,'
    '"last":0.10035,"volume":1,"vwap":1,"low":1,"high":1,"change":1,"change_pct":1,"timestamp":"2025-12-31T23:59:59.000001Z"}]}'
)
KRAKEN = venue_of("kraken")


def test_each_channel_is_requested_with_its_options():
    assert [json.loads(frame) for frame in session("kraken").subscribe()] == [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD", "ETH/USD"], "snapshot": True}, "req_id": 1},
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": ["BTC/USD", "ETH/USD"], "event_trigger": "bbo", "snapshot": True},
            "req_id": 2,
        },
        {"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["BTC/USD", "ETH/USD"], "interval": 1, "snapshot": True}, "req_id": 3},
    ]
    assert KRAKEN.url() == "wss://ws.kraken.com/v2"


def test_one_acknowledgement_a_symbol_and_a_refused_symbol_is_named():
    one = session("kraken", [Channel.TRADES])
    one.subscribe()
    ack = (
        '{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD","warnings":["a"]},"success":true,'
        '"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}'
    )
    assert one.parse(ack, NOW_US) == [Acked("BTC/USD", "trades")]
    refused = '{"error":"Currency pair not supported ETH/USD","method":"subscribe","req_id":1,"success":false,"symbol":"ETH/USD"}'
    assert one.parse(refused, NOW_US) == [Refused("ETH/USD", "trades", "Currency pair not supported ETH/USD")]
    assert one.unacked == set()
    without_number = refused.replace('"req_id":1,', "")
    text = "Currency pair not supported ETH/USD"
    assert parse("kraken", without_number) == [Refused("ETH/USD", channel, text) for channel in ("trades", "quotes", "klines")]


@pytest.mark.parametrize("frame", [TRADE, TRADE.replace(":", ": ", 3)])
def test_a_bare_number_keeps_its_trailing_zeros(frame):
    trade = the_trade(parse("kraken", frame))
    assert (trade.price, trade.size, trade.side, trade.trade_number) == ("0.00003630", "6.10", "sell", 4665846)
    assert trade.venue_ts == NOW_US - 1_000_000 + 708_706


def test_a_number_with_an_exponent_is_written_out():
    assert the_trade(parse("kraken", TRADE.replace("0.00003630", "3.630e-5"))).price == "0.00003630"


def test_a_frame_has_several_trades_and_a_snapshot_is_one():
    rows = ",".join(ROW.replace("4665846", str(number)) for number in (7, 8, 9))
    (event,) = parse("kraken", f'{{"channel":"trade","type":"snapshot","data":[{rows}]}}')
    assert isinstance(event, Trades)
    assert ([trade.trade_number for trade in event.trades], event.snapshot) == ([7, 8, 9], True)


def test_other_frames():
    assert parse("kraken", '{"channel":"heartbeat"}') == [Heartbeat()]
    assert parse("kraken", '{"method":"pong","req_id":1,"time_in":"x","time_out":"y"}') == [Heartbeat()]
    assert parse("kraken", '{"channel":"book","type":"update","data":[]}') == [Unknown("book")]
    assert parse("kraken", TICKER) == [Quote("BTC/USD", "0.10025", "740.0", "0.10036", "1361.44813783", NOW_US - 999_999, NOW_US)]


def test_the_state_and_announced_maintenance():
    frame = (
        '{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.0","connection_id":1,"upcoming_maintenance":'
        '[{"starts":"2026-01-02T10:00:00Z","ends":"2026-01-02T11:00:00Z","kind":"full"}]}]}'
    )
    hour_us = 3_600_000_000
    assert parse("kraken", frame) == [
        Announced(Announcement.STATUS, "online"),
        Announced(Announcement.MAINTENANCE, "maintenance", NOW_US + 34 * hour_us, NOW_US + 35 * hour_us),
    ]


def test_a_candle():
    frame = (
        '{"channel":"ohlc","type":"update","timestamp":"2023-10-04T16:26:30.524394914Z","data":[{"symbol":"BTC/USD","open":0.5624,"high":0.5628,'
        '"low":0.5622,"close":0.5627,"trades":12,"volume":30927.68066226,"vwap":0.5626,"interval_begin":"2025-12-31T23:59:00.000000000Z",'
        '"interval":1,"timestamp":"2026-01-01T00:00:00.000000Z"}]}'
    )
    assert parse("kraken", frame) == [
        VenueKline(
            symbol="BTC/USD", interval="1m", open_us=NOW_US - 60_000_000, open="0.5624", high="0.5628", low="0.5622", close="0.5627",
            volume="30927.68066226", closed=None, trades=12, vwap="0.5626",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("x", "not_json"),
        (TRADE.replace("0.00003630", '"0.00003630"'), "value"),
        (TRADE.replace("0.00003630", "null"), "value"),
        (TRADE.replace("0.00003630", "-1.5"), "value"),
        (TRADE.replace("0.00003630", "1e-30"), "value"),
        (TRADE.replace('"sell"', '"s"'), "value"),
        (TRADE.replace("2025-12-31T23:59:59.708706Z", "yesterday"), "value"),
        (TRADE.replace("2025-12-31", "2025-13-31"), "value"),
        (TRADE.replace(f"[{ROW}]", ROW), "shape"),
        (TICKER.replace("0.10025", "0.0").replace("0.10036", "0.0").replace("2025-12-31T23:59:59.000001Z", "1970-01-01T00:00:00Z"), "quote"),
        (TICKER.replace("0.10025", "0.10037"), "quote"),
        (TICKER.replace("0.10025", "null"), "quote"),
        (TICKER.replace("0.10025", "1e400"), "quote"),
        (TICKER.replace('"bid":', '"best":'), "quote"),
    ],
)
def test_what_is_not_as_documented_is_one_typed_error(frame, reason):
    with pytest.raises(FrameError) as caught:
        parse("kraken", frame)
    assert (caught.value.venue, caught.value.reason) == ("kraken", reason)


def rows_of(numbers) -> list[list[object]]:
    return [["64000.50000", "0.10000000", 1_767_225_000.1234567 + number, "b", "m", "", number] for number in numbers]


def answer(rows, last_ns: int) -> bytes:
    return json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": str(last_ns)}}).encode()


def test_a_refill_begins_at_the_trade_before_the_gap_and_continues_from_the_last_row():
    assert KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 6)) is None  # by time only, and none is known
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 6), (1_767_225_004_123_456, None))
    assert call is not None
    assert (call.path, dict(call.query)) == ("/0/public/Trades", {"pair": "XBTUSD", "since": "1767225004123455999", "count": "1000"})
    page = KRAKEN.parse_refill(response(answer(rows_of([4, 5]), 1_767_225_005_123_456_700)), call)
    assert [(t.trade_number, t.venue_ts, t.side, t.price) for t in page.trades] == [
        (4, 1_767_225_004_123_456, "buy", "64000.50000"),
        (5, 1_767_225_005_123_456, "buy", "64000.50000"),
    ]
    assert page.absent == ()
    assert page.next is not None
    assert (page.next.run, page.next.query["since"]) == (IdRun(6, 6), "1767225005123456699")
    still = KRAKEN.parse_refill(response(answer(rows_of([5]), 1_767_225_005_123_456_700)), page.next)
    assert (still.next, still.absent) == (None, ())
    skipped = KRAKEN.parse_refill(response(answer(rows_of([5, 7]), 1_767_225_007_123_456_700)), page.next)
    assert skipped.absent == ()
    assert skipped.next is not None
    # From a second before trade 5: only an answer that has what lies around number 6 proves that there is none.
    assert (skipped.next.run, skipped.next.query["since"]) == (IdRun(6, 6), "1767225004123456699")
    again = KRAKEN.parse_refill(response(answer(rows_of([5, 7]), 1_767_225_007_123_456_700)), skipped.next)
    assert (again.absent, again.next) == (((IdRun(6, 6), "not_at_venue"),), None)


def rows_at(*numbers_ns: tuple[int, int]) -> bytes:
    rows = ",".join(f'["2","1",{ns // 10**9}.{ns % 10**9:09},"b","m","",{number}]' for number, ns in numbers_ns)
    return f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"{numbers_ns[-1][1]}"}}}}'.encode()


AT_NS = 1_767_225_000_000_000_000


def test_a_trade_that_is_older_than_the_one_before_it_is_found_and_not_gone():
    """Number 5 is 3 ms older than number 4, which the refill begins at: the answer has 4 and 6."""
    four, five, six = (4, AT_NS), (5, AT_NS - 3_000_000), (6, AT_NS + 1_000_000)
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 5), (AT_NS // 1_000, six[1] // 1_000))
    assert call is not None
    page = KRAKEN.parse_refill(response(rows_at(four, six)), call)
    assert page.absent == ()
    assert page.next is not None
    assert int(page.next.query["since"]) < five[1]
    found = KRAKEN.parse_refill(response(rows_at((3, AT_NS - 500_000_000), five, four, six)), page.next)
    assert (found.absent, found.next) == ((), None)
    assert 5 in [one.trade_number for one in found.trades]


def test_a_trade_of_the_next_page_is_not_gone_though_a_higher_number_ends_this_one(monkeypatch):
    """Pages of 3 rows: number 6 comes 1 ms after number 7, with which the page ends."""
    monkeypatch.setattr("cryptoviz.venues.kraken.ROWS", 3)
    history = [(4, AT_NS), (5, AT_NS + 2_000_000_000), (7, AT_NS + 4_000_000_000), (6, AT_NS + 4_001_000_000), (8, AT_NS + 9_000_000_000)]
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 7), (AT_NS // 1_000, None))
    got: set[int] = set()
    absent: list[tuple[IdRun, str]] = []
    calls = 0
    while call is not None and calls < 20:
        calls += 1
        served = [one for one in history if one[1] > int(call.query["since"])][:3]
        page = KRAKEN.parse_refill(response(rows_at(*served)), call)
        got |= {int(one.trade_id) for one in page.trades}
        absent += page.absent
        call = page.next
    assert (sorted(got), absent, call) == ([4, 5, 6, 7], [], None)


def test_numbers_that_are_gone_on_both_sides_of_a_run_are_no_obstacle():
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 6), (AT_NS // 1_000, None))
    assert call is not None
    page = KRAKEN.parse_refill(response(rows_at((3, AT_NS), (8, AT_NS + 1))), call)
    assert page.next is not None
    last = KRAKEN.parse_refill(response(rows_at((3, AT_NS), (8, AT_NS + 1))), page.next)
    assert (last.absent, last.next) == (((IdRun(5, 6), "not_at_venue"),), None)


def test_a_page_that_is_too_dense_for_a_second_look_ends_the_refill(monkeypatch):
    """Three rows of the same moment fill the page: what it lacks is asked for once more, and no further."""
    monkeypatch.setattr("cryptoviz.venues.kraken.ROWS", 3)
    history = [(4, AT_NS), (5, AT_NS), (7, AT_NS), (8, AT_NS + 1)]
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 7), (AT_NS // 1_000, None))
    calls = 0
    while call is not None and calls < 20:
        calls += 1
        served = [one for one in history if one[1] > int(call.query["since"])][:3]
        call = KRAKEN.parse_refill(response(rows_at(*served)), call).next
    assert calls <= 3


def test_a_refill_that_begins_too_late_is_asked_for_from_earlier_and_then_given_up():
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(5, 6), (1_767_225_004_000_000, None))
    asked = []
    page = None
    while call is not None:
        asked.append(int(call.query["since"]))
        page = KRAKEN.parse_refill(response(answer(rows_of([6, 7]), 1_767_225_007_000_000_000)), call)
        call = page.next
    minute_ns = 60_000_000_000
    steps_ns = [later - earlier for later, earlier in pairwise(asked)]
    assert steps_ns[:3] == [minute_ns + 1, 4 * minute_ns + 1, 16 * minute_ns + 1]
    assert len(asked) == 7
    assert page is not None
    assert page.absent == ((IdRun(5, 5), "too_old"),)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(3, 40), st.sets(st.integers(1, 40)), st.lists(st.integers(-900, 900), min_size=42, max_size=42))
def test_any_disorder_below_a_second_ends_in_what_the_venue_has(monkeypatch, size, never, shifts_ms):
    """A naive venue: trade n about n seconds after the start, ordered by time. The stream had 0 and `size` + 1."""
    monkeypatch.setattr("cryptoviz.venues.kraken.ROWS", 12)
    numbers = [n for n in range(size + 2) if n not in never or not 1 <= n <= size]
    history = sorted(((n, AT_NS + n * 1_000_000_000 + shifts_ms[n] * 1_000_000) for n in numbers), key=lambda one: (one[1], one[0]))
    times = dict(history)
    call = KRAKEN.refill(BITCOIN["kraken"], IdRun(1, size), (times[0] // 1_000, times[size + 1] // 1_000))
    got: set[int] = set()
    gone: set[int] = set()
    calls = 0
    while call is not None:
        calls += 1
        assert calls < 100
        page = KRAKEN.parse_refill(response(rows_at(*[one for one in history if one[1] > int(call.query["since"])][:12])), call)
        got |= {int(one.trade_id) for one in page.trades}
        gone |= {n for run, _ in page.absent for n in range(run.first, run.last + 1)} - got
        call = page.next
    assert (gone, {n for n in got if 1 <= n <= size}) == ({n for n in never if 1 <= n <= size}, {n for n in numbers if 1 <= n <= size})


def test_pairs_of_the_other_interface_and_its_errors():
    doge = KRAKEN.refill(Instrument("DOGE/USD", "dogecoin", "USD"), IdRun(5, 6), (NOW_US, None))
    assert doge is not None
    assert doge.query["pair"] == "XDGUSD"
    with pytest.raises(ProviderUnavailable) as caught:
        KRAKEN.parse_refill(response(b'{"error":["EGeneral:Too many requests"]}'), doge)
    assert caught.value.reason == "rate_limited"
    for body in (b"[]", b'{"error":[],"result":{"last":"1"}}', answer([["1", "1", 1.0, "x", "m", "", 1]], 1), answer([[1]], 1)):
        with pytest.raises(BadPayload):
            KRAKEN.parse_refill(response(body), doge)
