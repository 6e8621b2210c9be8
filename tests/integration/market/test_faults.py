"""Every fault has its effect on the wire, and the request log records it."""

import asyncio
import gzip
import json
import math
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from market.dialects import DIALECTS
from market.faults import FAULT_KINDS
from tests.integration.market.wire import ALL, BITCOIN, CMC, ETHEREUM, GECKO, entries, prices_in, stamp_ms
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.integration

TESTED_KINDS: set[str] = set()


def kind(*names):
    """Records the kinds that tests cover, so that the last test can report the others."""
    TESTED_KINDS.update(names)
    return lambda function: function


@kind("latency")
async def test_latency(client, ask):
    await ask("latency", seconds=0.3)
    before = time.monotonic()
    assert (await client.get(GECKO)).status_code == 200
    assert time.monotonic() - before >= 0.3


@kind("hang")
async def test_hang_until_deleted(client, ask):
    await ask("hang")
    with pytest.raises(httpx.ReadTimeout):
        await client.get(GECKO, timeout=httpx.Timeout(120, read=0.3))
    waiting = asyncio.create_task(client.get(GECKO))

    async def both_hang():
        (fault,) = (await client.get("/_market/faults")).json()["faults"]
        return fault["hits"] == 2

    await eventually_async(both_hang)
    assert not waiting.done()
    assert (await client.delete("/_market/faults")).json() == {"cleared": 1}
    with pytest.raises(httpx.TransportError):
        await waiting
    assert (await client.get(GECKO)).status_code == 200
    assert [(entry["status"], entry["fault"]) for entry in await entries(client)] == [(None, "hang"), (None, "hang"), (200, None)]


async def test_hang_ends_with_its_duration(client, ask):
    await ask("hang", duration_s=2)  # longer than a busy machine takes for the request
    with pytest.raises(httpx.TransportError):
        await client.get(GECKO)
    assert (await client.get(GECKO)).status_code == 200


GECKO_ERRORS = {
    401: lambda body: body["status"]["error_code"] == 10002,
    402: lambda body: body["status"]["error_code"] == 402,
    403: lambda body: body["error_code"] == 20000,
    418: lambda body: body["status"]["error_code"] == 418,
    429: lambda body: body["status"]["error_code"] == 429,
    500: lambda body: body == {"status": 500, "error": "Internal Server Error"},
    503: lambda body: body["status"]["error_code"] == 503,
}


@kind("http_status")
@pytest.mark.parametrize("status", GECKO_ERRORS)
async def test_http_status_of_coingecko(client, ask, status):
    await ask("http_status", status=status)
    response = await client.get(GECKO)
    assert response.status_code == status
    assert GECKO_ERRORS[status](response.json())
    assert "retry-after" not in response.headers
    assert [(entry["status"], entry["prices"]) for entry in await entries(client)] == [(status, {})]


@pytest.mark.parametrize(("status", "code"), [(401, 1001), (402, 1003), (403, 1006), (418, 418), (429, 1011), (500, 500), (503, 503)])
async def test_http_status_of_coinmarketcap(client, ask, status, code):
    await ask("http_status", "coinmarketcap", status=status)
    response = await client.get(CMC)
    assert (response.status_code, response.json()["status"]["error_code"]) == (status, code)
    assert "data" not in response.json()


ERRORS = [
    ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}),
    ("binance", 401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
    ("binance", 500, {"code": -1000, "msg": "An unknown error occurred while processing the request."}),
    ("kraken", 403, {"error": ["EGeneral:Permission denied"]}),
    ("kraken", 429, {"error": ["EGeneral:Too many requests"]}),
    ("kraken", 503, {"error": ["EService:Unavailable"]}),
    ("kraken", 502, {"error": ["EService:Busy"]}),
    ("coinpaprika", 402, {"error": "payment required: the monthly limit of the free plan is used up"}),
    ("coinpaprika", 429, {"error": "too many requests"}),
    ("coinpaprika", 500, {"error": "internal server error"}),
    ("coinbase", 404, {"error": "NOT_FOUND", "error_details": "valid product_id is required", "message": "valid product_id is required"}),
    ("coinbase", 429, {"error": "RESOURCE_EXHAUSTED", "error_details": "too many requests", "message": "too many requests"}),
]


@pytest.mark.parametrize(("provider", "status", "body"), ERRORS)
async def test_http_status_of_the_others(client, ask, provider, status, body):
    await ask("http_status", provider, status=status)
    response = await client.get(ALL[provider])
    assert (response.status_code, response.json()) == (status, body)
    assert "retry-after" not in response.headers
    assert (await entries(client))[-1]["prices"] == {}
    await client.delete("/_market/faults")
    await ask("error_envelope_200", provider, status=429)
    assert (await client.get(ALL[provider])).status_code == 200
    await ask("http_status", provider, status=429, retry_after=7)
    assert (await client.get(ALL[provider])).headers["retry-after"] == "7"


async def test_binance_codes_for_too_much(client, ask):
    for status, says in ((429, "Too much request weight used; current limit is 6000"), (418, "Way too much request weight used; IP banned until 1")):
        await ask("http_status", "binance", status=status)
        body = (await client.get(ALL["binance"])).json()
        assert body["code"] == -1003
        assert body["msg"].startswith(says)
    await ask("http_status", "binance", status=451)
    body = (await client.get(ALL["binance"])).json()
    assert (body["code"], body["msg"][:46]) == (0, "Service unavailable from a restricted location")
    await ask("http_status", "binance", status=403)
    blocked = await client.get(ALL["binance"])
    assert (blocked.status_code, blocked.headers["content-type"]) == (403, "text/html")
    assert "403 Forbidden" in blocked.text


@pytest.mark.parametrize("provider", ALL)
async def test_faults_of_the_body_with_every_provider(client, ask, provider):
    """Each kind with a response, in sequence."""
    good = (await client.get(ALL[provider])).json()

    async def answer(name, **parameters):
        fault = await ask(name, provider, **parameters)
        response = await client.get(ALL[provider])
        await client.delete(f"/_market/faults?id={fault['id']}")
        return response

    assert (await answer("html_200")).text.startswith("<!DOCTYPE html>")
    assert (await answer("empty")).content == b""
    assert prices_in(provider, (await answer("empty", how="data")).json()) == {}
    assert type((await answer("wrong_type")).json()) is not type(good)
    with pytest.raises(json.JSONDecodeError):
        (await answer("truncated")).json()
    huge = await answer("huge", size_bytes=200_000)
    assert len(huge.content) == 200_000
    assert set(prices_in(provider, huge.json())) == set(prices_in(provider, good))
    assert len((await answer("gzip_bomb", size_bytes=1_000_000)).content) == 1_000_000
    assert (await answer("redirect")).status_code == 302
    assert (await answer("latency", seconds=0)).status_code == 200


async def test_other_shapes_of_the_new_providers(client, ask):
    for provider, shape in (
        ("binance", "mini"),
        ("kraken", "asset_version_1"),
        ("coinpaprika", "circulating_supply"),
        ("coinbase", "exchange_ticker"),
    ):
        await ask("shape_version", provider, shape=shape)
    assert "bidPrice" not in (await client.get(ALL["binance"])).json()[0]
    assert list((await client.get(ALL["kraken"])).json()["result"]) == ["BTC/USD", "ETH/USD", "POL/USD"]
    assert (await client.get(ALL["coinpaprika"])).json()[0]["circulating_supply"] > 0
    ticker = (await client.get("/coinbase/api/v3/brokerage/market/products/BTC-USD")).json()
    assert set(ticker) == {"ask", "bid", "volume", "trade_id", "price", "size", "time"}


async def test_http_status_with_retry_after_and_code(client, ask):
    await ask("http_status", "coinmarketcap", status=429, retry_after=7, error_code=1009)
    response = await client.get(CMC)
    assert (response.headers["retry-after"], response.json()["status"]["error_code"]) == ("7", 1009)


@kind("html_200")
async def test_html_with_200(client, ask):
    await ask("html_200")
    response = await client.get(GECKO)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!DOCTYPE html>")


@kind("error_envelope_200")
async def test_error_envelope_with_200(client, ask):
    await ask("error_envelope_200", "*")
    assert [(await client.get(url)).status_code for url in (GECKO, CMC)] == [200, 200]
    assert (await client.get(GECKO)).json()["status"]["error_code"] == 429
    assert (await client.get(CMC)).json()["status"]["error_code"] == 1011


@kind("truncated")
async def test_truncated(client, ask):
    await ask("truncated", fraction=0.3)
    text = (await client.get(GECKO)).text
    assert text.startswith('[{"id":"bitcoin"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    await ask("truncated", how="connection")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(GECKO)


@kind("huge")
async def test_huge_is_valid_json_of_the_asked_size(client, ask):
    await ask("huge", size_bytes=3_000_000)
    response = await client.get(GECKO)
    assert len(response.content) == 3_000_000
    assert len(response.json()) == 17


@kind("gzip_bomb")
async def test_gzip_bomb_is_small_on_the_wire(client, ask):
    await ask("gzip_bomb", size_bytes=20_000_000)
    async with client.stream("GET", GECKO) as response:
        assert response.headers["content-encoding"] == "gzip"
        packed = b"".join([chunk async for chunk in response.aiter_raw()])
    assert len(packed) < 60_000
    unpacked = gzip.decompress(packed)
    assert len(unpacked) == 20_000_000
    assert len(json.loads(unpacked)) == 17


@kind("slow_loris")
async def test_slow_loris_sends_a_byte_at_a_time(client, ask):
    await ask("slow_loris", interval_s=0.05)
    received = b""
    before = time.monotonic()
    async with client.stream("GET", GECKO) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_raw():
            received += chunk
            if len(received) >= 5:
                break
    assert received[:5] == b'[{"id'
    assert time.monotonic() - before >= 0.15


@kind("wrong_type")
async def test_wrong_type(client, ask):
    await ask("wrong_type", "*")
    assert isinstance((await client.get(GECKO)).json(), dict)
    assert isinstance((await client.get(CMC)).json(), list)
    await ask("wrong_type", becomes="null")
    assert (await client.get(GECKO)).json() is None


@kind("empty")
async def test_empty(client, ask):
    await ask("empty", "*")
    assert (await client.get(GECKO)).content == b""
    await ask("empty", "*", how="data")
    assert (await client.get(GECKO)).json() == []
    assert (await client.get(CMC)).json()["data"] == []


@kind("reset")
async def test_reset(client, ask):
    await ask("reset")
    with pytest.raises(httpx.ReadError):
        await client.get(GECKO)
    assert [(entry["status"], entry["fault"]) for entry in await entries(client)] == [(None, "reset")]


@kind("redirect")
async def test_redirect(client, ask):
    await ask("redirect", location="http://127.0.0.1:1/internal", status=307)
    response = await client.get(GECKO)
    assert (response.status_code, response.headers["location"]) == (307, "http://127.0.0.1:1/internal")


@kind("shape_version")
async def test_shape_version(client, ask):
    await ask("shape_version", shape="wrapped")
    assert len((await client.get(GECKO)).json()["data"]) == 17
    await ask("shape_version", shape="camel_case")
    assert (await client.get(GECKO)).json()[0]["currentPrice"] > 0
    await ask("shape_version", "coinmarketcap", shape="v2")
    assert (await client.get(CMC)).json()["data"]["1"]["quote"]["USD"]["price"] > 0
    await ask("shape_version", "coinmarketcap", shape="v3_object")
    assert (await client.get(CMC)).json()["data"][0]["quote"]["USD"]["price"] > 0


@kind("clock_skew")
async def test_clock_skew(client, ask, market):
    await ask("clock_skew", "*", seconds=-7200)
    row, body = (await client.get(GECKO)).json()[0], (await client.get(CMC)).json()
    coin = body["data"][0]
    binance, paprika = (await client.get(ALL["binance"])).json()[0], (await client.get(ALL["coinpaprika"])).json()[0]
    assert market.clock.now_ms() - binance["closeTime"] == pytest.approx(7_200_000, abs=120_000)
    assert market.clock.now_ms() - stamp_ms(paprika["last_updated"]) == pytest.approx(7_202_000, abs=120_000)
    for stamp in (row["last_updated"], coin["last_updated"], coin["quote"][0]["last_updated"], body["status"]["timestamp"]):
        assert market.clock.now_ms() - stamp_ms(stamp) == pytest.approx(7_200_000, abs=120_000)


VALUES: dict[str, tuple[dict[str, Any], Callable[[Any, Any], bool]]] = {
    "null_price": ({}, lambda price, _: price is None),
    "nan": ({"value": "NaN"}, lambda price, _: math.isnan(float(price))),
    "zero_price": ({}, lambda price, _: float(price) == 0),
    "negative": ({}, lambda price, good: float(price) == pytest.approx(-float(good), rel=0.05)),
    "outlier": ({"factor": 3}, lambda price, good: float(price) == pytest.approx(3 * float(good), rel=0.05)),
    "price_value": ({"value": 1e300}, lambda price, _: price == 1e300),
    "string_numbers": ({}, lambda price, good: isinstance(price, str) and float(price) == pytest.approx(float(good), rel=0.05)),
    "bare_numbers": ({}, lambda price, good: isinstance(price, float) and price == pytest.approx(float(good), rel=0.05)),
}
IN_BODY = BITCOIN | {"kraken": "XXBTZUSD"}, ETHEREUM | {"kraken": "XETHZUSD"}


@kind(*VALUES)
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("provider", ALL)
async def test_faults_of_the_price(client, ask, name, provider):
    parameters, holds = VALUES[name]
    bitcoin, ethereum = (ids[provider] for ids in IN_BODY)
    good = prices_in(provider, (await client.get(ALL[provider])).json())
    await ask(name, "*", coins=["BTC"], **parameters)
    bad = prices_in(provider, (await client.get(ALL[provider])).json())
    assert holds(bad[bitcoin], good[bitcoin])
    assert type(bad[ethereum]) is type(good[ethereum])
    assert float(bad[ethereum]) == pytest.approx(float(good[ethereum]), rel=0.05)
    # the request log has the sent values, with NaN as text
    entry = (await entries(client))[-1]
    assert entry["fault"] == name
    assert entry["prices"][BITCOIN[provider]] == ("NaN" if name == "nan" else bad[bitcoin])


@kind("duplicate_keys")
@pytest.mark.parametrize("provider", ALL)
async def test_duplicate_keys(client, ask, provider):
    key = DIALECTS[provider].price_key
    await ask("duplicate_keys", provider, value=7)
    text = (await client.get(ALL[provider])).text
    coins = len(prices_in(provider, json.loads(text)))
    assert text.count(f'"{key}":7,"{key}":') == coins
    assert text.count(f'"{key}":') == 2 * coins
    # most parsers use the last value, which is also in the request log
    entry = (await entries(client))[-1]
    assert entry["prices"][BITCOIN[provider]] == prices_in(provider, json.loads(text))[IN_BODY[0][provider]]


async def test_infinity_is_bare_in_the_body(client, ask):
    await ask("nan", value="-Infinity", coins=["bitcoin"])
    assert '"current_price":-Infinity' in (await client.get(GECKO)).text


@kind("missing_coin", "renamed_coin")
@pytest.mark.parametrize("provider", ALL)
async def test_missing_and_renamed_coins(client, ask, provider):
    bitcoin, ethereum = (ids[provider] for ids in IN_BODY)
    await ask("missing_coin", "*", coins=["bitcoin"])
    await ask("renamed_coin", "*", coins=["ethereum"], suffix="99")
    ids = set(prices_in(provider, (await client.get(ALL[provider])).json()))
    assert not {bitcoin, ethereum} & ids
    assert f"{ethereum}99" in ids
    assert ETHEREUM[provider] + "99" in (await entries(client))[-1]["prices"]


async def test_a_missing_coin_is_not_found_where_it_is_asked_for_alone(client, ask):
    await ask("missing_coin", "*", coins=["bitcoin"])
    for url, status in (
        ("/coinpaprika/v1/tickers/btc-bitcoin", 404),
        ("/coinbase/api/v3/brokerage/market/products/BTC-USD", 404),
        ("/binance/api/v3/ticker/24hr?symbol=BTCUSDT", 400),
    ):
        assert (await client.get(url)).status_code == status


async def test_unreadable_bodies_leave_no_price_in_the_ledger(client, ask):
    for name in ("html_200", "truncated", "wrong_type", "empty", "redirect"):
        fault = await ask(name)
        await client.get(GECKO)
        await client.delete(f"/_market/faults?id={fault['id']}")
    assert [entry["prices"] for entry in await entries(client)] == [{}] * 5


async def test_several_faults_act_together(client, ask):
    await ask("latency", seconds=0.1)
    await ask("null_price", coins=["bitcoin"])
    await ask("html_200", "coinmarketcap")
    assert prices_in("coingecko", (await client.get(GECKO)).json())["bitcoin"] is None
    assert (await entries(client))[-1]["fault"] == "latency+null_price"


def test_every_kind_has_a_test():
    assert set(FAULT_KINDS) == TESTED_KINDS
