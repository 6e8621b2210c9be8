"""The asset table: internal ids with the id each provider knows the coin by.

Providers are asked by id and never by ticker symbol, because symbols are not unique (CoinMarketCap documents arrays of coins for one symbol).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar

from cryptoviz.errors import UnknownAsset

__all__ = [
    "ALIASES", "BUILT_IN_PROVIDERS", "DEFAULT_ASSETS", "Alias", "Asset", "asset_table", "provider_id_at", "resolve_assets", "table_quote",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asset:
    """One coin. `provider_ids` maps a provider's name to the id that provider uses."""

    # For settings: a misspelt field would have no effect, so it is refused.
    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    asset_id: str
    symbol: str
    name: str
    provider_ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alias:
    """An older name of an asset, valid until `until` (UTC). History under it joins the asset's.

    `provider_ids` are the ids under which providers keep the time before.
    """

    alias: str
    asset_id: str
    until: datetime
    provider_ids: dict[str, str] = field(default_factory=dict)


BUILT_IN_PROVIDERS = ("coingecko", "coinmarketcap", "binance", "kraken", "coinpaprika", "coinbase")
"""Columns of the table below: coin id, numeric id, symbol against USDT, pair against USD in `altname` form, coin id, product against USD."""
_QUOTES = {"binance": "USDT", "kraken": "USD", "coinbase": "USD"}
"""What the exchanges' columns are quoted in."""


def _asset(asset_id: str, symbol: str, name: str, ids: str) -> Asset:
    known = zip(BUILT_IN_PROVIDERS, ids.split(), strict=True)
    return Asset(asset_id, symbol, name, {provider: provider_id for provider, provider_id in known if provider_id != "-"})


# Ids from the providers' own coin pages, API maps and listing notices; "-": not listed there. Kraken and Coinbase list BNB since 2025, Coinbase lists
# VET since 2023. No list of Kraken's pairs that was at hand has VET against USD, so it is left out.
DEFAULT_ASSETS: tuple[Asset, ...] = (
    _asset("bitcoin", "BTC", "Bitcoin", "bitcoin 1 BTCUSDT XBTUSD btc-bitcoin BTC-USD"),
    _asset("ethereum", "ETH", "Ethereum", "ethereum 1027 ETHUSDT ETHUSD eth-ethereum ETH-USD"),
    _asset("binancecoin", "BNB", "BNB", "binancecoin 1839 BNBUSDT BNBUSD bnb-binance-coin BNB-USD"),
    _asset("ripple", "XRP", "XRP", "ripple 52 XRPUSDT XRPUSD xrp-xrp XRP-USD"),
    _asset("cardano", "ADA", "Cardano", "cardano 2010 ADAUSDT ADAUSD ada-cardano ADA-USD"),
    _asset("solana", "SOL", "Solana", "solana 5426 SOLUSDT SOLUSD sol-solana SOL-USD"),
    _asset("polkadot", "DOT", "Polkadot", "polkadot 6636 DOTUSDT DOTUSD dot-polkadot DOT-USD"),
    _asset("polygon", "POL", "Polygon", "polygon-ecosystem-token 28321 POLUSDT POLUSD pol-polygon-ecosystem-token POL-USD"),
    _asset("avalanche", "AVAX", "Avalanche", "avalanche-2 5805 AVAXUSDT AVAXUSD avax-avalanche AVAX-USD"),
    _asset("litecoin", "LTC", "Litecoin", "litecoin 2 LTCUSDT LTCUSD ltc-litecoin LTC-USD"),
    _asset("chainlink", "LINK", "Chainlink", "chainlink 1975 LINKUSDT LINKUSD link-chainlink LINK-USD"),
    _asset("uniswap", "UNI", "Uniswap", "uniswap 7083 UNIUSDT UNIUSD uni-uniswap UNI-USD"),
    _asset("cosmos", "ATOM", "Cosmos", "cosmos 3794 ATOMUSDT ATOMUSD atom-cosmos ATOM-USD"),
    _asset("stellar", "XLM", "Stellar", "stellar 512 XLMUSDT XLMUSD xlm-stellar XLM-USD"),
    _asset("algorand", "ALGO", "Algorand", "algorand 4030 ALGOUSDT ALGOUSD algo-algorand ALGO-USD"),
    _asset("vechain", "VET", "VeChain", "vechain 3077 VETUSDT - vet-vechain VET-USD"),
    _asset("filecoin", "FIL", "Filecoin", "filecoin 2280 FILUSDT FILUSD fil-filecoin FIL-USD"),
)

# MATIC became POL one to one; Binance ended MATICUSDT on 2024-09-10 and listed POLUSDT on 2024-09-13, CoinGecko and the others keep two coins.
_POL_SINCE = datetime(2024, 9, 13, tzinfo=UTC)
_MATIC_IDS = {"coingecko": "matic-network", "coinmarketcap": "3890", "binance": "MATICUSDT", "kraken": "MATICUSD", "coinbase": "MATIC-USD"}
ALIASES: tuple[Alias, ...] = (
    Alias("matic", "polygon", _POL_SINCE, _MATIC_IDS),
    Alias("matic-network", "polygon", _POL_SINCE),
)


_TABLE_IDS = frozenset(
    item for ids in (*(one.provider_ids for one in DEFAULT_ASSETS), *(one.provider_ids for one in ALIASES)) for item in ids.items()
)


def table_quote(provider: str, provider_id: str) -> str | None:
    """The currency that an exchange's id is quoted in, for the ids of the tables above. None for any other: its text says nothing."""
    return _QUOTES.get(provider) if (provider, provider_id) in _TABLE_IDS else None


def provider_id_at(asset: Asset, provider: str, moment: datetime) -> str | None:
    """The id to ask `provider` by for the asset's history at `moment` (UTC): the alias' while that was its name. None when it lists neither."""
    for alias in ALIASES:
        if alias.asset_id == asset.asset_id and moment < alias.until and provider in alias.provider_ids:
            return alias.provider_ids[provider]
    return asset.provider_ids.get(provider)


def asset_table(extra: Iterable[Asset] = ()) -> tuple[Asset, ...]:
    """All defaults and `extra`. An extra asset with a known id extends that one: its provider ids are added or put in place of the known ones."""
    by_id = {asset.asset_id: asset for asset in DEFAULT_ASSETS}
    for asset in extra:
        known = by_id.get(asset.asset_id)
        by_id[asset.asset_id] = asset if known is None else replace(asset, provider_ids=known.provider_ids | asset.provider_ids)
    return tuple(by_id.values())


def resolve_assets(names: Iterable[str], extra: Iterable[Asset] = ()) -> tuple[Asset, ...]:
    """The assets that `names` mean, in order, without repeats; all defaults and `extra` when `names` is empty.

    A name is an asset id, a ticker symbol, a provider's id or an alias, in any case. An extra asset with a known id extends that one: its
    provider ids are added or put in place of the known ones, its symbol and name are taken.

    Raises:
        UnknownAsset: a name that no asset has; the message lists those like it (`near`) and the valid ids.
    """
    table = asset_table(extra)
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
