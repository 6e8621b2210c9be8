"""Polls that are interrupted, that overlap with a failing one, or whose bodies are broken: one result or none, and each exchange once."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import pickle
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

import pytest
from aiohttp import web

from actors.fetching.build import build_provider
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from cryptoviz.assets import Asset
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.records import FallbackReason, Observation, RawExchange, TickResult
from cryptoviz.settings import ProviderSettings, load_settings
from tests.support.clock import T0, FakeClock
from tests.support.http_server import http_server

JSON = {"Content-Type": "application/json"}
GOOD = b'[{"id":"bitcoin","current_price":2.5}]'
BTC = Asset("bitcoin", "BTC", "Bitcoin", {"coingecko": "bitcoin"})
ETH = Asset("ethereum", "ETH", "Ethereum", {"coingecko": "ethereum"})
BUDGET_S = 60.0


class Gate:
    """A limiter, and a clock, that can be held."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()

    async def acquire(self) -> None:
        self.reached.set()
        await self.open.wait()

    def observe(self, status: int, headers: object) -> None:
        pass


class HeldClock(FakeClock):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    async def sleep(self, seconds: float) -> None:
        await self._gate.acquire()
        await super().sleep(seconds)


class Rig:
    """CoinGecko at a server whose behaviour is `answers`, by number of the request; the last one repeats."""

    def __init__(self) -> None:
        self.answers: list[Callable[[web.Request], Any]] = []
        self.exchanges: list[RawExchange] = []
        self.asked = 0
        self.limiter, self.pause = Gate(), Gate()
        self.provider: BaseProvider | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        response: web.StreamResponse = await self.answers[min(self.asked, len(self.answers)) - 1](request)
        return response

    async def poll(self, *assets: Asset, tick_ts: int = T0, budget_s: float = BUDGET_S) -> TickResult:
        assert self.provider is not None
        return await self.provider.poll(tick_ts, assets or (BTC,), budget_s)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        made = Rig()
        url = await stack.enter_async_context(http_server(made.handle))
        settings = load_settings(providers={"coingecko": {"base_url": url, "timeout_s": 4.0, "max_body_bytes": 100_000}})
        made.provider = build_provider("coingecko", settings, HeldClock(made.pause), made.exchanges.append, made.limiter)
        yield made
        for gate in (made.limiter, made.pause):
            gate.open.set()
        await made.provider.aclose()


def answering(body: bytes, status: int = 200, **headers: str) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=JSON | {name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def stalling(part: bytes | None, reached: asyncio.Event, status: int = 200, **headers: str) -> Callable[[web.Request], Any]:
    """Sends headers and `part`, or nothing at all, and then no more."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=JSON | {name.replace("_", "-"): value for name, value in headers.items()})
        if part is not None:
            await response.prepare(request)
            await response.write(part)
        reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return response

    return answer


@pytest.mark.parametrize("where", ["limiter", "headers", "body", "retry"])
async def test_a_poll_that_is_cancelled_leaves_each_exchange_once_and_nothing_else(rig: Rig, where: str) -> None:
    reached = {"limiter": rig.limiter.reached, "retry": rig.pause.reached}.get(where, asyncio.Event())
    rig.answers = [stalling(None if where == "headers" else GOOD[:20], reached)] if where in ("headers", "body") else [answering(b"{}", 503)]
    {"limiter": rig.limiter, "retry": rig.pause}.get(where, Gate()).open.clear()
    polling = asyncio.create_task(rig.poll())
    await asyncio.wait_for(reached.wait(), 20)
    polling.cancel()
    assert isinstance((await asyncio.gather(polling, return_exceptions=True))[0], asyncio.CancelledError)
    seen = [(exchange.outcome, exchange.attempt, exchange.tick_ts) for exchange in rig.exchanges]
    assert (
        seen
        == {
            "limiter": [],
            "headers": [("timeout", 1, T0)],
            "body": [("timeout", 1, T0)],
            "retry": [("unavailable", 1, T0)],
        }[where]
    )
    for gate in (rig.limiter, rig.pause):
        gate.open.set()
    rig.answers = [answering(GOOD)]
    after = await rig.poll(tick_ts=T0 + 1000)
    assert (after.failure, after.attempt, after.observations["bitcoin"].price) == (None, 1, 2.5)
    assert after.trace is not None
    assert [call.fetch_id for call in after.trace.calls] == [rig.exchanges[-1].fetch_id]
    assert len(rig.exchanges) == len(seen) + 1


async def test_a_poll_whose_time_ends_half_way_through_a_body_records_that_half_once(rig: Rig) -> None:
    rig.answers = [stalling(GOOD[:20], asyncio.Event())]
    result = await rig.poll(budget_s=3.0)
    (exchange,) = rig.exchanges
    assert (result.failure, result.message) == (FallbackReason.TIMEOUT, "coingecko: no answer within the tick's 3.0 s")
    assert (exchange.status, exchange.outcome, exchange.body) == (200, "timeout", GOOD[:20].decode())
    assert result.trace is not None
    assert (result.trace.cut, [call.whole for call in result.trace.calls]) == (True, [False])
    assert result.fetch_id == exchange.fetch_id


async def test_a_cancelled_poll_does_not_touch_one_beside_it(rig: Rig) -> None:
    arrived, reached, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def waiting(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await go.wait()
        response: web.StreamResponse = await answering(GOOD)(request)
        return response

    rig.answers = [waiting, stalling(GOOD[:20], reached)]
    first = asyncio.create_task(rig.poll())
    await asyncio.wait_for(arrived.wait(), 20)
    second = asyncio.create_task(rig.poll(ETH, tick_ts=T0 + 1000))
    await asyncio.wait_for(reached.wait(), 20)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go.set()
    result = await first
    assert (result.failure, result.asset_failures, set(result.observations)) == (None, {}, {"bitcoin"})
    assert result.trace is not None
    assert len(result.trace.calls) == 1
    assert sorted((exchange.tick_ts, exchange.outcome) for exchange in rig.exchanges) == [(T0, "ok"), (T0 + 1000, "timeout")]


async def test_a_result_does_not_change_with_later_polls(rig: Rig) -> None:
    rig.answers = [answering(b"{}", 503), answering(GOOD), answering(b'{"status":{"error_code":429}}', 429)]
    result = await rig.poll(BTC, ETH)
    before = pickle.dumps(result)
    assert (result.attempt, set(result.observations), result.asset_failures) == (2, {"bitcoin"}, {"ethereum": FallbackReason.MISSING_ASSET})
    await rig.poll(ETH)
    assert pickle.dumps(result) == before
    assert [(exchange.attempt, exchange.outcome) for exchange in rig.exchanges] == [(1, "unavailable"), (2, "ok"), (1, "rate_limited")]


REFUSED = {
    "brotli": answering(b"\x0b\x02\x80", 429, Content_Encoding="br", Retry_After="7"),
    "not gzip": answering(b"<html>", 429, Content_Encoding="gzip", Retry_After="7"),
    "truncated gzip": answering(gzip.compress(b'{"a":1}')[:-9], 429, Content_Encoding="gzip", Retry_After="7"),
    "too large": answering(b"x" * 100_001, 429, Retry_After="7"),
}


@pytest.mark.parametrize("how", [*REFUSED, "too slow", "connection lost"])
async def test_a_refusal_whose_body_cannot_be_read_stays_a_refusal(rig: Rig, how: str) -> None:
    async def losing(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429, headers=JSON | {"Retry-After": "7", "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.close()
        return response

    slow = stalling(b"[", asyncio.Event(), 429, Retry_After="7")
    rig.answers = [{**REFUSED, "too slow": slow, "connection lost": losing}[how]]
    result = await rig.poll()
    assert (result.failure, result.retry_after_s, rig.asked) == (FallbackReason.RATE_LIMITED, 7.0, 1)
    assert [(exchange.status, exchange.outcome) for exchange in rig.exchanges] == [(429, "rate_limited")]


CHECKSUM = bytearray(gzip.compress(GOOD))
CHECKSUM[-5] ^= 1
CODED: dict[str, tuple[str, bytes, str | None]] = {
    "gzip": ("gzip", gzip.compress(GOOD), None),
    "deflate": ("deflate", zlib.compress(GOOD), None),
    "without its checksum": ("gzip", gzip.compress(GOOD)[:-8], "the compressed stream is incomplete"),
    "one byte short": ("gzip", gzip.compress(GOOD)[:-1], "the compressed stream is incomplete"),
    "half of its header": ("gzip", gzip.compress(GOOD)[:5], "the compressed stream is incomplete"),
    "wrong checksum": ("gzip", bytes(CHECKSUM), "incorrect data check"),
    "two streams": ("gzip", gzip.compress(GOOD) + gzip.compress(b"  "), "more data behind the end of the compressed stream"),
    "garbage behind": ("deflate", zlib.compress(GOOD) + b"x", "more data behind the end of the compressed stream"),
}


@pytest.mark.parametrize("how", CODED)
async def test_a_compressed_body_is_whole_or_refused(rig: Rig, how: str) -> None:
    encoding, body, wrong = CODED[how]
    rig.answers = [answering(body, Content_Encoding=encoding)]
    result = await rig.poll()
    if wrong is None:
        assert result.observations["bitcoin"].price == 2.5
        assert rig.exchanges[0].body == GOOD.decode()
        return
    assert (result.failure, result.observations) == (FallbackReason.BAD_PAYLOAD, {})
    assert wrong in result.message
    assert [exchange.outcome for exchange in rig.exchanges] == ["bad_payload"]


async def test_endless_data_behind_a_compressed_body_ends_the_poll_at_once(rig: Rig) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON | {"Content-Encoding": "gzip"})
        await response.prepare(request)
        await response.write(gzip.compress(GOOD))
        with suppress(OSError):
            while True:
                await response.write(bytes(65_536))
        return response

    rig.answers = [endless]
    result = await rig.poll()
    assert (result.failure, len(rig.exchanges)) == (FallbackReason.BAD_PAYLOAD, 1)
    assert "more data behind the end of the compressed stream" in result.message


def priced(text: str) -> bytes:
    return f'[{{"id":"bitcoin","current_price":{text}}},{{"id":"ethereum","current_price":4}}]'.encode()


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (priced("NaN"), ""),
        (priced("-Infinity"), ""),
        (priced("1e400"), ""),
        (priced("1" + "0" * 400), ""),
        (priced("01"), ""),
        (b'[{"id":"bitcoin","id":"ethereum","current_price":4}]', ""),
        (b'[{"id":"bitcoin","current_price":4,"current_pric\\u0065":5}]', ""),
        (b"\xef\xbb\xbf" + GOOD, "utf-8"),
        (GOOD.decode().encode("utf-16"), "utf-16"),
        ('[{"id":"bitcoin","name":"\u00e9","current_price":2.5}]'.encode("latin-1"), "iso-8859-1"),
        (GOOD + b"\x00", ""),
        (GOOD + GOOD, ""),
        (b"", ""),
        (b"[" * 2000, ""),
    ],
)
async def test_a_body_that_two_readers_could_read_differently_is_refused_whole(rig: Rig, body: bytes, charset: str) -> None:
    rig.answers = [answering(body, Content_Type=f"application/json; charset={charset}" if charset else "application/json")]
    result = await rig.poll(BTC, ETH)
    assert (result.failure, result.observations, rig.asked) == (FallbackReason.BAD_PAYLOAD, {}, 1)
    (exchange,) = rig.exchanges
    json.loads(exchange.to_json())
    assert exchange.outcome == "bad_payload"


@pytest.mark.parametrize("price", ["0", "-0.0", "1e-400", "-1", "true", '"2.5"', "[2.5]", "{}"])
async def test_a_price_that_is_none_costs_its_coin_only(rig: Rig, price: str) -> None:
    rig.answers = [answering(priced(price))]
    result = await rig.poll(BTC, ETH)
    assert (result.failure, set(result.observations)) == (None, {"ethereum"})
    assert result.asset_failures == {"bitcoin": FallbackReason.BAD_PAYLOAD}


async def test_of_two_attempts_with_several_calls_each_only_the_second_counts() -> None:
    """Binance is called for its listing and for 20 coins a call. The second call of the first attempt fails."""
    exchanges: list[RawExchange] = []
    coins = [Asset(f"coin{number}", f"C{number}", f"Coin {number}", {"binance": f"C{number}USDT"}) for number in range(21)]
    prices = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal prices
        symbols = json.loads(request.query["symbols"])
        if request.path.endswith("exchangeInfo"):
            return web.json_response({"symbols": [{"symbol": symbol, "status": "TRADING", "quoteAsset": "USDT"} for symbol in symbols]})
        prices += 1
        if prices == 2:
            return web.json_response({}, status=503)
        # The first attempt has no price for one of its coins.
        rows = [{"symbol": symbol, "lastPrice": f"{prices}.5", "count": 1, "firstId": 1} for symbol in symbols if (prices, symbol) != (1, "C0USDT")]
        return web.json_response(rows)

    async with http_server(answer) as url:
        provider = build_provider("binance", load_settings(providers={"binance": {"base_url": url}}), FakeClock(), exchanges.append)
        result = await provider.poll(T0, coins, BUDGET_S)
        await provider.aclose()
    assert (result.failure, result.attempt, result.asset_failures) == (None, 2, {})
    # The third call for prices has the first 20 coins, the fourth the last.
    assert {asset_id: seen.price for asset_id, seen in result.observations.items()} == {f"coin{n}": 3.5 if n < 20 else 4.5 for n in range(21)}
    ours = [(exchange.attempt, exchange.outcome) for exchange in exchanges]
    assert ours == [(1, "ok"), (1, "ok"), (1, "unavailable"), (2, "ok"), (2, "ok")]
    assert result.fetch_id == exchanges[4].fetch_id
    assert result.fetch_ids == {f"coin{number}": exchanges[3].fetch_id for number in range(20)}
    assert result.trace is not None
    assert [call.fetch_id for call in result.trace.calls] == [exchange.fetch_id for exchange in exchanges]
    assert provider.ids.left_out == frozenset()


class ThirdParty(BaseProvider):
    """Of another package. `breaks` names its bug."""

    spec: ClassVar[ProviderSpec] = ProviderSpec(name="coingecko", base_url="http://127.0.0.1:1")
    breaks: str = ""
    price: Any = 1.5

    def id_of(self, asset: Asset) -> str | None:
        if self.breaks == "id_of":
            raise KeyError(asset.asset_id)
        return super().id_of(asset)

    def memory(self) -> Any:
        if self.breaks == "memory":
            raise RuntimeError("no memory")
        return super().memory()

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        if self.breaks == "timeout":
            raise TimeoutError("its own")
        if self.breaks == "cancelled":
            waited = asyncio.create_task(asyncio.Event().wait())
            waited.cancel()
            await waited
        rank: Any = "first" if self.breaks == "supply" else 1.0
        return [Observation("bitcoin", "coingecko", "bitcoin", self.price, market_cap=1.0, circulating_supply=rank)]


async def third_party(breaks: str = "", price: Any = 1.5) -> TickResult:
    clock = FakeClock()
    provider = ThirdParty(
        ProviderSettings(), HttpFetcher("coingecko", open_client("http://127.0.0.1:1"), HttpLimits(1, 1), Gate(), clock, lambda _: None), clock
    )
    provider.breaks, provider.price = breaks, price
    try:
        return await provider.poll(T0, [BTC], BUDGET_S)
    finally:
        await provider.aclose()


@pytest.mark.parametrize(
    ("breaks", "error"), [("id_of", "KeyError"), ("memory", "RuntimeError"), ("supply", "TypeError"), ("cancelled", "CancelledError")]
)
async def test_a_bug_anywhere_in_a_third_partys_provider_is_a_failed_poll(breaks: str, error: str) -> None:
    result = await third_party(breaks)
    assert (result.failure, result.message, result.observations) == (FallbackReason.BAD_PAYLOAD, f"coingecko: {error} in its code", {})


async def test_a_third_partys_own_timeout_is_not_the_end_of_the_ticks_time() -> None:
    result = await third_party("timeout")
    assert (result.failure, result.message) == (FallbackReason.TIMEOUT, "coingecko: TimeoutError in its code")
    assert result.trace is not None
    assert not result.trace.cut


@pytest.mark.parametrize("price", [None, "1.5", math.nan, math.inf, 0, -1.0, True, [1.5]])
async def test_a_third_partys_price_that_is_none_is_refused(price: Any) -> None:
    result = await third_party(price=price)
    assert (result.failure, result.observations) == (FallbackReason.BAD_PAYLOAD, {})
    assert result.message == f"coingecko: get_crypto_data returned bitcoin with the price {price!r}, expected a number above 0"
