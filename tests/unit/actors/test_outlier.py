"""An outlier, from the replay market through providers and settings to the unified record."""

from __future__ import annotations

from typing import Any

import pytest

from actors.collecting.core import rules_of
from actors.collecting.unify import unify
from actors.fetching.build import build_provider
from cryptoviz.clock import SystemClock
from cryptoviz.errors import SettingsError
from cryptoviz.records import UnifiedRecord
from cryptoviz.settings import Settings, load_settings
from market.server import ReplayMarket

ORDER = ("coingecko", "binance", "coinbase", "kraken")


async def records(market: ReplayMarket, **collect: Any) -> tuple[Settings, dict[str, UnifiedRecord]]:
    base_urls = {name: {"base_url": market.base_url(name)} for name in ORDER}
    settings = load_settings(collect={"providers": list(ORDER), **collect}, providers=base_urls)
    results = {}
    for name in ORDER:
        provider = build_provider(name, settings, SystemClock(), lambda _: None)
        results[name] = await provider.poll(0, settings.assets, 20.0)
        await provider.aclose()
    unified = unify(0, settings.assets, rules_of(settings), results, {})
    return settings, {record.asset_id: record for record in unified.records}


@pytest.mark.parametrize(
    ("collect", "provider", "currency"),
    [
        ({}, "coingecko", "USD"),
        ({"replace_outlier_by": "next"}, "binance", "USDT"),
        ({"replace_outlier_by": "next", "usdt_is_usd": False}, "coinbase", "USD"),
        ({"replace_outlier_by": "next", "outlier_bps": 8000}, "coingecko", "USD"),
    ],
)
async def test_an_outlier_is_flagged_and_replaced_if_configured(collect: dict[str, Any], provider: str, currency: str):
    async with ReplayMarket() as market:
        fault = {"provider": "coingecko", "kind": "outlier", "parameters": {"factor": 1.6, "coins": ["solana"]}}
        market.faults.add(fault, market.clock.monotonic_s())
        settings, found = await records(market, **collect)
    assert len(found) == len(settings.assets)
    odd = found.pop("solana")
    assert (odd.provider, odd.quote_currency, odd.disagrees) == (provider, currency, True)
    assert (odd.role, odd.fallback_reason) == (("primary", None) if provider == "coingecko" else ("fallback", "outlier"))
    assert {record.provider for record in found.values()} == {"coingecko"}
    assert not any(record.disagrees for record in found.values())
    # With dollar stablecoins there are three other prices, without them two.
    assert found["bitcoin"].consensus_sources == (3 if collect.get("usdt_is_usd") is False else 4)


@pytest.mark.parametrize("value", ["mean", ""])
def test_an_invalid_replacement_is_refused(value: str):
    with pytest.raises(SettingsError, match="REPLACE_OUTLIER_BY"):
        load_settings(collect={"replace_outlier_by": value})
