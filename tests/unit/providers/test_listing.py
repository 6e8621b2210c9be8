"""Providers' own lists: their requests, the status of our ids, and hostile bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.fetching.build import build_provider
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.errors import BadPayload, ProviderRefused, ProviderUnavailable
from cryptoviz.provider_status import IdFault, IdProblem
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.binance import parse_info
from cryptoviz.providers.coinbase import parse_products
from cryptoviz.providers.coingecko import parse_list
from cryptoviz.providers.coinmarketcap import MAP_COINS, MAP_PAGES, CoinMarketCapProvider, parse_map
from cryptoviz.providers.kraken import parse_pairs
from cryptoviz.providers.listing_status import ListingStatus
from cryptoviz.providers.pairs import Entry, match_ids
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason
from cryptoviz.settings import load_settings
from market.server import ReplayMarket
from tests.support.clock import T0, FakeClock
from tests.unit.providers.json_values import JSON, STATUS

TYPED = (ProviderUnavailable, ProviderRefused, BadPayload)


def response(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, orjson.dumps(body), T0)


class Asked:
    """A provider against the market; its lists are fetched as its polls are."""

    def __init__(self, name: str, market: ReplayMarket, **own: Any) -> None:
        settings = load_settings(providers={name: {"base_url": market.base_url(name), **own}})
        self.provider: BaseProvider = build_provider(name, settings, FakeClock(), lambda _: None)
        self.market = market

    async def ask(self, path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], Any]) -> Any:
        provider = self.provider
        return await provider._fetcher.get(f"{provider.base_url}{path}", params, provider.auth_headers(), parse)

    async def listed(self, assets: tuple[Asset, ...] = DEFAULT_ASSETS) -> Mapping[str, str] | None:
        return await self.provider.listed(tuple(self.provider.ids_of(assets)), self.ask)

    def endpoints(self) -> list[str]:
        return [entry["endpoint"] for entry in json.loads(self.market.request_log.page(0, 10_000))["entries"]]


@pytest.fixture
async def asking() -> AsyncIterator[Callable[..., Asked]]:
    made: list[Asked] = []
    async with ReplayMarket() as market:

        def make(name: str, **own: Any) -> Asked:
            made.append(Asked(name, market, **own))
            return made[-1]

        yield make
        for one in made:
            await one.provider.aclose()


def with_ids(provider: str, **ids: str) -> tuple[Asset, ...]:
    return tuple(
        replace(asset, provider_ids=asset.provider_ids | {provider: ids[asset.asset_id]}) if asset.asset_id in ids else asset
        for asset in DEFAULT_ASSETS
    )


@pytest.mark.parametrize(
    ("name", "own", "endpoint"),
    [
        ("coingecko", {}, "/coins/list"),
        ("coingecko", {"api_key": "k"}, "/coins/list"),
        ("coinmarketcap", {}, "/public-api/v1/cryptocurrency/map"),
        ("coinmarketcap", {"api_key": "k"}, "/v1/cryptocurrency/map"),
        ("binance", {}, "/api/v3/exchangeInfo"),
        ("kraken", {}, "/0/public/AssetPairs"),
        ("coinbase", {}, "/api/v3/brokerage/market/products"),
    ],
)
async def test_all_ids_of_the_table_in_one_call(asking, name: str, own: dict[str, Any], endpoint: str):
    asked = asking(name, **own)
    assert await asked.listed() == dict.fromkeys(asked.provider.ids_of(DEFAULT_ASSETS), "")
    assert asked.endpoints() == [endpoint]


@pytest.mark.parametrize(("name", "wrong"), [("binance", "NOSUCHUSDT"), ("kraken", "NOSUCHUSD")])
async def test_an_unknown_id_that_no_poll_has_found_does_not_fail_the_list(asking, name: str, wrong: str):
    """As after a first poll that timed out. A failed list is asked for again only after ten minutes."""
    asked = asking(name)
    assets = with_ids(name, solana=wrong)
    found = await asked.listed(assets)
    assert found == dict.fromkeys(asked.provider.ids_of(assets).keys() - {wrong}, "")


async def test_a_provider_whose_answers_are_its_list_is_not_asked_for_another(asking):
    asked = asking("coinpaprika")
    assert await asked.listed() is None
    assert asked.endpoints() == []


@pytest.mark.parametrize(
    ("name", "wrong", "halted", "word"),
    [
        ("coingecko", "no-such", "matic-network", None),
        ("coinmarketcap", "99999999", "3890", None),
        ("binance", "NOSUCHUSDT", "MATICUSDT", "BREAK"),
        ("kraken", "NOSUCHUSD", "MATICUSD", "cancel_only"),
        ("coinbase", "NOSUCH-USD", "MATIC-USD", None),
    ],
)
async def test_wrong_and_halted_ids_are_reported_with_their_coins(asking, name: str, wrong: str, halted: str, word: str | None):
    asked = asking(name)
    assets = with_ids(name, solana=wrong, polygon=halted)
    # The exchanges' lists fail as a whole for an unknown id, so that what a poll has found is not asked for.
    assert (await asked.provider.poll(T0, assets, 10.0)).failure is None
    found = await asked.listed(assets)
    assert found is not None
    good = asked.provider.ids_of(assets).keys() - {wrong, halted}
    assert {provider_id for provider_id, state in found.items() if state == ""} == good
    assert found.get(halted) == word
    asked.provider.ids.listed(asked.provider.ids_of(assets), {one: found.get(one) for one in asked.provider.ids_of(assets)})
    expected = {
        IdProblem("solana", wrong, IdFault.NOT_LISTED),
        IdProblem("polygon", halted, IdFault.NOT_LISTED if word is None else IdFault.NOT_TRADED, word or ""),
    }
    assert set(asked.provider.ids.problems) == expected


async def test_coinmarketcap_asks_for_further_pages_only_while_an_id_is_missing():
    pages = [range(1, MAP_COINS + 1), range(MAP_COINS + 1, 2 * MAP_COINS + 1), range(10**6, 10**6 + MAP_COINS)]
    provider = CoinMarketCapProvider.__new__(CoinMarketCapProvider)
    provider.settings = load_settings().provider("coinmarketcap")
    starts: list[str] = []

    async def ask(path: str, params: Mapping[str, str], parse: Callable[[HttpResponse], Any]) -> Any:
        starts.append(params["start"])
        rows = [{"id": number, "is_active": 1} for number in pages[len(starts) - 1]]
        return parse(response({"status": {"error_code": "0"}, "data": rows}))

    assert await provider.listed(("1", "1027"), ask) == {"1": "", "1027": ""}
    assert starts == ["1"]
    starts.clear()
    assert await provider.listed(("1", "7000"), ask) == {"1": "", "7000": ""}
    assert starts == ["1", "5001"]
    starts.clear()
    assert await provider.listed(("1", "77"), ask) == {"1": "", "77": ""}
    starts.clear()
    assert await provider.listed(("999999999",), ask) == {}
    assert len(starts) == MAP_PAGES


@pytest.mark.parametrize(
    ("product", "word"),
    [
        ({"status": "online"}, ""),
        ({"status": ""}, ""),
        ({"status": "delisted", "trading_disabled": True}, "delisted"),
        ({"status": "online", "is_disabled": True}, "disabled"),
    ],
)
def test_a_halted_product_of_coinbase(product: dict[str, Any], word: str):
    body = {"products": [{"product_id": "BTC-USD", **product}, {"product_id": 5}, None]}
    assert parse_products(response(body)) == {"BTC-USD": word}


def test_krakens_pairs_by_any_of_their_names():
    result = {
        "XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "quote": "ZUSD", "status": "online"},
        "ETH/USD": {"altname": "ETHUSD", "wsname": "ETH/USD", "quote": "USD", "status": "post_only"},
        "XDGUSD": {"altname": "XDGUSD", "wsname": "XDG/USD", "quote": "ZUSD"},
        "XRPRLUSD": {"altname": "XRPRLUSD", "wsname": "XRP/RLUSD", "quote": "RLUSD", "status": "online"},
        "LTCUSD": 5,
    }
    found = match_ids(("XBTUSD", "ETH/USD", "XDGUSD", "XRPRLUSD", "LTCUSD", "DGUSD"), parse_pairs(response({"error": [], "result": result})))
    assert {one: (entry.pair.key, entry.pair.quote, entry.halted) for one, entry in found.items()} == {
        "XBTUSD": ("XXBTZUSD", "USD", ""),
        "ETH/USD": ("ETH/USD", "USD", "post_only"),
        "XDGUSD": ("XDGUSD", "USD", ""),
        "XRPRLUSD": ("XRPRLUSD", "RLUSD", ""),
    }


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (parse_list, []),
        (parse_list, {"status": {"error_code": 429, "error_message": "slow down"}}),
        (parse_map, {"status": {"error_code": 1006, "error_message": "plan"}}),
        (parse_map, {"status": {"error_code": 0}}),
        (parse_info, {"code": -1121, "msg": "Invalid symbol."}),
        (parse_info, {}),
        (parse_products, {"products": None}),
        (parse_pairs, {"error": ["EQuery:Unknown asset pair"]}),
        (parse_pairs, {"error": []}),
        (parse_pairs, {"error": [], "result": {"XXBTZUSD": {}, "XETHZUSD": [1]}}),
        (parse_info, {"symbols": [1, None, {}]}),
        (parse_products, {"products": [1, None, {}]}),
        (parse_map, {"status": {"error_code": 0}, "data": [1, None, {}]}),
    ],
)
def test_a_body_that_is_no_list_is_a_typed_error(parse: Callable[[HttpResponse], Any], body: Any):
    with pytest.raises(TYPED):
        parse(response(body))


ROW = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "symbol", "product_id"), JSON | st.just("bitcoin")),
        **dict.fromkeys(("status", "is_active", "trading_disabled"), JSON),
    },
)
BODY = JSON | st.lists(ROW, max_size=3) | st.builds(lambda key, rows: {key: rows}, st.sampled_from(["data", "symbols", "products"]), st.lists(ROW))


@given(body=BODY, status=STATUS)
def test_any_body_gives_ids_or_a_typed_error(body: Any, status: int):
    for parse in (parse_list, parse_map, parse_info, parse_products, parse_pairs):
        try:
            found = parse(response(body, status))
        except TYPED as error:
            FallbackReason(error.reason)
            continue
        names = found[0] if isinstance(found, tuple) else found
        assert all(isinstance(name.pair.key if isinstance(name, Entry) else name, str) for name in names)


IDS = {"XBTUSD": "bitcoin", "ETHUSD": "ethereum"}


def test_the_list_and_the_answers_are_one_picture():
    book = ListingStatus()
    assert list(book.problems) == []
    # Before any list: what an answer leaves out is not listed.
    book.answered(IDS, {"ETHUSD"}, {"bitcoin"})
    assert book.problems == (IdProblem("ethereum", "ETHUSD", IdFault.NOT_LISTED),)
    # It is in the list, but not in the answers.
    book.listed(IDS, {"XBTUSD": "", "ETHUSD": ""})
    assert book.problems == (IdProblem("ethereum", "ETHUSD", IdFault.LEFT_OUT),)
    book.answered(IDS, (), {"bitcoin", "ethereum"})
    assert list(book.problems) == []
    # A price says more than an older list that lacks the id.
    book.listed(IDS, {"XBTUSD": None, "ETHUSD": "BREAK"})
    assert book.problems == (IdProblem("ethereum", "ETHUSD", IdFault.NOT_TRADED, "BREAK"),)
    book.answered(IDS, {"XBTUSD"}, {"ethereum"})
    assert IdProblem("bitcoin", "XBTUSD", IdFault.NOT_LISTED) in book.problems
    book.listed(IDS, {"ETHUSD": "\x1b[31m"})
    assert IdProblem("ethereum", "ETHUSD", IdFault.NOT_TRADED, "halted") in book.problems
