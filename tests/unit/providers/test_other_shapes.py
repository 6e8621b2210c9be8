"""Bodies that are strict JSON and not what a provider documents: a bad payload as a whole, never seventeen missing coins; and firewalls' pages."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.errors import BadPayload, CryptoVizError, ProviderFailure
from cryptoviz.providers.coingecko import parse_markets
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason
from tests.support.corpus import IDS, RECEIVED_MS
from tests.unit.providers.parser_checks import PARSERS

# Entries that are none of the records: other kinds, nothing, and records of another endpoint.
OTHER_ENTRIES = [1, 0.5, None, "bitcoin", True, [], {}, ["bitcoin", 62750.1], {"name": "Bitcoin"}, {"pair": "XBTUSD", "volume": "1"}]
BARE = {"id": "bitcoin", "symbol": "BTCUSDT"}
"""An id without a price: a list of coins, not of prices."""


def bodies(provider: str, entry: Any) -> list[Any]:
    """The entry wherever the provider's records stand."""
    many = [entry] * 17
    by_id = {str(number): entry for number in range(17)}
    if provider == "coinmarketcap":
        status = {"error_code": "0", "error_message": None}
        # An empty array for a symbol is how version 2 says that it does not know it.
        return [{"status": status, "data": many}, *([{"status": status, "data": by_id}] if entry != [] else [])]
    if provider == "kraken":
        return [{"error": [], "result": by_id}, {"error": [], "result": many}]
    if provider == "coinbase":
        return [many, entry, {"products": many}]
    return [many]


def response(body: Any, status: int = 200) -> HttpResponse:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, {"content-type": "application/json"}, content, RECEIVED_MS)


@pytest.mark.parametrize("entry", [*OTHER_ENTRIES, BARE], ids=repr)
@pytest.mark.parametrize("provider", PARSERS)
def test_entries_of_another_shape_are_a_bad_payload(provider: str, entry: Any):
    for body in bodies(provider, entry):
        with pytest.raises(BadPayload):
            PARSERS[provider](response(body), IDS[provider])


@pytest.mark.parametrize("provider", [name for name in PARSERS if name != "coinbase"])
@given(entries=st.lists(st.sampled_from(OTHER_ENTRIES), min_size=1, max_size=20))
def test_a_mixture_of_them_too(provider: str, entries: list[Any]):
    body: Any = entries
    if provider == "coinmarketcap":
        body = {"status": {"error_code": 0}, "data": entries}
    if provider == "kraken":
        body = {"error": [], "result": {str(number): entry for number, entry in enumerate(entries)}}
    with pytest.raises(BadPayload):
        PARSERS[provider](response(body), IDS[provider])


def test_a_good_record_among_others_counts():
    coin = {"id": "bitcoin", "current_price": 62750.1}
    parsed = parse_markets(response([None, 5, coin, {}]), IDS["coingecko"])
    assert [(seen.asset_id, seen.price) for seen in parsed.observations] == [("bitcoin", 62750.1)]


# What a page in front of the API means: nothing of a key. Binance documents 403 as its firewall's rate limit.
PAGE_REASONS = {name: FallbackReason.RATE_LIMITED if name == "binance" else FallbackReason.UNAVAILABLE for name in PARSERS}


@pytest.mark.parametrize("provider", PARSERS)
def test_a_firewalls_page_says_nothing_of_a_key(provider: str):
    for page in (b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>", b"", b"error code: 1020", b"{broken"):
        with pytest.raises(CryptoVizError) as caught:
            PARSERS[provider](response(page, 403), IDS[provider])
        assert isinstance(caught.value, ProviderFailure)
        assert caught.value.reason is PAGE_REASONS[provider]
