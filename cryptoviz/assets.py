"""The asset table: internal ids, with each provider's id of the coin.

Providers are queried by id and never by ticker symbol, because symbols are not unique (CoinMarketCap documents arrays of coins for one symbol).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptoviz.errors import UnknownAsset
from cryptoviz.providers.asset import Asset
from cryptoviz.providers.registry import BUILT_IN_SPECS, find_spec
from cryptoviz.providers.spec import ProviderSpec

__all__ = [
    "ALIASES", "DEFAULT_ASSETS", "Alias", "Asset", "asset_table", "provider_id_at", "resolve_assets", "with_ids",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alias:
    """A former name of an asset, valid until `until` (UTC). Its history becomes part of the asset's.

    `provider_ids` are the providers' ids of the earlier history.
    """

    alias: str
    asset_id: str
    until: datetime
    provider_ids: dict[str, str] = field(default_factory=dict)


def _asset(asset_id: str, symbol: str, name: str) -> Asset:
    return Asset(asset_id, symbol, name, {spec.name: spec.asset_ids[asset_id] for spec in BUILT_IN_SPECS if asset_id in spec.asset_ids})


def _alias(alias: str, asset_id: str, until: datetime) -> Alias:
    return Alias(alias, asset_id, until, {spec.name: spec.alias_ids[alias] for spec in BUILT_IN_SPECS if alias in spec.alias_ids})


DEFAULT_ASSETS: tuple[Asset, ...] = (
    _asset("bitcoin", "BTC", "Bitcoin"),
    _asset("ethereum", "ETH", "Ethereum"),
    _asset("binancecoin", "BNB", "BNB"),
    _asset("ripple", "XRP", "XRP"),
    _asset("cardano", "ADA", "Cardano"),
    _asset("solana", "SOL", "Solana"),
    _asset("polkadot", "DOT", "Polkadot"),
    _asset("polygon", "POL", "Polygon"),
    _asset("avalanche", "AVAX", "Avalanche"),
    _asset("litecoin", "LTC", "Litecoin"),
    _asset("chainlink", "LINK", "Chainlink"),
    _asset("uniswap", "UNI", "Uniswap"),
    _asset("cosmos", "ATOM", "Cosmos"),
    _asset("stellar", "XLM", "Stellar"),
    _asset("algorand", "ALGO", "Algorand"),
    _asset("vechain", "VET", "VeChain"),
    _asset("filecoin", "FIL", "Filecoin"),
)
"""Ids come from each `ProviderSpec`: from the providers' own coin pages, API maps and listing notices."""

# MATIC became POL one to one; Binance ended MATICUSDT on 2024-09-10 and listed POLUSDT on 2024-09-13, CoinGecko and the others keep two coins.
_POL_SINCE = datetime(2024, 9, 13, tzinfo=UTC)
ALIASES: tuple[Alias, ...] = (_alias("matic", "polygon", _POL_SINCE), _alias("matic-network", "polygon", _POL_SINCE))


def with_ids(assets: Iterable[Asset], specs: Iterable[ProviderSpec]) -> tuple[Asset, ...]:
    """The assets with the ids that `specs` have for them. An id that an asset has already stays."""
    by_asset: dict[str, dict[str, str]] = {}
    for spec in specs:
        for asset_id, provider_id in spec.asset_ids.items():
            by_asset.setdefault(asset_id, {})[spec.name] = provider_id
    return tuple(replace(asset, provider_ids=by_asset.get(asset.asset_id, {}) | asset.provider_ids) for asset in assets)


def provider_id_at(asset: Asset, provider: str, moment: datetime) -> str | None:
    """The provider's id for the asset's history at `moment` (UTC): that of an alias valid at the time, or of the asset. None if not listed."""
    spec = find_spec(provider)
    for alias in ALIASES:
        if spec is not None and alias.asset_id == asset.asset_id and moment < alias.until and alias.alias in spec.alias_ids:
            return spec.alias_ids[alias.alias]
    return asset.provider_ids.get(provider)


def asset_table(extra: Iterable[Asset] = (), specs: Iterable[ProviderSpec] = ()) -> tuple[Asset, ...]:
    """Default assets and `extra`. An extra asset with a known id extends that asset: its provider ids are added or replace the known ones.

    `specs`: of providers of other packages, whose ids are added where an asset has none.
    """
    by_id = {asset.asset_id: asset for asset in DEFAULT_ASSETS}
    for asset in extra:
        known = by_id.get(asset.asset_id)
        by_id[asset.asset_id] = asset if known is None else replace(asset, provider_ids=known.provider_ids | asset.provider_ids)
    return with_ids(by_id.values(), specs)


def resolve_assets(names: Iterable[str], extra: Iterable[Asset] = (), specs: Iterable[ProviderSpec] = ()) -> tuple[Asset, ...]:
    """Look up assets by name, in order, without duplicates. Empty `names` means all defaults and `extra`.

    A name is an asset id, a ticker symbol, a provider's id or an alias, in any case. An extra asset with a known id extends that asset:
    its provider ids are added or replace the known ones, and its symbol and name are used.

    Raises:
        UnknownAsset: unknown name; the message lists similar names (`near`) and the valid ids.
    """
    table = asset_table(extra, specs)
    by_id = {asset.asset_id: asset for asset in table}
    index: dict[str, Asset] = {}
    for asset in table:
        for key in (asset.asset_id, asset.symbol, *asset.provider_ids.values()):
            if not key.isdigit():
                index.setdefault(key.lower(), asset)
    for alias in ALIASES:
        if alias.asset_id in by_id:
            index.setdefault(alias.alias, by_id[alias.asset_id])
    wanted = [name.strip().lower() for name in names if name.strip()]
    if not wanted:
        return table
    found: dict[str, Asset] = {}
    for name in wanted:
        if name not in index:
            near = difflib.get_close_matches(name, index, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            known_ids = ", ".join(sorted(by_id))
            raise UnknownAsset(
                f"unknown asset {name[:64]!r}{meant}: known ids are {known_ids}; add one with CRYPTOVIZ_EXTRA_ASSETS or correct CRYPTO_LIST",
                asset=name,
                near=tuple(near),
            )
        found.setdefault(index[name].asset_id, index[name])
    return tuple(found.values())
