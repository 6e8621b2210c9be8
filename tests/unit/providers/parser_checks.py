"""What holds for every parser."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from cryptoviz import errors
from cryptoviz.providers.base import Parsed
from cryptoviz.providers.binance import parse_tickers as parse_binance
from cryptoviz.providers.coinbase import parse_product
from cryptoviz.providers.coingecko import parse_markets
from cryptoviz.providers.coinmarketcap import parse_quotes
from cryptoviz.providers.coinpaprika import parse_tickers as parse_coinpaprika
from cryptoviz.providers.kraken import parse_ticker
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason, Observation
from tests.support.corpus import Case

Parse = Callable[[HttpResponse, Mapping[str, str]], Parsed]
PARSERS: dict[str, Parse] = {
    "coingecko": parse_markets,
    "coinmarketcap": parse_quotes,
    "binance": parse_binance,
    "kraken": parse_ticker,
    "coinpaprika": parse_coinpaprika,
    "coinbase": parse_product,
}
TYPED = (errors.ProviderUnavailable, errors.ProviderRefused, errors.BadPayload)


def with_pairs(parse: Parse, case: Case) -> Parse:
    """The parser with the case's pairs, if it has any."""
    taking_pairs: Callable[..., Parsed] = parse
    return partial(taking_pairs, pairs=case.pairs) if case.pairs else parse


def check_case(parse: Parse, case: Case, ids: Mapping[str, str]) -> None:
    expect = case.expect
    if "error" in expect:
        with pytest.raises(errors.CryptoVizError) as caught:
            parse(case.response, ids)
        assert isinstance(caught.value, errors.ProviderFailure)
        assert type(caught.value).__name__ == expect["error"]
        assert caught.value.reason == FallbackReason(expect["reason"])
        if "retry_after_s" in expect:
            assert caught.value.retry_after_s == expect["retry_after_s"]
        return
    parsed = parse(case.response, ids)
    assert {o.asset_id: o.price for o in parsed.observations} == expect["prices"]
    assert parsed.asset_failures == {asset: FallbackReason(reason) for asset, reason in expect["failures"].items()}
    by_id = {o.asset_id: o for o in parsed.observations}
    for asset, values in expect.get("values", {}).items():
        assert {name: getattr(by_id[asset], name) for name in values} == values


def check_any_body(parse: Parse, response: HttpResponse, ids: Mapping[str, str]) -> None:
    """Records or a typed error; each asset is either priced or failed; no number is made up."""
    try:
        parsed = parse(response, ids)
    except TYPED as error:
        FallbackReason(error.reason)
        return
    assert {o.asset_id for o in parsed.observations} | parsed.asset_failures.keys() == set(ids.values())
    assert not {o.asset_id for o in parsed.observations} & parsed.asset_failures.keys()
    numbers = set(_numbers(json.loads(response.body))) if parsed.observations else set()
    for observation in parsed.observations:
        assert observation.price in numbers
        assert math.isfinite(observation.price)
        assert observation.price > 0
        for field in fields(Observation):
            value = getattr(observation, field.name)
            assert not isinstance(value, float) or math.isfinite(value)


def _numbers(value: Any) -> Iterator[float]:
    """All numbers of a body, also those in text."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float | str):
        with contextlib.suppress(ValueError, OverflowError):
            yield float(value)
