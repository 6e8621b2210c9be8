"""The asset table and the look-up of its coins by name."""

from datetime import UTC, datetime, timedelta

import pytest

from cryptoviz.assets import ALIASES, DEFAULT_ASSETS, Asset, provider_id_at, resolve_assets
from cryptoviz.errors import UnknownAsset

BY_ID = {asset.asset_id: asset for asset in DEFAULT_ASSETS}
EVERYWHERE = {"coingecko", "coinmarketcap", "binance", "coinpaprika", "coinbase"}


def ids(provider):
    return [asset.provider_ids[provider] for asset in DEFAULT_ASSETS if provider in asset.provider_ids]


def test_seventeen_coins_with_an_id_at_every_provider_that_lists_them():
    assert len(DEFAULT_ASSETS) == 17
    assert len(BY_ID) == 17
    for asset in DEFAULT_ASSETS:
        assert set(asset.provider_ids) >= EVERYWHERE
        assert ("kraken" in asset.provider_ids) == (asset.symbol != "VET")
    for provider in (*EVERYWHERE, "kraken"):
        assert len(set(ids(provider))) == len(ids(provider))


def test_ids_of_exchanges_follow_from_the_symbol():
    for asset in DEFAULT_ASSETS:
        assert asset.provider_ids["binance"] == f"{asset.symbol}USDT"
        assert asset.provider_ids["coinbase"] == f"{asset.symbol}-USD"
        assert asset.provider_ids["coinpaprika"].startswith(f"{asset.symbol.lower()}-")
        assert asset.provider_ids.get("kraken") in {None, f"{asset.symbol}USD".replace("BTC", "XBT")}


def test_ids_that_no_rule_gives():
    assert BY_ID["polygon"].provider_ids == {
        "coingecko": "polygon-ecosystem-token",
        "coinmarketcap": "28321",
        "binance": "POLUSDT",
        "kraken": "POLUSD",
        "coinpaprika": "pol-polygon-ecosystem-token",
        "coinbase": "POL-USD",
    }
    assert BY_ID["avalanche"].provider_ids["coingecko"] == "avalanche-2"
    assert BY_ID["binancecoin"].provider_ids["coinpaprika"] == "bnb-binance-coin"
    assert BY_ID["bitcoin"].provider_ids["kraken"] == "XBTUSD"


@pytest.mark.parametrize("name", ["bitcoin", " BTC ", "btc", "XBTUSD", "btcusdt", "BTC-USD", "btc-bitcoin"])
def test_a_coin_goes_by_any_of_its_names(name):
    assert [asset.asset_id for asset in resolve_assets([name])] == ["bitcoin"]


def test_aliases_order_and_repeats():
    assert [asset.symbol for asset in resolve_assets(["matic", "ETH", "polygon", "", "eth"])] == ["POL", "ETH"]


def test_no_names_mean_all_and_the_extra_ones():
    doge = Asset("dogecoin", "DOGE", "Dogecoin", {"binance": "DOGEUSDT"})
    assert resolve_assets([], [doge]) == (*DEFAULT_ASSETS, doge)
    assert resolve_assets(["dogeusdt"], [doge]) == (doge,)


def test_an_extra_asset_with_a_known_id_extends_that_one():
    more = Asset("bitcoin", "BTC", "Bitcoin", {"acme": "xbt", "kraken": "BTC/USD"})
    assets = resolve_assets([], [more])
    assert [asset.asset_id for asset in assets] == [asset.asset_id for asset in DEFAULT_ASSETS]
    assert assets[0].provider_ids == BY_ID["bitcoin"].provider_ids | {"acme": "xbt", "kraken": "BTC/USD"}
    assert resolve_assets(["xbt"], [more]) == (assets[0],)


def test_history_is_asked_for_under_the_name_of_its_time():
    polygon = BY_ID["polygon"]
    change = ALIASES[0].until
    assert change == datetime(2024, 9, 13, tzinfo=UTC)
    before = change - timedelta(milliseconds=1)
    assert [provider_id_at(polygon, name, before) for name in ("binance", "coinmarketcap", "coingecko")] == ["MATICUSDT", "3890", "matic-network"]
    assert [provider_id_at(polygon, name, change) for name in ("binance", "coinmarketcap")] == ["POLUSDT", "28321"]
    assert provider_id_at(BY_ID["bitcoin"], "binance", before) == "BTCUSDT"
    assert provider_id_at(BY_ID["vechain"], "kraken", before) is None


@pytest.mark.parametrize("name", ["gold", "1027"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(UnknownAsset, match=r"known ids are algorand, .*CRYPTO_LIST") as refused:
        resolve_assets([name])
    assert refused.value.asset == name
