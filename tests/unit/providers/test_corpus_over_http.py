"""Every body of the corpus on its whole way: server, fetcher, provider class, raw exchange, and out of that through the parser once more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from actors.fetching.build import build_provider
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.providers.binance import INFO_PATH
from cryptoviz.providers.kraken import PAIRS_PATH
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason, RawExchange
from cryptoviz.settings import load_settings
from tests.support.clock import FakeClock
from tests.support.corpus import IDS, RECEIVED_MS, Case, cases, listing_of
from tests.support.http_server import http_server
from tests.unit.providers.parser_checks import PARSERS, with_pairs

LISTINGS = {INFO_PATH: "binance", PAIRS_PATH: "kraken"}


class Serving:
    case: Case
    url: str

    async def answer(self, request: web.Request) -> web.Response:
        if request.path in LISTINGS:
            return web.json_response(listing_of(LISTINGS[request.path], self.case.pairs))
        response = self.case.response
        return web.Response(status=response.status, body=response.body, headers={"Content-Type": "application/json", **response.headers})


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    found = Serving()
    async with http_server(found.answer) as found.url:
        yield found


def assets_of(provider: str) -> list[Asset]:
    by_id = {asset.asset_id: asset for asset in DEFAULT_ASSETS}
    return [replace(by_id[asset_id], provider_ids={provider: provider_id}) for provider_id, asset_id in IDS[provider].items()]


@pytest.mark.parametrize("provider", PARSERS)
async def test_the_corpus_over_http(provider: str, serving: Serving):
    ids, assets = IDS[provider], assets_of(provider)
    for case in cases(provider):
        serving.case = case
        exchanges: list[RawExchange] = []
        made = build_provider(provider, load_settings(providers={provider: {"base_url": serving.url}}), FakeClock(RECEIVED_MS), exchanges.append)
        result = await made.poll(RECEIVED_MS, assets, 20.0)
        await made.aclose()
        exchanges = [exchange for exchange in exchanges if not any(path in exchange.endpoint for path in LISTINGS)]
        expect = case.expect
        if expect.get("reason") == "missing_asset":
            # An unknown id fails its batch, and the halves down to the single coin: no failure of the whole.
            expect = {"prices": {}, "failures": dict.fromkeys(ids.values(), "missing_asset")}
        if "error" in expect:
            assert (result.failure, result.observations) == (FallbackReason(expect["reason"]), {}), case.name
            assert {exchange.outcome for exchange in exchanges} == {expect["reason"]}, case.name
            continue
        assert result.failure is None, (case.name, result.message)
        assert {asset_id: seen.price for asset_id, seen in result.observations.items()} == expect["prices"], case.name
        assert result.asset_failures == {asset_id: FallbackReason(reason) for asset_id, reason in expect["failures"].items()}, case.name
        # What was recorded says the same once more.
        for exchange in exchanges:
            if exchange.outcome == "ok":
                body = (exchange.body or "").encode()
                parse = with_pairs(PARSERS[provider], case)
                again = parse(HttpResponse(exchange.status or 0, {}, body, exchange.finished_ts), ids)
                assert {seen.asset_id: seen for seen in again.observations} == result.observations, case.name
