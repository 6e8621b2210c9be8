"""Checks that names and provider ids of assets are unambiguous."""

from __future__ import annotations

from collections.abc import Sequence

from cryptoviz.assets import ALIASES, DEFAULT_ASSETS, Asset, asset_table, resolve_assets
from cryptoviz.errors import SettingsError, UnknownAsset
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS, find_spec
from cryptoviz.providers.spec import ProviderSpec

__all__ = ["SETTING", "check_assets", "normal_id"]

SETTING = "CRYPTOVIZ_EXTRA_ASSETS"
_LIST = "CRYPTOVIZ_CRYPTO_LIST"
_MOST_NAME_CHARS = 100


def check_assets(names: Sequence[str], extra: Sequence[Asset], providers: Sequence[str], specs: Sequence[ProviderSpec] = ()) -> None:
    """Check the extra assets against the built-in table, and the names of assets to collect.

    Raises:
        SettingsError: contains the assets in conflict and what is valid.
    """
    _check_each(extra, providers)
    table = asset_table(extra, specs)
    _check_names(table)
    _check_ids(table)
    _check_other_names(extra, table)
    _check_list(names, extra, specs, table)


def normal_id(provider: str, provider_id: str) -> str:
    """One text for all spellings by which a provider knows the same coin or pair."""
    spec = find_spec(provider)
    return provider_id if spec is None else spec.normal_id(provider_id)


def _check_each(assets: Sequence[Asset], providers: Sequence[str]) -> None:
    known = {asset.asset_id for asset in DEFAULT_ASSETS}
    seen: set[str] = set()
    for asset in assets:
        for field, value in (("asset_id", asset.asset_id), ("symbol", asset.symbol), ("name", asset.name)):
            if not value.strip() or not value.isprintable() or value != value.strip() or len(value) > _MOST_NAME_CHARS:
                raise _error(f"{field} of {asset.asset_id!r} is {value!r}: valid is text without white space at its ends, not empty")
        if any(letter in ",/\\" or letter.isspace() for letter in asset.asset_id + asset.symbol):
            raise _error(f"asset_id {asset.asset_id!r} and symbol {asset.symbol!r} may hold no space, comma or slash")
        if asset.asset_id in seen:
            raise SettingsError(f"{SETTING} has two entries of asset_id {asset.asset_id!r}: valid is one for each asset", setting=SETTING)
        seen.add(asset.asset_id)
        for provider, provider_id in asset.provider_ids.items():
            _check_id(asset, provider, provider_id)
        if not asset.provider_ids and asset.asset_id not in known and set(providers) <= set(BUILT_IN_PROVIDERS):
            raise _error(f"{asset.asset_id!r} has no provider_ids, so that no provider can be polled for it: valid is at least one")


def _check_id(asset: Asset, provider: str, provider_id: str) -> None:
    of = f"the id of {asset.asset_id!r} at {provider} is {provider_id!r}"
    if not provider_id or not provider_id.isprintable() or any(letter.isspace() for letter in provider_id):
        raise _error(f"{of}: valid is the provider's id, or no entry")
    if provider in BUILT_IN_PROVIDERS and ("," in provider_id or len(provider_id) > _MOST_NAME_CHARS):
        raise _error(f"{of}: valid is one id, without a comma, of up to {_MOST_NAME_CHARS} characters")
    spec = find_spec(provider)
    if spec is not None and spec.id_format is not None and not spec.id_format.pattern.fullmatch(provider_id):
        raise _error(f"{of}: valid is {spec.id_format.example}")


def _check_names(table: Sequence[Asset]) -> None:
    symbols: dict[str, Asset] = {}
    names: dict[str, Asset] = {}
    for asset in table:
        other = names.setdefault(asset.asset_id.lower(), asset)
        if other is not asset:
            both = f"the asset_ids {other.asset_id!r} and {asset.asset_id!r} differ in capitals only"
            raise _error(f"{both}: valid is {other.asset_id!r}, which extends that asset, or another id")
        other = symbols.setdefault(asset.symbol.lower(), asset)
        if other is not asset:
            both = f"assets {other.asset_id!r} and {asset.asset_id!r} both have the symbol {asset.symbol!r}"
            raise _error(f"{both}: valid is a symbol of its own for each asset")
    for asset in table:
        named = symbols.get(asset.asset_id.lower(), asset)
        if named is not asset:
            raise _error(f"the asset_id {asset.asset_id!r} is the symbol of {named.asset_id!r}: valid is an id of its own")


def _check_ids(table: Sequence[Asset]) -> None:
    ids: dict[tuple[str, str], tuple[Asset, str]] = {}
    for asset in table:
        for provider, provider_id in asset.provider_ids.items():
            other, its = ids.setdefault((provider, normal_id(provider, provider_id)), (asset, provider_id))
            if other is asset:
                continue
            both = f"assets {other.asset_id!r} and {asset.asset_id!r} both have the id {provider_id!r} at {provider}"
            spelt = f", which is also spelt {its!r}" if its != provider_id else ""
            raise _error(f"{both}{spelt}: valid is an id of its own for each asset")
    for alias in ALIASES:
        for provider, provider_id in alias.provider_ids.items():
            found = ids.get((provider, normal_id(provider, provider_id)))
            if found is not None and found[0].asset_id != alias.asset_id:
                both = f"the id {found[1]!r} of {found[0].asset_id!r} at {provider} is that of {alias.alias!r}, an older name of {alias.asset_id!r}"
                raise _error(f"{both}: valid is an id of its own for each asset")


def _check_other_names(extra: Sequence[Asset], table: Sequence[Asset]) -> None:
    """Ids and symbols of extra assets must not equal an alias or provider id of another asset, because `CRYPTO_LIST` accepts all of these."""
    aliases = {alias.alias.lower(): alias.asset_id for alias in ALIASES}
    ids = {one.lower(): (asset.asset_id, provider) for asset in table for provider, one in asset.provider_ids.items() if not one.isdigit()}
    for asset in extra:
        for field, name in (("asset_id", asset.asset_id), ("symbol", asset.symbol)):
            owner = aliases.get(name.lower(), asset.asset_id)
            if owner != asset.asset_id:
                raise _error(f"the {field} {name!r} of {asset.asset_id!r} is an older name of {owner!r}: valid is a name of its own")
            owner, provider = ids.get(name.lower(), (asset.asset_id, ""))
            if owner != asset.asset_id:
                raise _error(f"the {field} {name!r} of {asset.asset_id!r} is the id of {owner!r} at {provider}: valid is a name of its own")


def _check_list(names: Sequence[str], extra: Sequence[Asset], specs: Sequence[ProviderSpec], table: Sequence[Asset]) -> None:
    try:
        resolve_assets(names, extra, specs)
    except UnknownAsset as error:
        raise SettingsError(f"{_LIST}: {error.message}", setting=_LIST, asset=error.asset, near=error.near) from None
    own_names: set[str] = set()
    meant: dict[str, set[str]] = {}
    for asset in table:
        own_names |= {asset.asset_id.lower(), asset.symbol.lower()}
        for provider_id in asset.provider_ids.values():
            meant.setdefault(provider_id.lower(), set()).add(asset.asset_id)
    for name in names:
        wanted = name.strip().lower()
        owners = sorted(meant.get(wanted, ()))
        if wanted not in own_names and len(owners) > 1:
            raise SettingsError(
                f"{_LIST} names {name!r}, which is an id of {' and of '.join(map(repr, owners))}: valid is the asset's own id", setting=_LIST
            )


def _error(text: str) -> SettingsError:
    return SettingsError(f"{SETTING}: {text}", setting=SETTING)
