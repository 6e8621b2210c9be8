"""Calls of Binance, Kraken, CoinPaprika and Coinbase: pages, unknown ids, one call a coin, the recorded part of long bodies."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest
from aiohttp import web

from actors.fetching.build import build_provider
from actors.fetching.http import MAX_RECORDED_BODY_BYTES
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.clock import Clock
from cryptoviz.errors import SettingsError
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.binance import INFO_PATH
from cryptoviz.providers.coinpaprika import CoinPaprikaProvider, parse_tickers
from cryptoviz.providers.fetcher import Fetcher
from cryptoviz.providers.kraken import PAIRS_PATH
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.symbol_bisect import ASK_AGAIN_S
from cryptoviz.records import FallbackReason, RawExchange, TickResult
from cryptoviz.settings import ProviderSettings, load_settings
from market.server import ReplayMarket
from tests.support.clock import T0, FakeClock
from tests.support.http_server import http_server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BTC, ETH = DEFAULT_ASSETS[0], DEFAULT_ASSETS[1]
BUDGET_S = 30.0


class Server:
    """One local server for a provider, and what was asked of it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.asked: list[web.Request] = []
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._handler(request)
        finally:
            self.at_once -= 1


class Made:
    def __init__(self, provider: BaseProvider, exchanges: list[RawExchange]) -> None:
        self.provider = provider
        self.exchanges = exchanges

    async def poll(self, assets: Any = DEFAULT_ASSETS) -> TickResult:
        return await self.provider.poll(T0, assets, BUDGET_S)

    @property
    def price_calls(self) -> list[RawExchange]:
        """The exchanges without those of the listing, which is read before the first prices."""
        return [exchange for exchange in self.exchanges if not any(path in exchange.endpoint for path in (INFO_PATH, PAIRS_PATH))]


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Made]]:
    made: list[Made] = []

    def build(name: str, url: str, clock: Clock | None = None, **own: Any) -> Made:
        exchanges: list[RawExchange] = []
        settings = load_settings(providers={name: {"base_url": url, **own}})
        made.append(Made(build_provider(name, settings, clock or FakeClock(), exchanges.append), exchanges))
        return made[-1]

    yield build
    for one in made:
        await one.provider.aclose()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[Server]]]:
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> Server:
            server = Server(handler)
            server.url = await stack.enter_async_context(http_server(server.handle))
            return server

        yield start


@pytest.fixture
async def market() -> AsyncIterator[ReplayMarket]:
    async with ReplayMarket() as market:
        yield market


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each text was decoded by either JSON library."""
    found: Counter[bytes] = Counter()

    def counted(loads: Callable[..., Any]) -> Callable[..., Any]:
        def load(text: Any, **options: Any) -> Any:
            found[text.encode() if isinstance(text, str) else bytes(text)] += 1
            return loads(text, **options)

        return load

    monkeypatch.setattr(orjson, "loads", counted(orjson.loads))
    monkeypatch.setattr(json, "loads", counted(json.loads))
    return found


def with_id(asset: Asset, provider: str, provider_id: str) -> Asset:
    return replace(asset, provider_ids=asset.provider_ids | {provider: provider_id})


@pytest.mark.parametrize(
    ("name", "calls", "currency"), [("binance", 1, "USDT"), ("kraken", 1, "USD"), ("coinpaprika", 1, "USD"), ("coinbase", 17, "USD")]
)
async def test_all_coins_of_the_market(make, market, name, calls, currency):
    made = make(name, market.base_url(name))
    result = await made.poll()
    assert result.failure is None
    assert {asset.asset_id for asset in DEFAULT_ASSETS} - result.observations.keys() == ({"vechain"} if name == "kraken" else set())
    assert {observation.quote_currency for observation in result.observations.values()} == {currency}
    assert len(made.price_calls) == calls
    # Each price leads to the exchange that brought it.
    bodies = {exchange.fetch_id: exchange.body or "" for exchange in made.exchanges}
    for asset_id, observation in result.observations.items():
        body = bodies[result.fetch_ids.get(asset_id, result.fetch_id)]
        assert str(observation.price)[:4] in body


@pytest.mark.parametrize("name", ["coingecko", "coinmarketcap", "binance", "kraken", "coinpaprika", "coinbase"])
async def test_each_body_is_decoded_once(make, market, decoded: Counter[bytes], name: str):
    made = make(name, market.base_url(name))
    result = await made.poll()
    assert len(result.observations) >= 16
    bodies = [(exchange.body or "").encode() for exchange in made.exchanges]
    assert len(set(bodies)) == len(bodies)
    assert [decoded[body] for body in bodies] == [1] * len(bodies)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("coingecko", "no-such"), ("coinmarketcap", "99999999"), ("binance", "NOSUCHUSDT"), ("kraken", "NOSUCHUSD"), ("coinpaprika", "no-such"),
        ("coinbase", "NOSUCH-USD"),
    ],
)  # fmt: skip
async def test_one_unknown_id_costs_its_coin_only(make, market, name, wrong):
    clock = FakeClock()
    made = make(name, market.base_url(name), clock)
    assets = [with_id(asset, name, wrong) if asset.asset_id == "solana" else asset for asset in DEFAULT_ASSETS if asset.asset_id != "vechain"]
    for _ in range(2):
        result = await made.poll(assets)
        assert result.failure is None
        assert {asset.asset_id for asset in assets} - result.observations.keys() == {"solana"}
        assert result.asset_failures == {"solana": FallbackReason.MISSING_ASSET}
        assert made.provider.ids.left_out == {wrong}
        assert [problem.provider_id for problem in made.provider.ids.problems] == [wrong]
    if name in ("binance", "kraken"):
        # Found by halving once, then left out for an hour.
        assert len([exchange for exchange in made.exchanges if exchange.outcome != "ok"]) <= 5
        calls = len(made.exchanges)
        await made.poll(assets)
        assert len(made.exchanges) == calls + 1
        clock.ms += ASK_AGAIN_S * 1000 + 1
        await made.poll(assets)
        assert len(made.exchanges) > calls + 2


async def test_only_unknown_ids_are_no_failure_of_the_whole(make, market):
    result = await make("kraken", market.base_url("kraken")).poll([with_id(BTC, "kraken", "NOUSD")])
    assert (result.failure, result.asset_failures) == (None, {"bitcoin": FallbackReason.MISSING_ASSET})


def many(count: int) -> list[Asset]:
    return [Asset(f"coin{number}", f"C{number}", f"Coin {number}", {"binance": f"C{number}USDT"}) for number in range(count)]


def ticker(symbol: str) -> dict[str, Any]:
    return {"symbol": symbol, "lastPrice": "1.5", "count": 1, "firstId": 1}


@pytest.mark.parametrize(("coins", "calls"), [(20, 1), (21, 2), (200, 10), (201, 1)])
async def test_binance_is_asked_by_twenties_and_past_two_hundred_for_all(make, serve, coins, calls):
    async def answer(request: web.Request) -> web.Response:
        symbols = json.loads(request.query["symbols"]) if "symbols" in request.query else [f"C{n}USDT" for n in range(1000)]
        if request.path == INFO_PATH:
            return web.json_response({"symbols": [{"symbol": symbol, "status": "TRADING", "quoteAsset": "USDT"} for symbol in symbols]})
        return web.json_response([ticker(symbol) for symbol in symbols])

    server = await serve(answer)
    result = await make("binance", server.url).poll(many(coins))
    assert len(result.observations) == coins
    prices = [request for request in server.asked if request.path != INFO_PATH]
    assert len(prices) == calls
    assert all(request.query.get("symbols", "[").count(",") < 20 for request in prices)
    # By hundreds, because the address has to stay short.
    assert len(server.asked) - len(prices) == -(-coins // 100)


async def test_of_a_long_list_the_coins_asked_for_are_recorded(make, serve, decoded: Counter[bytes]):
    coins = [{"id": f"x{n}-x", "name": "x" * 200, "quotes": {"USD": {"price": 1.5}}} for n in range(6000)]
    wanted = {"id": "btc-bitcoin", "quotes": {"USD": {"price": 2.5}}}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response([*coins, wanted])

    made = make("coinpaprika", (await serve(answer)).url)
    result = await made.poll([BTC, ETH])
    (exchange,) = made.exchanges
    body = exchange.body or ""
    assert decoded[json.dumps([*coins, wanted]).encode()] == 1
    assert json.loads(body) == [wanted]
    again = parse_tickers(HttpResponse(200, {}, body.encode(), exchange.finished_ts), {"btc-bitcoin": "bitcoin", "eth-ethereum": "ethereum"})
    assert {o.asset_id: o for o in again.observations} == result.observations
    assert again.asset_failures == result.asset_failures


async def test_a_long_body_that_fails_is_recorded_as_it_is(make, serve):
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": "x" * (MAX_RECORDED_BODY_BYTES + 10)})

    made = make("coinpaprika", (await serve(answer)).url)
    assert (await made.poll([BTC, ETH])).failure is FallbackReason.BAD_PAYLOAD
    assert len(made.exchanges[0].body or "") == MAX_RECORDED_BODY_BYTES


async def test_coinpaprika_asks_for_one_coin_by_its_id(make, market):
    made = make("coinpaprika", market.base_url("coinpaprika"))
    assert set((await made.poll([BTC])).observations) == {"bitcoin"}
    assert made.exchanges[0].endpoint.endswith("/v1/tickers/btc-bitcoin")
    assert (await made.poll([])).observations == {}


@pytest.mark.parametrize(
    ("own", "url", "headers"),
    [
        (ProviderSettings(), "https://api.coinpaprika.com", {}),
        (ProviderSettings(api_key="k"), "https://api-pro.coinpaprika.com", {"Authorization": "k"}),
        (ProviderSettings(api_key="k", plan="free"), "https://api.coinpaprika.com", {}),
    ],
)
def test_coinpaprikas_plans(own, url, headers):
    assert CoinPaprikaProvider.spec.root(own) == url
    assert CoinPaprikaProvider(own, cast("Fetcher", None), FakeClock()).auth_headers() == headers


@pytest.mark.parametrize("own", [ProviderSettings(plan="pro"), ProviderSettings(plan="gold")])
def test_coinpaprikas_plan_needs_its_key(own):
    with pytest.raises(SettingsError, match="CRYPTOVIZ_PROVIDERS__COINPAPRIKA__PLAN"):
        CoinPaprikaProvider.spec.root(own)


def product(request: web.Request) -> web.Response:
    name = request.path.rpartition("/")[2]
    return web.json_response({"product_id": name, "price": "2.5", "status": "online"})


async def test_coinbase_is_asked_by_fives(make, serve):
    gate = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if len(server.asked) >= 5:
            gate.set()
        await gate.wait()
        return product(request)

    server = await serve(answer)
    result = await make("coinbase", server.url).poll()
    assert len(result.observations) == 17
    assert (len(server.asked), server.most_at_once) == (17, 5)
    assert len({result.fetch_id, *result.fetch_ids.values()}) == 17


async def test_coinbase_keeps_what_came_before_the_deadline(make, serve):
    async def answer(request: web.Request) -> web.StreamResponse:
        if "SOL" in request.path:
            await asyncio.Event().wait()
        return product(request)

    made = make("coinbase", (await serve(answer)).url, timeout_s=3.0)
    result = await made.poll()
    assert len(result.observations) == 16
    assert (result.failure, result.asset_failures) == (None, {"solana": FallbackReason.TIMEOUT})
    assert [exchange.outcome for exchange in made.exchanges].count("timeout") == 1


async def test_coinbase_that_never_answers_is_one_timeout(make, serve):
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return product(request)

    result = await make("coinbase", (await serve(answer)).url, timeout_s=0.3).poll()
    assert (result.failure, result.observations) == (FallbackReason.TIMEOUT, {})


async def test_coinbase_stops_at_a_refusal_and_reports_it_in_the_next_tick(make, serve):
    async def answer(request: web.Request) -> web.StreamResponse:
        if len(server.asked) > 5:
            return web.json_response({"error": "RESOURCE_EXHAUSTED"}, status=429, headers={"x-ratelimit-reset": "60"})
        return product(request)

    server = await serve(answer)
    clock = FakeClock()
    made = make("coinbase", server.url, clock)
    result = await made.poll()
    asked = len(server.asked)
    assert 1 <= len(result.observations) <= 5
    assert asked < 17
    assert set(result.asset_failures.values()) == {FallbackReason.RATE_LIMITED}
    clock.ms += 20_000
    result = await made.poll()
    assert (result.failure, len(server.asked)) == (FallbackReason.RATE_LIMITED, asked)
    assert result.retry_after_s == pytest.approx(40.0)
    # Reported once; the loop that got the report waits.
    await made.poll()
    assert len(server.asked) > asked


async def test_coinbase_whose_every_coin_is_refused_says_so_at_once(make, serve):
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "PERMISSION_DENIED"}, status=403)

    server = await serve(answer)
    result = await make("coinbase", server.url).poll()
    assert (result.failure, result.observations) == (FallbackReason.AUTH, {})
    assert len(server.asked) <= 5


async def test_the_firewalls_page_is_a_limit_at_binance(make, serve):
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<html>", content_type="text/html")

    result = await make("binance", (await serve(answer)).url).poll([BTC])
    assert result.failure is FallbackReason.RATE_LIMITED
