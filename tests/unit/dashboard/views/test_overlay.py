"""The overlay of a chart: which providers' prices, under which names, and what is said to be missing."""

from __future__ import annotations

import pytest

from dashboard.feeds.provider_prices import ObservedPrices
from dashboard.views.overlay import Overlay, overlay_values, with_providers

MINUTE_MS = 60_000
OBSERVED = ObservedPrices(
    MINUTE_MS,
    {("coingecko", "USD"): [(MINUTE_MS, 100.0)], ("binance", "USDT"): [(MINUTE_MS, 101.0)], ("other", "EUR"): [(MINUTE_MS, 90.0)]},
    ("kraken",),
)


@pytest.mark.parametrize(
    ("currency", "mixed", "names"),
    [
        ("USD", True, ["CoinGecko", "Binance (USDT)"]),
        ("USD", False, ["CoinGecko"]),
        ("USDT", True, ["CoinGecko (USD)", "Binance"]),
        ("EUR", True, ["other"]),
    ],
    ids=["dollars", "dollars-apart", "stablecoin", "euro"],
)
def test_prices_are_those_that_the_consensus_compares(currency: str, mixed: bool, names: list[str]) -> None:
    found = with_providers(Overlay(), currency, OBSERVED, mixed=mixed)
    assert list(found.providers) == names
    assert found.missing == ("Kraken",)


@pytest.mark.parametrize(("since_ms", "said"), [(0, None), (MINUTE_MS, MINUTE_MS)], ids=["all", "some"])
def test_the_band_is_around_the_consensus_and_a_shorter_reach_of_providers_is_said(since_ms: int, said: int | None) -> None:
    values = overlay_values(Overlay([(0, 100.0, 200.0), (MINUTE_MS, 101.0, None)], {"Kraken": [(MINUTE_MS, 99.5)]}, (), since_ms))
    assert values == {
        "band": [(0, 100.0, 99.0, 101.0), (MINUTE_MS, 101.0, 101.0, 101.0)],
        "providers": [("Kraken", [(MINUTE_MS, 99.5)])],
        "missing": (),
        "since": said,
    }
