"""The shape watch, on bodies of every provider's market and on changes made to them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from actors.fetching.build import build_provider
from cryptoviz.clock import SystemClock
from cryptoviz.providers.response import HttpResponse
from cryptoviz.providers.schema_drift import STICKY_POLLS, Findings, Shape, ShapeWatch
from cryptoviz.settings import load_settings
from market.server import ReplayMarket
from tests.support.clock import T0
from tests.support.collection_fakes import seen

PROVIDERS = ("coingecko", "coinmarketcap", "binance", "kraken", "coinpaprika", "coinbase")
SHAPE = Shape(
    lambda data: data if isinstance(data, list) else (),
    used={"id": "s", "price": "n0", "quotes.USD.cap": "n0"},
    other={"note": "s?", "roi": "o0"},
)
COIN: dict[str, Any] = {"id": "a", "price": 1.5, "quotes": {"USD": {"cap": 3}}, "roi": {"times": 2}}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in COIN.items() if name not in names}


def look(*bodies: Any, shape: Shape = SHAPE) -> Findings:
    watch = ShapeWatch("acme", {"/prices": shape})
    for body in bodies:
        watch.see("/v1/prices", HttpResponse(200, {}, orjson.dumps(body), T0))
    return watch.findings


@pytest.mark.parametrize(
    ("body", "message", "degrading"),
    [
        ([COIN], "", False),
        ([COIN | {"note": "x"}], "", False),
        ([COIN | {"price": None}], "", False),
        ([COIN | {"price": 7}], "", False),
        # One coin without a field is that coin's matter.
        ([COIN, without("price")], "", False),
        ([without("price"), without("price")], "shape changed: lost price", True),
        ([without("quotes")], "shape changed: lost quotes.USD.cap", True),
        ([without("roi")], "shape changed: lost roi", False),
        ([COIN | {"price": "1.5"}], "shape changed: price is text", True),
        ([COIN | {"price": "1.5"}, COIN], "", False),
        ([COIN | {"id": None}], "shape changed: id is null", True),
        ([COIN | {"extra": 1}], "shape changed: gained extra", False),
        ([COIN | {"quotes": {"USD": {"cap": 3, "new": 1}}}], "shape changed: gained quotes.USD.new", False),
        ([COIN | {"quotes": [3]}], "shape changed: lost quotes.USD.cap; gained quotes", True),
        ([without("price") | {"cost": 1.5}], "shape changed: lost price; gained cost", True),
        ([COIN | dict.fromkeys("uvwxyz", 1)], "shape changed: gained u, v, w, x and 2 more", False),
        # Nothing to look at says nothing.
        ([], "", False),
        ({"status": "odd"}, "", False),
        ([1, None, "x"], "", False),
    ],
)
def test_fields(body, message, degrading):
    findings = look(body)
    assert (findings.message, findings.degrading) == (message, degrading)


def test_a_state_ends_with_the_first_body_that_is_as_documented():
    assert look([without("price")], [COIN]) == Findings()
    assert look([COIN | {"extra": 1}], [COIN]) == Findings()


def test_bodies_of_one_coin_are_confirmed_by_the_next():
    shape = Shape(SHAPE.entries, SHAPE.used, SHAPE.other, confirm_after=3)
    poor = [without("price") | {"extra": 1}]
    assert look(poor, poor, [COIN], poor, poor, shape=shape).lost == ()
    assert look(poor, poor, poor, shape=shape).lost == ("price",)
    assert look(poor, [COIN], [COIN], shape=shape).gained == ("extra",)
    assert look(poor, [COIN], [COIN], [COIN], shape=shape).gained == ()


def test_other_paths_and_bodies_that_are_no_json_are_left_alone():
    watch = ShapeWatch("acme", {"/prices": SHAPE})
    watch.see("/v1/list", HttpResponse(200, {}, b"[{}]", T0))
    watch.see("/v1/prices", HttpResponse(200, {}, b"<html>", T0))
    assert watch.findings == Findings()


def values(*polls: list[dict[str, Any]]) -> Findings:
    watch = ShapeWatch("acme", {})
    for poll in polls:
        watch.judge([seen(f"coin{number}", **more) for number, more in enumerate(poll)], T0)
    return watch.findings


@pytest.mark.parametrize(
    ("coin", "odd"),
    [
        ({"change_24h_pct": -99.0, "change_7d_pct": 900.0}, ()),
        ({"change_24h_pct": -100.5}, ("changes in percent are out of range",)),
        ({"change_1h_pct": 1e9}, ("changes in percent are out of range",)),
        ({"high_24h": 110.0, "low_24h": 90.0}, ()),
        ({"high_24h": 1.1, "low_24h": 0.9}, ("prices lie outside of their day's range",)),
        ({"high_24h": 90.0, "low_24h": 110.0}, ("prices lie outside of their day's range",)),
        ({"market_cap": 1000.0, "circulating_supply": 10.0}, ()),
        ({"market_cap": 1.0, "circulating_supply": 10.0}, ("market caps do not fit price and supply",)),
        ({"source_ts": T0}, ()),
        ({"source_ts": T0 // 1000}, ("stamps lie before 2009 or ahead of our clock",)),
        ({"source_ts": T0 + 3_600_000}, ()),
        ({"source_ts": T0 + 3_600_001}, ("stamps lie before 2009 or ahead of our clock",)),
    ],
)
def test_values_that_no_market_shows(coin, odd):
    assert values([{"price": 100.0} | coin] * 3).odd == odd
    # Coins that say nothing do not count; half of those that do is not yet the body's fault.
    assert values([{"price": 100.0} | coin, {"price": 100.0}]).odd == odd
    usual = {"change_24h_pct": 1.0, "high_24h": 101.0, "low_24h": 99.0, "market_cap": 500.0, "circulating_supply": 5.0, "source_ts": T0}
    assert values([{"price": 100.0} | coin, {"price": 100.0} | usual]).odd == ()


def test_a_jump_of_most_prices_is_reported_for_some_polls_and_then_the_usual():
    usual, up, down = ([{"price": price}] * 4 for price in (100.0, 191.0, 9.0))
    assert values(usual, [{"price": 150.0}] * 4).odd == ()
    assert values(usual, [{"price": 1e5}, {"price": 1e5}, {"price": 100.0}, {"price": 100.0}]).odd == ()
    for jumped in (up, down):
        assert "jumped" in values(usual, jumped).message
        assert "jumped" in values(usual, *[jumped] * STICKY_POLLS).message
        assert values(usual, *[jumped] * (STICKY_POLLS + 1)).odd == ()
        assert values(usual, jumped, usual).odd == ()
    assert values(usual[:2], up[:2]).odd == ()
    assert values([]).odd == ()


def test_findings_are_counted():
    findings = look([without("price") | {"id": 1, "extra": 1}])
    assert findings.metrics == {"shape_lost_fields": 2.0, "shape_gained_fields": 1.0, "shape_odd_values": 0.0}


async def _findings(market: ReplayMarket, name: str) -> Findings:
    settings = load_settings(providers={name: {"base_url": market.base_url(name)}})
    provider = build_provider(name, settings, SystemClock(), lambda _: None)
    try:
        result = await provider.poll(0, settings.assets, 20.0)
    finally:
        await provider.aclose()
    # A changed shape is reported while prices still come.
    assert len(result.observations) >= 16
    return provider.shape_watch.findings


@pytest.mark.parametrize("name", PROVIDERS)
async def test_the_markets_bodies_are_as_documented(name: str):
    async with ReplayMarket() as market:
        assert await _findings(market, name) == Findings()


@pytest.mark.parametrize(
    ("name", "shape", "message", "degrading"),
    [
        ("binance", "mini", "lost priceChangePercent", True),
        ("coinbase", "exchange_ticker", "lost product_id", True),
        ("coinpaprika", "circulating_supply", "", False),
        ("kraken", "asset_version_1", "", False),
    ],
)
async def test_other_versions_of_a_shape(name: str, shape: str, message: str, degrading: bool):
    async with ReplayMarket() as market:
        market.faults.add({"provider": name, "kind": "shape_version", "parameters": {"shape": shape}}, market.clock.monotonic_s())
        findings = await _findings(market, name)
    assert message in findings.message
    assert findings.degrading is degrading
