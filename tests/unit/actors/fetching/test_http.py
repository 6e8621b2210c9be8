"""The fetcher against real local servers: the replay market with its faults, and a plain server that shows what arrives."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from actors.fetching.hold_off import MinIntervalLimiter
from actors.fetching.http import MAX_RECORDED_BODY_BYTES, HttpFetcher, HttpLimits, open_client
from cryptoviz.clock import SystemClock
from cryptoviz.errors import BadPayload, CryptoVizError, ProviderFailure, ProviderRefused, ProviderUnavailable
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import bad_payload
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.response import HttpResponse, decode_response
from cryptoviz.records import Call, FallbackReason, RawExchange
from market.server import ReplayMarket
from tests.support.http_server import http_server
from tests.support.log_lines import log_lines
from tests.support.ports import free_port

CANARY = "canary-secret-5f2b"
LIMIT = 64 * 1024
PATIENT_S = 20.0
IMPATIENT_S = 2.0
PATH = "/coins/markets?vs_currency=usd&ids=bitcoin"
SELF_SIGNED = Path(__file__).parents[3] / "data" / "tls" / "self-signed.pem"
MakeFetcher = Callable[..., HttpFetcher]


@pytest.fixture
async def exchanges() -> list[RawExchange]:
    return []


@pytest.fixture
async def make_fetcher(exchanges: list[RawExchange]) -> AsyncIterator[MakeFetcher]:
    made: list[HttpFetcher] = []

    def make(base_url: str = "http://127.0.0.1", timeout_s: float = PATIENT_S, limit: int = LIMIT) -> HttpFetcher:
        clock = SystemClock()
        limits = HttpLimits(timeout_s, limit)
        fetcher = HttpFetcher("coingecko", open_client(base_url), limits, MinIntervalLimiter(0.0, clock), clock, exchanges.append, (CANARY,))
        made.append(fetcher)
        return fetcher

    yield make
    for fetcher in made:
        await fetcher.aclose()


@pytest.fixture
async def market() -> AsyncIterator[ReplayMarket]:
    async with ReplayMarket() as market:
        yield market


def body_of(response: HttpResponse) -> bytes:
    return response.body


async def error_of(fetcher: HttpFetcher, url: str) -> ProviderFailure:
    with pytest.raises(CryptoVizError) as caught:
        await fetcher.get(url, {}, {}, body_of, log=CallLog(1000))
    assert isinstance(caught.value, ProviderFailure)
    return caught.value


def misbehave(market: ReplayMarket, kind: str, **parameters: object) -> str:
    market.faults.add({"provider": "coingecko", "kind": kind, "parameters": parameters}, market.clock.monotonic_s())
    return market.base_url("coingecko") + PATH


@pytest.mark.parametrize(
    ("kind", "parameters", "cls", "reason", "status"),
    [
        ("hang", {}, ProviderUnavailable, FallbackReason.TIMEOUT, None),
        ("slow_loris", {"interval_s": 0.05}, ProviderUnavailable, FallbackReason.TIMEOUT, 200),
        ("reset", {}, ProviderUnavailable, FallbackReason.UNAVAILABLE, None),
        ("truncated", {"how": "connection"}, ProviderUnavailable, FallbackReason.UNAVAILABLE, 200),
        ("huge", {"size_bytes": 50 * 1024 * 1024}, BadPayload, FallbackReason.BAD_PAYLOAD, 200),
        ("gzip_bomb", {}, BadPayload, FallbackReason.BAD_PAYLOAD, 200),
        ("html_200", {}, BadPayload, FallbackReason.BAD_PAYLOAD, 200),
        ("redirect", {}, ProviderUnavailable, FallbackReason.UNAVAILABLE, 302),
    ],
)
async def test_faults_end_in_typed_errors_and_are_recorded(market, make_fetcher, exchanges, kind, parameters, cls, reason, status):
    url = misbehave(market, kind, **parameters)
    timeout_s = IMPATIENT_S if reason is FallbackReason.TIMEOUT else PATIENT_S
    async with asyncio.timeout(60):
        error = await error_of(make_fetcher(timeout_s=timeout_s), url)
    assert (type(error), error.reason) == (cls, reason)
    (exchange,) = exchanges
    assert (exchange.outcome, exchange.status, exchange.error, exchange.tick_ts) == (reason, status, error.message, 1000)
    assert len(exchange.body or "") <= MAX_RECORDED_BODY_BYTES


async def test_the_next_exchange_after_a_fault_is_fine(market, make_fetcher):
    fetcher = make_fetcher(timeout_s=IMPATIENT_S)
    await error_of(fetcher, misbehave(market, "slow_loris", interval_s=0.05))
    market.faults.clear()
    body = await fetcher.get(market.base_url("coingecko") + PATH, {}, {}, body_of)
    assert json.loads(body)[0]["id"] == "bitcoin"


async def test_a_gzip_bomb_does_not_fill_the_memory(market, make_fetcher):
    url = misbehave(market, "gzip_bomb", size_bytes=64 * 1024 * 1024)
    await error_of(make_fetcher(), url)  # the market builds its bomb at the first request
    fetcher = make_fetcher()
    tracemalloc.start()
    try:
        await error_of(fetcher, url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The server's compressed bomb (0.2 MB) and both sides' buffers are in it.
    assert peak < 10 * 1024 * 1024


async def test_no_listener_is_unavailable(make_fetcher, exchanges):
    error = await error_of(make_fetcher(), f"http://127.0.0.1:{free_port()}/")
    assert (type(error), error.reason) == (ProviderUnavailable, FallbackReason.UNAVAILABLE)
    assert (exchanges[0].status, exchanges[0].body) == (None, None)


async def _plain(request: web.Request) -> web.Response:
    kind = request.match_info["kind"]
    if kind == "echo":
        return web.json_response({"url": str(request.url), "headers": dict(request.headers)})
    body, headers, status = {
        "good": (b'{"a":1}', {"X-RateLimit-Remaining": "9", "X-MBX-USED-WEIGHT-1M": "2", "Retry-After": CANARY, "Set-Cookie": "x=1"}, 200),
        "problem": (b"{}", {"Content-Type": "application/problem+json"}, 200),
        "gzip": (gzip.compress(b'{"a":1}'), {"Content-Encoding": "gzip"}, 200),
        "not_gzip": (b'{"a":1}', {"Content-Encoding": "gzip"}, 200),
        "brotli": (b'{"a":1}', {"Content-Encoding": "br"}, 200),
        "exact": (b"x" * LIMIT, {}, 200),
        "one_more": (b"x" * (LIMIT + 1), {}, 200),
        "html503": (b"<html>", {"Content-Type": "text/html", "Retry-After": "9"}, 503),
        "html429": (b"<html>", {"Content-Type": "text/html"}, 429),
        "html403": (b"<html>", {"Content-Type": "text/html"}, 403),
    }[kind]
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"} | headers)


@pytest.fixture
async def plain() -> AsyncIterator[str]:
    async with http_server({"/{kind}": _plain}) as url:
        yield url


async def test_a_good_exchange_is_recorded_without_secrets(plain, make_fetcher, exchanges):
    fetcher = make_fetcher()
    headers = {"x-cg-demo-api-key": CANARY}
    log = CallLog()
    response = await fetcher.get(f"{plain}/echo", {"ids": "a,b", "note": CANARY}, headers, lambda response: response, log=log)
    received = json.loads(response.body)
    assert received["headers"]["x-cg-demo-api-key"] == CANARY
    assert received["headers"]["Accept-Encoding"] == "gzip, deflate"
    (exchange,) = exchanges
    assert (exchange.status, exchange.outcome, exchange.error, exchange.attempt) == (200, "ok", None, 1)
    assert exchange.endpoint == f"{plain}/echo?ids=a%2Cb&note=[removed]"
    assert CANARY not in exchange.to_json().decode()
    assert '"x-cg-demo-api-key": "[removed]"' in (exchange.body or "")
    assert exchange.started_ts <= exchange.finished_ts == response.received_ms
    assert exchange.fetch_id == response.fetch_id
    assert (log.exchanges, log.calls, log.sent) == ([exchange], [Call(1, exchange.fetch_id, whole=True)], True)


async def test_only_rate_limit_headers_are_kept(plain, make_fetcher, exchanges):
    await make_fetcher().get(f"{plain}/good", {}, {}, body_of)
    assert exchanges[0].rate_limit_headers == {"x-ratelimit-remaining": "9", "x-mbx-used-weight-1m": "2", "retry-after": "[removed]"}


@pytest.mark.parametrize("kind", ["good", "gzip"])
async def test_bodies_arrive_decoded(plain, make_fetcher, kind):
    assert await make_fetcher().get(f"{plain}/{kind}", {}, {}, body_of) == b'{"a":1}'


async def test_json_by_structured_suffix_and_a_body_of_exactly_the_limit_pass(plain, make_fetcher):
    fetcher = make_fetcher()
    assert await fetcher.get(f"{plain}/problem", {}, {}, body_of) == b"{}"
    assert len(await fetcher.get(f"{plain}/exact", {}, {}, body_of)) == LIMIT


@pytest.mark.parametrize(
    ("kind", "cls", "reason"),
    [
        ("one_more", BadPayload, FallbackReason.BAD_PAYLOAD),
        ("not_gzip", BadPayload, FallbackReason.BAD_PAYLOAD),
        ("brotli", BadPayload, FallbackReason.BAD_PAYLOAD),
        ("html503", ProviderUnavailable, FallbackReason.UNAVAILABLE),
        ("html429", ProviderUnavailable, FallbackReason.RATE_LIMITED),
        ("html403", ProviderUnavailable, FallbackReason.UNAVAILABLE),
    ],
)
async def test_useless_bodies_are_refused(plain, make_fetcher, kind, cls, reason):
    error = await error_of(make_fetcher(), f"{plain}/{kind}")
    assert (type(error), error.reason) == (cls, reason)
    assert error.retry_after_s == (9.0 if kind == "html503" else None)


async def test_what_the_parser_finds_is_the_recorded_outcome(plain, make_fetcher, exchanges):
    def parse(response: HttpResponse) -> None:
        raise ProviderRefused(f"key {CANARY} refused", provider="coingecko", reason=FallbackReason.AUTH)

    with pytest.raises(ProviderRefused, match=r"key \[removed\] refused"):
        await make_fetcher().get(f"{plain}/good", {}, {}, parse)
    assert (exchanges[0].status, exchanges[0].outcome, exchanges[0].error) == (200, "auth", "key [removed] refused")


async def test_user_information_in_an_address_is_not_recorded(make_fetcher, exchanges):
    await error_of(make_fetcher(), f"http://someone:{CANARY}@127.0.0.1:{free_port()}/x")
    assert "someone" not in exchanges[0].endpoint
    assert CANARY not in exchanges[0].to_json().decode()


async def test_a_certificate_that_nobody_vouches_for_fails_closed(make_fetcher, exchanges):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED)
    async with http_server({"/{kind}": _plain}, context) as url:
        error = await error_of(make_fetcher(), f"{url}/good")
    assert error.reason is FallbackReason.UNAVAILABLE
    assert "CERTIFICATE_VERIFY_FAILED" in error.message
    assert exchanges[0].status is None


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "http://127.0.0.1:99999/"])
async def test_odd_addresses_are_typed_errors(make_fetcher, url):
    error = await error_of(make_fetcher(), url)
    assert error.reason is FallbackReason.UNAVAILABLE


@pytest.mark.parametrize("key", ["CG-abc\r", 'CG-a"b\\c%d', "CG-a\n'b"])
async def test_a_key_that_the_library_refuses_shows_in_no_form(key: str, exchanges: list[RawExchange]):
    clock = SystemClock()
    limits, limiter = HttpLimits(PATIENT_S, LIMIT), MinIntervalLimiter(0.0, clock)
    fetcher = HttpFetcher("coingecko", open_client("http://127.0.0.1"), limits, limiter, clock, exchanges.append, (key,))

    def refuse(response: HttpResponse) -> bytes:
        raise ProviderRefused(f"{key!r} {key.encode()!r} {quote(key)}", provider="coingecko", reason=FallbackReason.AUTH)

    log = CallLog()
    with pytest.raises(CryptoVizError) as caught:
        await fetcher.get(f"http://127.0.0.1:{free_port()}/x", {"key": key}, {"x-cg-demo-api-key": key}, refuse, log=log)
    await fetcher.aclose()
    shown = caught.value.message + repr(vars(caught.value)) + exchanges[0].to_json().decode() + repr(log)
    assert "CG-a" not in shown


CUT = {
    # Where the 200 characters of a message, the 60 of a repeated key or a content type, and the 1 MiB of a recorded body end, a secret has begun.
    "message": [("application/json", json.dumps({"error": "x" * length + CANARY}).encode()) for length in range(150, 210, 4)],
    "repeated": [
        ("application/json", b'{"' + b"k" * length + CANARY.encode() + b'":1,"' + b"k" * length + CANARY.encode() + b'":2}') for length in (44, 52)
    ],
    "type": [("text/" + "h" * length + CANARY, b"{}") for length in (36, 44, 50)],
    "long": [
        ("application/json", json.dumps({"error": "x" * length + CANARY, "more": "y" * MAX_RECORDED_BODY_BYTES}).encode()) for length in (170, 180)
    ],
    "body": [("application/json", b'["' + b"x" * (MAX_RECORDED_BODY_BYTES - length) + CANARY.encode() + b'"]') for length in (8, 12, 20)],
}


@pytest.mark.parametrize("kind", CUT)
async def test_no_part_of_a_key_is_left_where_a_text_is_cut(kind: str, make_fetcher, exchanges):
    served: list[tuple[str, bytes]] = []

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=served[-1][1], headers={"Content-Type": served[-1][0]})

    def parse(response: HttpResponse) -> None:
        data = decode_response("coingecko", response)
        raise bad_payload("coingecko", f"expected coins, received {data.get('error') if isinstance(data, dict) else type(data)}")

    fetcher = make_fetcher(limit=2 * MAX_RECORDED_BODY_BYTES)
    async with http_server(answer) as url:
        for answered in CUT[kind]:
            served.append(answered)
            with pytest.raises(CryptoVizError) as caught:
                await fetcher.get(url, {}, {}, parse)
            shown = caught.value.message + repr(vars(caught.value)) + (exchanges[-1].error or "") + (exchanges[-1].body or "")
            assert CANARY[:4] not in shown


async def test_lines_of_an_exchange_have_its_fetch_id(market: ReplayMarket, make_fetcher: MakeFetcher, exchanges: list[RawExchange]):
    def parse(response: HttpResponse) -> bytes:
        get_logger("parser").info("parsing")
        return response.body

    url = f"{market.base_url('coingecko')}{PATH}&x_key={CANARY}"
    fetcher = make_fetcher()
    with log_lines() as lines:
        await asyncio.gather(*(fetcher.get(url, {}, {}, parse) for _ in range(2)))
        get_logger("parser").info("after")
    fetch_ids = {exchange.fetch_id for exchange in exchanges}
    assert len(fetch_ids) == 2
    for event in ("parsing", "exchange"):
        assert {line["fetch_id"] for line in lines.of(event)} == fetch_ids
    assert {(line["status"], line["outcome"]) for line in lines.of("exchange")} == {(200, "ok")}
    assert all(CANARY not in line["endpoint"] for line in lines.of("exchange"))
    assert "fetch_id" not in lines.of("after")[0]
