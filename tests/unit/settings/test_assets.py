"""Names and ids of assets and providers that cannot be used: each is refused when settings are read. Whole messages are compared."""

# ruff: noqa: E501, ISC004 (whole messages, each on its line)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.audit import RECORDER
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS
from cryptoviz.settings import load_settings
from cryptoviz.settings.check_assets import normal_id
from tests.support.settings import forget_settings, refused

ALL = "coingecko, coinmarketcap, binance, kraken, coinpaprika, coinbase"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def coin(**more: Any) -> dict[str, Any]:
    return {"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"coingecko": "dogecoin"}} | more


ASSETS = "CRYPTOVIZ_EXTRA_ASSETS"
OWN_ID = "valid is an id of its own for each asset"
OWN_NAME = "valid is a name of its own"


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        # Different spellings of a pair of the table: with the slash of `wsname`, as a key, with Kraken's other currency code, in lower case.
        ([coin(provider_ids={"kraken": "XBT/USD"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'XBT/USD' at kraken, which is also spelt 'XBTUSD': {OWN_ID}"),
        ([coin(provider_ids={"kraken": "XXBTZUSD"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'XXBTZUSD' at kraken, which is also spelt 'XBTUSD': {OWN_ID}"),
        ([coin(provider_ids={"kraken": "BTCUSD"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'BTCUSD' at kraken, which is also spelt 'XBTUSD': {OWN_ID}"),
        ([coin(provider_ids={"kraken": "eth/usd"})], f"assets 'ethereum' and 'dogecoin' both have the id 'eth/usd' at kraken, which is also spelt 'ETHUSD': {OWN_ID}"),
        (
            [coin(provider_ids={"kraken": "XDG/USD"}), coin(asset_id="doge2", symbol="DOGE2", provider_ids={"kraken": "DOGEUSD"})],
            f"assets 'dogecoin' and 'doge2' both have the id 'DOGEUSD' at kraken, which is also spelt 'XDG/USD': {OWN_ID}",
        ),
        ([coin(provider_ids={"binance": "btcusdt"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'btcusdt' at binance, which is also spelt 'BTCUSDT': {OWN_ID}"),
        ([coin(provider_ids={"coinbase": "btc-usd"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'btc-usd' at coinbase, which is also spelt 'BTC-USD': {OWN_ID}"),
        ([coin(provider_ids={"coinmarketcap": "01"})], f"assets 'bitcoin' and 'dogecoin' both have the id '01' at coinmarketcap, which is also spelt '1': {OWN_ID}"),
        ([coin(provider_ids={"coingecko": "Bitcoin"})], f"assets 'bitcoin' and 'dogecoin' both have the id 'Bitcoin' at coingecko, which is also spelt 'bitcoin': {OWN_ID}"),
        ([coin(provider_ids={"coinpaprika": "BTC-bitcoin"})], "assets 'bitcoin' and 'dogecoin' both have the id 'BTC-bitcoin' at coinpaprika"),
        # Former ids and names of a renamed asset.
        ([coin(provider_ids={"binance": "MATICUSDT"})], f"the id 'MATICUSDT' of 'dogecoin' at binance is that of 'matic', an older name of 'polygon': {OWN_ID}"),
        ([coin(provider_ids={"kraken": "MATIC/USD"})], "the id 'MATIC/USD' of 'dogecoin' at kraken is that of 'matic'"),
        ([coin(asset_id="matic")], f"the asset_id 'matic' of 'matic' is an older name of 'polygon': {OWN_NAME}"),
        ([coin(asset_id="Matic-Network")], f"the asset_id 'Matic-Network' of 'Matic-Network' is an older name of 'polygon': {OWN_NAME}"),
        ([coin(symbol="MATIC")], f"the symbol 'MATIC' of 'dogecoin' is an older name of 'polygon': {OWN_NAME}"),
        # A name equal to a provider's id of another asset.
        ([coin(asset_id="xbtusd")], f"the asset_id 'xbtusd' of 'xbtusd' is the id of 'bitcoin' at kraken: {OWN_NAME}"),
        ([coin(asset_id="avalanche-2")], f"the asset_id 'avalanche-2' of 'avalanche-2' is the id of 'avalanche' at coingecko: {OWN_NAME}"),
        ([coin(symbol="BTC-USD")], f"the symbol 'BTC-USD' of 'dogecoin' is the id of 'bitcoin' at coinbase: {OWN_NAME}"),
        ([coin(), coin(asset_id="x", symbol="X", provider_ids={"coingecko": "doge"})], f"the symbol 'DOGE' of 'dogecoin' is the id of 'x' at coingecko: {OWN_NAME}"),
        # Ids that cannot be part of a request.
        ([coin(provider_ids={"coinmarketcap": "dogecoin"})], "the id of 'dogecoin' at coinmarketcap is 'dogecoin': valid is CoinMarketCap's number of the coin, such as '74'"),
        ([coin(provider_ids={"coingecko": "a,b"})], "the id of 'dogecoin' at coingecko is 'a,b': valid is one id, without a comma, of up to 100 characters"),
        ([coin(provider_ids={})], "'dogecoin' has no provider_ids, so that no provider can be polled for it: valid is at least one"),
    ],
)  # fmt: skip
def test_ambiguous_names_and_ids_of_assets_are_refused(assets: list[dict[str, Any]], message: str) -> None:
    error = refused(extra_assets=assets)
    assert error.message.startswith(f"{ASSETS}: {message}")
    assert error.setting == ASSETS


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        (
            [coin(), coin(asset_id="other", symbl="O")],
            f"{ASSETS}, entry 2 has a field 'symbl', which is unknown (did you mean symbol?): valid are asset_id, symbol, name, provider_ids",
        ),
        ([coin(extra=1)], f"{ASSETS}, entry 1 has a field 'extra', which is unknown: valid are asset_id, symbol, name, provider_ids"),
        (
            [{"asset_id": "a", "symbol": "A", "provider_ids": {}}],
            f"{ASSETS}, entry 1 lacks name: valid are entries with asset_id, symbol and name, and provider_ids",
        ),
        ([coin(symbol=7)], f"{ASSETS}, entry 1: symbol is 7: Input should be a valid string"),
        (
            [coin(provider_ids={"coingeko": "dogecoin"})],
            f"{ASSETS} ('dogecoin', provider_ids) names 'coingeko', which is not a provider (did you mean coingecko?): valid are {ALL}",
        ),
    ],
)
def test_errors_of_assets_contain_entry_and_field(assets: list[dict[str, Any]], message: str) -> None:
    assert refused(extra_assets=assets).message == message


def test_an_asset_may_use_its_former_id_and_a_pair_with_a_slash() -> None:
    polygon = coin(asset_id="polygon", symbol="POL", name="Polygon", provider_ids={"binance": "MATICUSDT", "kraken": "POL/USD"})
    assert {asset.asset_id: asset for asset in load_settings(extra_assets=[polygon]).assets}["polygon"].provider_ids["binance"] == "MATICUSDT"


def test_assets_of_the_table_are_distinct_after_normalization() -> None:
    ids = [(name, normal_id(name, one)) for asset in DEFAULT_ASSETS for name, one in asset.provider_ids.items()]
    assert len(ids) == len(set(ids)) == 101


def test_unknown_and_ambiguous_names_to_collect() -> None:
    error = refused(crypto_list=("BTC", "bitcoinn"))
    assert error.message.startswith("CRYPTOVIZ_CRYPTO_LIST: unknown asset 'bitcoinn' (did you mean bitcoin")
    assert error.setting == "CRYPTOVIZ_CRYPTO_LIST"
    both = [coin(provider_ids={"binance": "LUNAUSD"}), coin(asset_id="luna", symbol="LUNA", provider_ids={"kraken": "LUNAUSD"})]
    assert len(load_settings(extra_assets=both).assets) == 19
    assert refused(extra_assets=both, crypto_list=("lunausd",)).message == (
        "CRYPTOVIZ_CRYPTO_LIST names 'lunausd', which is an id of 'dogecoin' and of 'luna': valid is the asset's own id"
    )


PROVIDERS, HISTORY = "CRYPTOVIZ_COLLECT__PROVIDERS", "CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS"
NEEDS_KEY = "which needs a key: set CRYPTOVIZ_PROVIDERS__"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"collect": {"providers": []}}, f"{PROVIDERS} is empty: valid is at least one of {ALL}"),
        ({"collect": {"history_providers": []}}, f"{HISTORY} is empty: valid is at least one of coingecko, binance, kraken"),
        (
            {"collect": {"providers": ["kraken", "kraken"]}},
            f"{PROVIDERS} names 'kraken' more than once: valid is each provider once, in order of preference",
        ),
        ({"collect": {"providers": ["krakn"]}}, f"{PROVIDERS} names 'krakn', which is not a provider (did you mean kraken?): valid are {ALL}"),
        (
            {"collect": {"history_providers": ["coinbase"]}},
            f"{HISTORY} names 'coinbase', which has no price history for a backfill: valid are coingecko, binance, kraken",
        ),
        (
            {"collect": {"providers": ["kraken", "binance"]}, "providers": {"kraken": {"enabled": False}, "binance": {"enabled": False}}},
            f"{PROVIDERS} names kraken, binance, and all of them are disabled (CRYPTOVIZ_PROVIDERS__KRAKEN__ENABLED, "
            "CRYPTOVIZ_PROVIDERS__BINANCE__ENABLED): valid is at least one enabled provider",
        ),
        (
            {"market": {"limits": {"binanse": {}}}},
            f"CRYPTOVIZ_MARKET__LIMITS names 'binanse', which is not a provider (did you mean binance?): valid are {ALL}",
        ),
        (
            {"providers": {"coingecko": {"plan": "gold"}}},
            "CRYPTOVIZ_PROVIDERS__COINGECKO__PLAN is 'gold': valid are keyless, demo, pro",
        ),
        (
            {"providers": {"coinmarketcap": {"plan": "key", "api_key": "canary-77"}}},
            "CRYPTOVIZ_PROVIDERS__COINMARKETCAP__PLAN is 'key' (did you mean keyed?): valid are keyless, keyed",
        ),
        (
            {"providers": {"coinpaprika": {"plan": "pro"}}},
            f"CRYPTOVIZ_PROVIDERS__COINPAPRIKA__PLAN is 'pro', {NEEDS_KEY}COINPAPRIKA__API_KEY, or valid is free",
        ),
        (
            {"providers": {"coingecko": {"plan": "demo", "api_key": ""}}},
            f"CRYPTOVIZ_PROVIDERS__COINGECKO__PLAN is 'demo', {NEEDS_KEY}COINGECKO__API_KEY (or COINGECKO_API_KEY), or valid is keyless",
        ),
        (
            {"providers": {"kraken": {"plan": "pro"}}},
            "CRYPTOVIZ_PROVIDERS__KRAKEN__PLAN is 'pro': kraken has a single plan: leave it unset",
        ),
        # Seventeen coins take one call of weight 2 at Binance and 17 calls at Coinbase.
        (
            {"providers": {"binance": {"quota": {"per_minute": 1}}}},
            "CRYPTOVIZ_PROVIDERS__BINANCE__QUOTA__PER_MINUTE is 1, and binance needs 2 for the weight of a call of 17 assets: "
            "valid are 2 or more, or 0 for no limit",
        ),
        (
            {"providers": {"coinbase": {"quota": {"per_day": 16}}}},
            "CRYPTOVIZ_PROVIDERS__COINBASE__QUOTA__PER_DAY is 16, and coinbase needs 17 for the calls of one poll of 17 assets: "
            "valid are 17 or more, or 0 for no limit",
        ),
        (
            {"providers": {"coinbase": {"quota": {"per_month": 20, "reserve": 0.5}}}},
            "CRYPTOVIZ_PROVIDERS__COINBASE__QUOTA__PER_MONTH is 20 less the reserve of 0.5, and coinbase needs 17 for the calls of one poll of 17 assets: "
            "valid are 17 or more, or 0 for no limit",
        ),
    ],
)
def test_providers_that_cannot_be_polled(settings: dict[str, Any], message: str) -> None:
    error = refused(**settings)
    assert error.message == message
    assert error.setting.startswith("CRYPTOVIZ_")


def test_lists_of_valid_values_match_the_code() -> None:
    assert RECORDER not in BUILT_IN_PROVIDERS
