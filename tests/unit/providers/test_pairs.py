"""Exchanges' own listings: whose price a result's key is, and what it is quoted in, whatever the names look like."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from actors.fetching.build import build_provider
from cryptoviz.assets import Asset
from cryptoviz.errors import BadPayload, ProviderUnavailable
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.binance import INFO_PATH
from cryptoviz.providers.binance import parse_tickers as parse_binance
from cryptoviz.providers.coinbase import parse_product
from cryptoviz.providers.coinmarketcap import parse_quotes
from cryptoviz.providers.kraken import PAIRS_PATH, parse_pairs, parse_ticker
from cryptoviz.providers.pairs import DOUBT_S, REFRESH_S, RETRY_S, Entry, Pair, PairBook, match_ids
from cryptoviz.providers.registry import spec_of
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason, RawExchange, TickResult
from cryptoviz.settings import load_settings
from tests.support.clock import T0, FakeClock
from tests.support.corpus import RECEIVED_MS
from tests.support.http_server import http_server

PATHS = {"binance": "/api/v3/ticker/24hr", "kraken": "/0/public/Ticker"}


def response(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, orjson.dumps(body), RECEIVED_MS)


def listed(altname: str, wsname: str, quote: str, status: str = "online") -> dict[str, str]:
    return {"altname": altname, "wsname": wsname, "quote": quote, "status": status}


# Keys as Kraken lists them: the prefixes follow no rule. BTNL pairs and RLUSD, PYUSD, EUR stand beside those in dollars.
KRAKEN_LISTING = {
    "XXBTZUSD": listed("XBTUSD", "XBT/USD", "ZUSD"),
    "XETHZUSD": listed("ETHUSD", "ETH/USD", "ZUSD"),
    "XLTCZUSD": listed("LTCUSD", "LTC/USD", "ZUSD"),
    "XXLMZUSD": listed("XLMUSD", "XLM/USD", "ZUSD"),
    "XDGUSD": listed("XDGUSD", "XDG/USD", "ZUSD"),
    "SOLUSD": listed("SOLUSD", "SOL/USD", "ZUSD"),
    "LUSD": listed("LUSD", "L/USD", "ZUSD"),
    "XBTUSDT": listed("XBTUSDT", "XBT/USDT", "USDT"),
    "XRPRLUSD": listed("XRPRLUSD", "XRP/RLUSD", "RLUSD"),
    "XXBTZEUR": listed("XBTEUR", "XBT/EUR", "ZEUR"),
    "AAVEUSD:BTNL": listed("AAVEUSD:BTNL", "AAVE/USD:BTNL", "ZUSD"),
    "AAVEUSD": listed("AAVEUSD", "AAVE/USD", "ZUSD"),
}


def test_krakens_keys_are_the_listings():
    # Each id of the listing is an asset of its own, and its price is the number of its place: none may come by another's.
    names = {key: row["altname"] for key, row in KRAKEN_LISTING.items()}
    ids = {altname: key for key, altname in names.items()}
    entries = parse_pairs(response({"error": [], "result": KRAKEN_LISTING}))
    pairs = {one: entry.pair for one, entry in match_ids(ids, entries).items()}
    body = {"error": [], "result": {key: {"c": [f"{number}.5", "1"]} for number, key in enumerate(KRAKEN_LISTING, start=1)}}
    parsed = parse_ticker(response(body), ids, pairs)
    assert {seen.asset_id: seen.price for seen in parsed.observations} == {key: number + 0.5 for number, key in enumerate(KRAKEN_LISTING, start=1)}
    quotes = {seen.provider_asset_id: seen.quote_currency for seen in parsed.observations}
    assert {quotes.pop(one) for one in ("XBTUSDT", "XRPRLUSD", "XBTEUR")} == {"USDT", "RLUSD", "ZEUR"}
    assert set(quotes.values()) == {"USD"}


def test_an_id_that_names_two_pairs_or_shares_one_has_none():
    swapped = [Entry(Pair("ABUSD", "USD"), frozenset({"CDUSD"})), Entry(Pair("CDUSD", "USD"), frozenset({"ABUSD"}))]
    assert match_ids(["ABUSD", "CDUSD"], swapped) == {}
    one = [Entry(Pair("XXBTZUSD", "USD"), frozenset({"XBTUSD", "XBT/USD"}))]
    assert match_ids(["XBTUSD", "XBT/USD"], one) == {}
    assert list(match_ids(["XBTUSD"], one)) == ["XBTUSD"]


NAME = st.sampled_from(["A", "B", "AB", "BA", "ABB", "XAZB", "USD", "AUSD", "BAUSD", "XAZUSD"])
ROW = st.fixed_dictionaries({"altname": NAME, "wsname": NAME, "quote": st.sampled_from(["ZUSD", "USDT", "EUR", "RLUSD"])})


@given(listing=st.dictionaries(NAME, ROW, min_size=1, max_size=8), ids=st.lists(NAME, unique=True, min_size=1, max_size=5))
def test_whatever_the_names_each_price_is_the_right_one_or_none(listing: dict[str, dict[str, str]], ids: list[str]):
    assets = {one: f"asset-{one}" for one in ids}
    pairs = {one: entry.pair for one, entry in match_ids(ids, parse_pairs(response({"error": [], "result": listing}))).items()}
    prices = {key: float(number) for number, key in enumerate(listing, start=1)}
    parsed = parse_ticker(response({"error": [], "result": {key: {"c": [str(price), "1"]} for key, price in prices.items()}}), assets, pairs)
    for seen in parsed.observations:
        # By hand: the only pair that bears the id as one of its names, and that none of the other ids means.
        (key,) = [key for key, row in listing.items() if seen.provider_asset_id in (key, row["altname"], row["wsname"])]
        assert seen.price == prices[key]
        assert seen.quote_currency == {"ZUSD": "USD"}.get(listing[key]["quote"], listing[key]["quote"])
        assert seen.asset_id == f"asset-{seen.provider_asset_id}"
    assert {seen.asset_id for seen in parsed.observations} | parsed.asset_failures.keys() == set(assets.values())


def test_without_a_listing_only_exact_keys_of_the_asset_table_count():
    ids = {"XBTUSD": "bitcoin", "SOLUSD": "solana", "FOOUSD": "foo"}
    body = {"error": [], "result": {key: {"c": ["1.5", "1"]} for key in ("XXBTZUSD", "SOLUSD", "FOOUSD", "XSOLUSD")}}
    parsed = parse_ticker(response(body), ids)
    assert {seen.asset_id: (seen.price, seen.quote_currency) for seen in parsed.observations} == {"solana": (1.5, "USD")}
    tickers = [{"symbol": symbol, "lastPrice": "1.5", "count": 1} for symbol in ("BTCUSDT", "BTCBUSD", "XBTCUSDT")]
    symbols = {"BTCUSDT": "bitcoin", "BTCBUSD": "bitcoin-b", "XBTCUSDT": "other"}
    seen_of = {seen.asset_id: seen.quote_currency for seen in parse_binance(response(tickers), symbols).observations}
    assert seen_of == {"bitcoin": "USDT"}


@pytest.mark.parametrize(
    ("provider", "one", "quote"),
    [
        ("binance", "BTCUSDT", "USDT"),
        ("binance", "MATICUSDT", "USDT"),
        ("binance", "BTCBUSD", None),
        ("kraken", "XBTUSD", "USD"),
        ("kraken", "BTCUSDT", None),
        ("coinbase", "BTC-USD", "USD"),
        ("coinbase", "BTC-USDC", None),
        ("coingecko", "bitcoin", None),
    ],
)
def test_what_the_asset_table_knows(provider: str, one: str, quote: str | None):
    assert spec_of(provider).quote_of(one) == quote


class Exchange:
    """A server for Binance or Kraken whose listing and prices a test sets; it records the requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.listing: dict[str, Any] = {}
        self.refuse_listing: int | None = None
        self.prices: dict[str, str] = {}
        self.asked: list[str] = []
        self.exchanges: list[RawExchange] = []
        self.clock = FakeClock()
        self.url = ""
        self.provider: BaseProvider

    def begin(self) -> None:
        self.provider = build_provider(self.name, load_settings(providers={self.name: {"base_url": self.url}}), self.clock, self.exchanges.append)

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.asked.append(path)
        if path in (INFO_PATH, PAIRS_PATH):
            if self.refuse_listing is not None:
                return web.json_response({"error": ["EService:Unavailable"]}, status=self.refuse_listing)
            return self._listing(request)
        if self.name == "kraken":
            wanted = request.query["pair"].split(",")
            keys = [key for key, row in self.listing.items() if {key, row.get("altname"), row.get("alias")} & set(wanted)]
            return web.json_response({"error": [], "result": {key: {"c": [self.prices[key], "1"]} for key in keys if key in self.prices}})
        symbols = json.loads(request.query["symbols"])
        return web.json_response([{"symbol": one, "lastPrice": self.prices[one], "count": 1} for one in symbols if one in self.prices])

    def _listing(self, request: web.Request) -> web.Response:
        if self.name == "kraken":
            wanted = set(request.query["pair"].split(","))
            rows = {key: row for key, row in self.listing.items() if {key, row.get("altname"), row.get("alias")} & wanted}
            if not rows or len(rows) < len(wanted):
                return web.json_response({"error": ["EQuery:Unknown asset pair"]})
            return web.json_response({"error": [], "result": rows})
        symbols = json.loads(request.query["symbols"])
        if any(one not in self.listing for one in symbols):
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return web.json_response({"symbols": [{"symbol": one, **self.listing[one]} for one in symbols]})

    async def poll(self, ids: Mapping[str, str]) -> TickResult:
        assets = [Asset(asset_id, asset_id.upper(), asset_id, {self.name: one}) for one, asset_id in ids.items()]
        return await self.provider.poll(T0, assets, 30.0)


@pytest.fixture
async def exchange(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    made = Exchange(request.param)
    async with http_server(made.answer) as made.url:
        made.begin()
        yield made
        await made.provider.aclose()


def priced(result: TickResult) -> dict[str, tuple[float, str]]:
    return {asset_id: (seen.price, seen.quote_currency) for asset_id, seen in result.observations.items()}


@pytest.mark.parametrize("exchange", ["binance"], indirect=True)
async def test_binances_currency_is_the_listings_quote_asset(exchange: Exchange):
    quotes = {
        "BTCUSDT": "USDT", "BTCBUSD": "BUSD", "BTCAUSD": "AUSD", "XRPRLUSD": "RLUSD", "BTCFDUSD": "FDUSD", "BTCTUSD": "TUSD", "BTCUSDC": "USDC",
        "BTCTRY": "TRY", "BTCEUR": "EUR", "EURUSD": "SOMETHINGUSD",
    }  # fmt: skip
    exchange.listing = {one: {"status": "TRADING", "quoteAsset": quote} for one, quote in quotes.items()}
    exchange.prices = {one: f"{number}.5" for number, one in enumerate(quotes)}
    result = await exchange.poll({one: one.lower() for one in quotes})
    dollars = {one: quote for one, quote in quotes.items() if quote not in ("TRY", "EUR", "SOMETHINGUSD")}
    assert priced(result) == {one.lower(): (list(quotes).index(one) + 0.5, quote) for one, quote in dollars.items()}
    assert "BTCEUR is quoted in EUR" in exchange.provider.note
    assert result.asset_failures == dict.fromkeys(("btctry", "btceur", "eurusd"), FallbackReason.MISSING_ASSET)


@pytest.mark.parametrize("exchange", ["kraken"], indirect=True)
async def test_krakens_alias_is_looked_up_alone(exchange: Exchange):
    # `DOGEUSD` is answered under `XDGUSD`, whose names in the listing do not hold it.
    exchange.listing = {"XDGUSD": {**listed("XDGUSD", "XDG/USD", "ZUSD"), "alias": "DOGEUSD"}, "XXBTZUSD": listed("XBTUSD", "XBT/USD", "ZUSD")}
    exchange.prices = {"XDGUSD": "0.25", "XXBTZUSD": "62750.1"}
    assert priced(await exchange.poll({"DOGEUSD": "dogecoin", "XBTUSD": "bitcoin"})) == {"dogecoin": (0.25, "USD"), "bitcoin": (62750.1, "USD")}
    # Two coins that mean the same pair: nothing says whose price it is.
    await exchange.provider.aclose()
    exchange.begin()
    assert priced(await exchange.poll({"DOGEUSD": "dogecoin", "XDGUSD": "other"})) == {}


@pytest.mark.parametrize("exchange", ["kraken"], indirect=True)
async def test_a_start_without_the_listing_guesses_nothing_and_tries_again(exchange: Exchange):
    exchange.listing = {key: KRAKEN_LISTING[key] for key in ("XXBTZUSD", "SOLUSD", "XDGUSD")}
    exchange.prices = {"XXBTZUSD": "62750.1", "SOLUSD": "150.5", "XDGUSD": "0.25"}
    exchange.refuse_listing = 503
    ids = {"XBTUSD": "bitcoin", "SOLUSD": "solana", "XDGUSD": "dogecoin"}
    result = await exchange.poll(ids)
    assert priced(result) == {"solana": (150.5, "USD")}
    assert result.asset_failures == {"bitcoin": FallbackReason.MISSING_ASSET, "dogecoin": FallbackReason.MISSING_ASSET}
    assert "list of pairs cannot be read" in exchange.provider.note
    # Nobody knows yet that they are not listed.
    assert exchange.provider.ids.left_out == frozenset()
    # Not at every tick, but soon.
    exchange.asked.clear()
    await exchange.poll(ids)
    assert exchange.asked == [PATHS["kraken"]]
    exchange.refuse_listing = None
    exchange.clock.ms += RETRY_S * 1000
    assert priced(await exchange.poll(ids)) == {"bitcoin": (62750.1, "USD"), "solana": (150.5, "USD"), "dogecoin": (0.25, "USD")}
    assert exchange.provider.note == ""
    exchange.asked.clear()
    await exchange.poll(ids)
    assert exchange.asked == [PATHS["kraken"]]


@pytest.mark.parametrize("exchange", ["kraken"], indirect=True)
async def test_a_refusal_of_the_listing_binds_the_poll(exchange: Exchange):
    exchange.refuse_listing = 429
    result = await exchange.poll({"SOLUSD": "solana"})
    assert (result.failure, exchange.asked) == (FallbackReason.RATE_LIMITED, [PAIRS_PATH])


@pytest.mark.parametrize("exchange", ["kraken"], indirect=True)
async def test_keys_that_change_are_learned(exchange: Exchange):
    exchange.listing, exchange.prices = {"XXBTZUSD": KRAKEN_LISTING["XXBTZUSD"]}, {"XXBTZUSD": "1.5", "BTC/USD": "2.5"}
    assert priced(await exchange.poll({"XBTUSD": "bitcoin"})) == {"bitcoin": (1.5, "USD")}
    exchange.listing = {"BTC/USD": listed("XBTUSD", "XBT/USD", "USD")}
    exchange.clock.ms += 60_000
    assert (await exchange.poll({"XBTUSD": "bitcoin"})).asset_failures == {"bitcoin": FallbackReason.MISSING_ASSET}
    exchange.clock.ms += DOUBT_S * 1000
    assert priced(await exchange.poll({"XBTUSD": "bitcoin"})) == {"bitcoin": (2.5, "USD")}
    exchange.asked.clear()
    exchange.clock.ms += REFRESH_S * 1000
    await exchange.poll({"XBTUSD": "bitcoin"})
    assert exchange.asked == [PAIRS_PATH, PATHS["kraken"]]


async def test_a_book_forgets_ids_that_are_no_longer_asked_for():
    clock = FakeClock()
    book = PairBook("kraken", spec_of("kraken").quote_of, clock)

    async def read(ids: Mapping[str, str]) -> Mapping[str, Pair]:
        return {one: Pair(f"X{one}", "USD") for one in ids if one != "GONE"}

    for number in range(50):
        await book.refresh({f"C{number}": "coin", "GONE": "gone"}, read)
    assert len(book.memory()["pairs"]) == 1
    assert book.memory()["absent"] == ["GONE"]


async def test_a_recalled_book_knows_the_same_and_reads_when_the_first_did():
    clock, ids, reads = FakeClock(), {"XBTUSD": "bitcoin"}, list[int]()

    async def read(wanted: Mapping[str, str]) -> Mapping[str, Pair]:
        reads.append(len(wanted))
        return {one: Pair(f"X{one}", "USD") for one in wanted}

    first, other = PairBook("kraken", spec_of("kraken").quote_of, clock), PairBook("kraken", spec_of("kraken").quote_of, clock)
    for expected in (1, 1, 0, 0):
        other.recall(json.loads(json.dumps(first.memory())))
        await (other if expected and len(reads) else first).refresh(ids, read)
        assert (other if len(reads) > 1 else first).pairs(ids) == {"XBTUSD": Pair("XXBTUSD", "USD")}


def test_a_product_of_coinbase_says_what_it_is_quoted_in():
    def quoted(**more: Any) -> dict[str, str]:
        body = {"product_id": "BTC-USDC", "price": "1.5", "status": "online", **more}
        return {seen.asset_id: seen.quote_currency for seen in parse_product(response(body), {"BTC-USDC": "bitcoin"}).observations}

    assert quoted(quote_currency_id="USDC") == {"bitcoin": "USDC"}
    assert quoted(quote_currency_id="EUR") == {}
    assert quoted(quote_currency_id=5) == {}
    assert quoted() == {}
    default = parse_product(response({"product_id": "BTC-USD", "price": "1.5"}), {"BTC-USD": "bitcoin"})
    assert [seen.quote_currency for seen in default.observations] == ["USD"]


def test_coinmarketcaps_dollar_is_its_id_because_symbols_are_not_unique():
    def price(*quotes: dict[str, Any]) -> list[float]:
        body = {"status": {"error_code": 0}, "data": [{"id": 1, "quote": list(quotes)}]}
        return [seen.price for seen in parse_quotes(response(body), {"1": "bitcoin"}).observations]

    assert price({"id": 99, "symbol": "USD", "price": 7.0}, {"id": 2781, "symbol": "USD", "price": 2.5}) == [2.5]
    assert price({"id": 2781, "price": 2.5}) == [2.5]
    assert price({"symbol": "USD", "price": 2.5}) == [2.5]
    assert price({"id": 2790, "symbol": "USD", "price": 7.0}) == []
    assert price({"symbol": "USD", "price": 2.5}, {"symbol": "USD", "price": 3.5}) == []


@pytest.mark.parametrize("error", [ProviderUnavailable, BadPayload])
def test_errors_of_the_listing_are_typed(error: type[Exception]):
    body = {"error": ["EService:Busy"]} if error is ProviderUnavailable else [1]
    with pytest.raises(error):
        parse_pairs(response(body))
