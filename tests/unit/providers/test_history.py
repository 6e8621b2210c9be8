"""Requests and parsers of each provider's price history. The bodies are those of the replay market."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.backfill.series import price_at, windows
from cryptoviz.errors import BadPayload, CryptoVizError, NoHistory, ProviderFailure, ProviderRefused, ProviderUnavailable
from cryptoviz.providers.binance import parse_tickers as parse_binance
from cryptoviz.providers.coingecko import parse_markets
from cryptoviz.providers.history import Point, Step
from cryptoviz.providers.kraken import parse_ticker
from cryptoviz.providers.registry import BUILT_IN_SPECS, spec_of
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason

NOW = 1_764_000_000_000
MINUTE = 60_000

SOURCES = {spec.name: spec.history for spec in BUILT_IN_SPECS if spec.history is not None}


def response(body: Any, status: int = 200) -> HttpResponse:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, {"content-type": "application/json"}, content, NOW)


def step_of(name: str, ticks: list[int]) -> Step:
    (step,) = SOURCES[name].steps(ticks, NOW)
    return step


def test_binance_closes_count_once_their_candle_is_over() -> None:
    step = step_of("binance", [NOW - 5 * MINUTE, NOW - 4 * MINUTE])
    assert step.length_ms == MINUTE
    row = [NOW - 2 * MINUTE, "1.0", "3.0", "0.5", "2.5", "7", NOW - MINUTE - 1, "17", 3, "1", "1", "0"]
    open_one = [NOW - MINUTE // 2, "1.0", "3.0", "0.5", "9.9", "7", NOW + MINUTE // 2 - 1, "17", 3, "1", "1", "0"]
    assert SOURCES["binance"].parse(response([row, open_one]), step) == [Point(NOW - MINUTE - 1, 2.5)]
    assert spec_of("binance").quote_of("BTCUSDT") == "USDT"


def test_binance_is_asked_for_seconds_where_ticks_are_between_minutes() -> None:
    ticks = [NOW - 20_000, NOW - 10_000]
    step = step_of("binance", ticks)
    (window,) = windows(ticks, step.span_ms, step.lookback_ms)
    path, query = SOURCES["binance"].request("BTCUSDT", window, step)
    assert (path, urlencode(query)) == (
        "/api/v3/klines", f"symbol=BTCUSDT&interval=1s&startTime={NOW - 25_000}&endTime={NOW - 10_000}&limit=1000",
    )  # fmt: skip


def test_kraken_asks_for_longer_candles_further_back_and_stops_at_a_week() -> None:
    ticks = [NOW - days * 86_400_000 for days in (9, 7, 2, 0)]
    steps = SOURCES["kraken"].steps(ticks, NOW)
    assert [(step.length_ms // MINUTE, [(NOW - tick) // 86_400_000 for tick in step.ticks]) for step in steps] == [(1, [0]), (5, [2]), (15, [7])]
    row = [(NOW - 20 * MINUTE) // 1000, "1.0", "3.0", "0.5", "2.5", "1.5", "7", 3]
    body = {"error": [], "result": {"XXBTZUSD": [row], "last": 1}}
    assert SOURCES["kraken"].parse(response(body), steps[2]) == [Point(NOW - 5 * MINUTE - 1, 2.5)]


def test_coingecko_points_keep_their_own_stamps_and_amounts() -> None:
    step = step_of("coingecko", [NOW])
    body = {"prices": [[NOW - 5, 2.5], [NOW - 600_000, 2.0], [NOW, None]], "market_caps": [[NOW - 5, 9e9]], "total_volumes": [[NOW - 5, 0]]}
    points = SOURCES["coingecko"].parse(response(body), step)
    assert points == [Point(NOW - 600_000, 2.0), Point(NOW - 5, 2.5, 9e9, 0.0)]
    assert price_at(points, NOW - 6, 900_000) == points[0]


@pytest.mark.parametrize(
    ("name", "row", "trades_at"),
    [
        ("binance", [NOW - 5 * MINUTE, "1.0", "3.0", "0.5", "2.5", "0", NOW - 4 * MINUTE - 1, "0", 0, "0", "0", "0"], 8),
        ("kraken", [(NOW - 5 * MINUTE) // 1000, "1.0", "3.0", "0.5", "2.5", "0", "0", 0], 7),
    ],
)
def test_a_candle_without_a_trade_is_no_newer_price(name: str, row: list[Any], trades_at: int) -> None:
    step = step_of(name, [NOW - 4 * MINUTE])

    def points(one: list[Any]) -> list[Point]:
        return SOURCES[name].parse(response([one] if name == "binance" else {"error": [], "result": {"ANY": [one], "last": 1}}), step)

    assert points(row) == []
    assert points([*row[:trades_at], 1, *row[trades_at + 1 :]]) == [Point(NOW - 4 * MINUTE - 1, 2.5)]


def test_how_a_tick_is_asked_for_does_not_depend_on_the_others() -> None:
    whole, between = NOW - 5 * MINUTE, NOW - 5 * MINUTE + 2_000
    for ticks in ([whole], [between], [whole, between]):
        lengths = {tick: step.length_ms for step in SOURCES["binance"].steps(ticks, NOW) for tick in step.ticks}
        assert lengths == {tick: MINUTE if tick == whole else 1_000 for tick in ticks}


@pytest.mark.parametrize(
    ("status", "reason", "final"),
    [
        (400, FallbackReason.UNAVAILABLE, True),
        (401, FallbackReason.AUTH, False),
        (402, FallbackReason.QUOTA, False),
        (404, FallbackReason.UNAVAILABLE, True),
        (418, FallbackReason.RATE_LIMITED, False),
        (422, FallbackReason.UNAVAILABLE, True),
        (429, FallbackReason.RATE_LIMITED, False),
        (451, FallbackReason.AUTH, False),
        (500, FallbackReason.UNAVAILABLE, False),
        (503, FallbackReason.UNAVAILABLE, False),
    ],
)
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_status_is_the_same_failure_in_history_as_in_prices(name: str, status: int, reason: FallbackReason, final: bool) -> None:
    headers = {"content-type": "application/json", "retry-after": "77"}
    parsers = {"binance": parse_binance, "kraken": parse_ticker, "coingecko": parse_markets}
    for body in (b"{}", b'{"error": ["EAny:Thing"]}', b"[]"):
        answer = HttpResponse(status, headers, body, NOW)
        with pytest.raises(CryptoVizError) as of_history:
            SOURCES[name].parse(answer, step_of(name, [NOW - 5 * MINUTE]))
        with pytest.raises(CryptoVizError) as of_prices:
            parsers[name](answer, {})
        for error in (of_history.value, of_prices.value):
            assert isinstance(error, ProviderFailure)
            assert (error.reason, error.retry_after_s, error.final) == (reason, 77.0, final)


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}),
        ("kraken", 200, {"error": ["EQuery:Unknown asset pair"]}),
        ("kraken", 200, {"error": ["EGeneral:Invalid arguments"]}),
        ("coingecko", 404, {"error": "coin not found"}),
        ("coingecko", 200, {"error_code": 422, "error": "unprocessable"}),
    ],
)
def test_what_can_never_succeed_says_so(name: str, status: int, body: Any) -> None:
    with pytest.raises(CryptoVizError) as caught:
        SOURCES[name].parse(response(body, status), step_of(name, [NOW - 5 * MINUTE]))
    assert isinstance(caught.value, ProviderFailure)
    assert caught.value.final


@pytest.mark.parametrize("row", [1, None, "x", [], {}, [1]])
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_rows_of_another_shape_are_a_bad_payload(name: str, row: Any) -> None:
    bodies = {"binance": [row], "kraken": {"error": [], "result": {"XXBTZUSD": [row], "last": 1}}, "coingecko": {"prices": [row]}}
    with pytest.raises(BadPayload):
        SOURCES[name].parse(response(bodies[name]), step_of(name, [NOW - 5 * MINUTE]))


@pytest.mark.parametrize(
    ("name", "status", "body", "error"),
    [
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}, CryptoVizError),
        ("binance", 429, {"code": -1003, "msg": "Too much"}, ProviderUnavailable),
        ("binance", 200, {"code": 0}, BadPayload),
        ("kraken", 200, {"error": ["EGeneral:Too many requests"]}, ProviderUnavailable),
        ("kraken", 200, {"error": ["EQuery:Unknown asset pair"]}, CryptoVizError),
        ("kraken", 200, {"error": [], "result": {}}, BadPayload),
        ("coingecko", 401, {"error": {"status": {"error_code": 10012, "error_message": "exceeds the allowed time range"}}}, NoHistory),
        ("coingecko", 401, {"status": {"error_code": 10002, "error_message": "no key"}}, ProviderRefused),
        ("coingecko", 404, {"error": "coin not found"}, ProviderUnavailable),
    ],
)
def test_refusals_are_typed(name: str, status: int, body: Any, error: type[CryptoVizError]) -> None:
    with pytest.raises(error):
        SOURCES[name].parse(response(body, status), step_of(name, [NOW - 5 * MINUTE]))


NAMES = ["prices", "result", "error", "XXBTZUSD", "status", "error_code", "code"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from(["prices", "result", "error", "XXBTZUSD", "status", "error_code", "code"]) | st.text(max_size=4), inner, max_size=4
        )
    ),
    max_leaves=30,
)


@given(st.sampled_from(sorted(SOURCES)), JSON, st.sampled_from([200, 400, 401, 429, 500]))
def test_any_json_gives_prices_or_a_typed_error(name: str, body: Any, status: int) -> None:
    try:
        points = SOURCES[name].parse(
            response(orjson.dumps(body, default=str) if not _huge(body) else b"[]", status), step_of(name, [NOW - 5 * MINUTE])
        )
    except CryptoVizError:
        return
    assert all(0 < point.price < float("inf") for point in points)
    assert points == sorted(points, key=lambda point: point.at_ms)


def _huge(body: Any) -> bool:
    """orjson does not serialize integers above 64 bits."""
    if isinstance(body, dict):
        return any(map(_huge, body.values()))
    if isinstance(body, list):
        return any(map(_huge, body))
    return isinstance(body, int) and abs(body) >= 2**63
