"""What settings say together: values that are valid each for itself and contradict each other, and names that nothing has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from cryptoviz.assets import BUILT_IN_PROVIDERS, Asset, asset_table
from cryptoviz.errors import SettingsError

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["PROVIDER_ENTRY_POINTS", "check_settings"]

PROVIDER_ENTRY_POINTS = "cryptoviz.providers"
"""The group of entry points by which other packages bring providers."""
_ASSETS = "CRYPTOVIZ_EXTRA_ASSETS"
_MOST_NAME_CHARS = 100


def check_settings(settings: Settings) -> None:
    """Look at the tree as a whole.

    Raises:
        SettingsError: names the setting, both values where two contradict each other, and what is valid.
    """
    _check_names(settings)
    _check_extra_assets(settings.extra_assets)
    _check_table(asset_table(settings.extra_assets))
    topics = {"raw_topic": settings.kafka.raw_topic, "stream_topic": settings.kafka.stream_topic, "ledger_topic": settings.kafka.ledger_topic}
    for first, second in _pairs(topics):
        if topics[first] == topics[second]:
            names = f"CRYPTOVIZ_KAFKA__{first.upper()} and CRYPTOVIZ_KAFKA__{second.upper()}"
            raise _error(f"CRYPTOVIZ_KAFKA__{second.upper()}", f"{names} are both {topics[first]!r}: each topic needs a name of its own")


def _check_names(settings: Settings) -> None:
    collect = settings.collect
    for setting, names in (("CRYPTOVIZ_COLLECT__PROVIDERS", collect.providers), ("CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS", collect.history_providers)):
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise _error(
                setting, f"{setting} names {', '.join(map(repr, doubled))} more than once: valid is each provider once, in order of preference"
            )
        _require_known(setting, names)
    _require_known("CRYPTOVIZ_PROVIDERS", settings.providers)
    _require_known("CRYPTOVIZ_MARKET__LIMITS", settings.market.limits)
    for asset in settings.extra_assets:
        _require_known(f"{_ASSETS} ({asset.asset_id!r}, provider_ids)", asset.provider_ids, _ASSETS)


def _require_known(where: str, names: Iterable[str], setting: str = "") -> None:
    unknown = [name for name in names if name not in BUILT_IN_PROVIDERS]
    if not unknown:
        return
    brought = {point.name for point in entry_points(group=PROVIDER_ENTRY_POINTS)}
    for name in unknown:
        if name not in brought:
            valid = ", ".join((*BUILT_IN_PROVIDERS, *sorted(brought - set(BUILT_IN_PROVIDERS))))
            raise _error(setting or where, f"{where} names {name!r}, which is no provider: valid are {valid}")


def _check_extra_assets(assets: Sequence[Asset]) -> None:
    seen: set[str] = set()
    for asset in assets:
        for field, value in (("asset_id", asset.asset_id), ("symbol", asset.symbol), ("name", asset.name)):
            if not value.strip() or not value.isprintable() or value != value.strip() or len(value) > _MOST_NAME_CHARS:
                raise _error(
                    _ASSETS, f"{_ASSETS}: {field} of {asset.asset_id!r} is {value!r}: valid is text without white space at its ends, not empty"
                )
        if any(letter in ",/\\" or letter.isspace() for letter in asset.asset_id + asset.symbol):
            raise _error(_ASSETS, f"{_ASSETS}: asset_id {asset.asset_id!r} and symbol {asset.symbol!r} may hold no space, comma or slash")
        if asset.asset_id in seen:
            raise _error(_ASSETS, f"{_ASSETS} has two entries of asset_id {asset.asset_id!r}: valid is one for each asset")
        seen.add(asset.asset_id)
        for provider, provider_id in asset.provider_ids.items():
            if not provider_id or not provider_id.isprintable() or any(letter.isspace() for letter in provider_id):
                raise _error(
                    _ASSETS, f"{_ASSETS}: the id of {asset.asset_id!r} at {provider} is {provider_id!r}: valid is the provider's id, or no entry"
                )


def _check_table(table: Sequence[Asset]) -> None:
    symbols: dict[str, Asset] = {}
    names: dict[str, Asset] = {}
    ids: dict[tuple[str, str], Asset] = {}
    for asset in table:
        other = names.setdefault(asset.asset_id.lower(), asset)
        if other is not asset:
            both = f"the asset_ids {other.asset_id!r} and {asset.asset_id!r} differ in capitals only"
            raise _error(_ASSETS, f"{_ASSETS}: {both}: valid is {other.asset_id!r}, which extends that asset, or another id")
        other = symbols.setdefault(asset.symbol.lower(), asset)
        if other is not asset:
            both = f"assets {other.asset_id!r} and {asset.asset_id!r} both have the symbol {asset.symbol!r}"
            raise _error(_ASSETS, f"{_ASSETS}: {both}: valid is a symbol of its own for each asset")
        for provider, provider_id in asset.provider_ids.items():
            other = ids.setdefault((provider, provider_id), asset)
            if other is not asset:
                both = f"assets {other.asset_id!r} and {asset.asset_id!r} both have the id {provider_id!r} at {provider}"
                raise _error(_ASSETS, f"{_ASSETS}: {both}: valid is an id of its own for each asset")
    for asset in table:
        named = symbols.get(asset.asset_id.lower(), asset)
        if named is not asset:
            raise _error(_ASSETS, f"{_ASSETS}: the asset_id {asset.asset_id!r} is the symbol of {named.asset_id!r}: valid is an id of its own")


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    listed = list(names)
    return [(first, second) for place, first in enumerate(listed) for second in listed[place + 1 :]]


def _error(setting: str, message: str) -> SettingsError:
    return SettingsError(message, setting=setting)
