"""The asset table: internal ids with the id each provider knows the coin by.

Providers are asked by id and never by ticker symbol, because symbols are not unique (CoinMarketCap documents arrays of coins for one symbol).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptoviz.errors import UnknownAsset

__all__ = ["ALIASES", "DEFAULT_ASSETS", "Alias", "Asset", "resolve_assets"]


@dataclass(frozen=True, slots=True)
class Asset:
    """One coin. `provider_ids` maps a provider's name to the id that provider uses."""

    asset_id: str
    symbol: str
    name: str
    provider_ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alias:
    """An older name of an asset, valid until `until` (UTC). History under it joins the asset's."""

    alias: str
    asset_id: str
    until: datetime


def _asset(asset_id: str, symbol: str, name: str, coinmarketcap: int, coingecko: str | None = None) -> Asset:
    return Asset(asset_id, symbol, name, {"coingecko": coingecko or asset_id, "coinmarketcap": str(coinmarketcap)})


# Ids from the providers' own coin pages and API maps.
DEFAULT_ASSETS: tuple[Asset, ...] = (
    _asset("bitcoin", "BTC", "Bitcoin", 1),
    _asset("ethereum", "ETH", "Ethereum", 1027),
    _asset("binancecoin", "BNB", "BNB", 1839),
    _asset("ripple", "XRP", "XRP", 52),
    _asset("cardano", "ADA", "Cardano", 2010),
    _asset("solana", "SOL", "Solana", 5426),
    _asset("polkadot", "DOT", "Polkadot", 6636),
    _asset("polygon", "POL", "Polygon", 28321, "polygon-ecosystem-token"),
    _asset("avalanche", "AVAX", "Avalanche", 5805, "avalanche-2"),
    _asset("litecoin", "LTC", "Litecoin", 2),
    _asset("chainlink", "LINK", "Chainlink", 1975),
    _asset("uniswap", "UNI", "Uniswap", 7083),
    _asset("cosmos", "ATOM", "Cosmos", 3794),
    _asset("stellar", "XLM", "Stellar", 512),
    _asset("algorand", "ALGO", "Algorand", 4030),
    _asset("vechain", "VET", "VeChain", 3077),
    _asset("filecoin", "FIL", "Filecoin", 2280),
)

ALIASES: tuple[Alias, ...] = (
    # MATIC became POL one to one; Binance listed POLUSDT on 2024-09-13.
    Alias("matic", "polygon", datetime(2024, 9, 13, tzinfo=UTC)),
    Alias("matic-network", "polygon", datetime(2024, 9, 13, tzinfo=UTC)),
)


def resolve_assets(names: Iterable[str], extra: Iterable[Asset] = ()) -> tuple[Asset, ...]:
    """The assets that `names` mean, in order, without repeats; all defaults and `extra` when `names` is empty.

    A name is an asset id, a ticker symbol, a provider's id or an alias, in any case.

    Raises:
        UnknownAsset: a name that no asset has; the message lists the valid ids.
    """
    table = [*DEFAULT_ASSETS, *extra]
    index: dict[str, Asset] = {}
    for asset in table:
        for key in (asset.asset_id, asset.symbol, *asset.provider_ids.values()):
            if not key.isdigit():
                index.setdefault(key.lower(), asset)
    by_id = {asset.asset_id: asset for asset in table}
    for alias in ALIASES:
        if alias.asset_id in by_id:
            index.setdefault(alias.alias, by_id[alias.asset_id])
    wanted = [name.strip().lower() for name in names if name.strip()]
    if not wanted:
        return tuple(table)
    found: dict[str, Asset] = {}
    for name in wanted:
        if name not in index:
            raise UnknownAsset(
                f"unknown asset {name!r}: known ids are {', '.join(sorted(by_id))}; add one with CRYPTOVIZ_EXTRA_ASSETS or correct CRYPTO_LIST",
                asset=name,
            )
        found.setdefault(index[name].asset_id, index[name])
    return tuple(found.values())
