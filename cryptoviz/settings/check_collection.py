"""Checks that settings of the collection are consistent: providers, plans and times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cryptoviz.errors import SettingsError
from cryptoviz.nearest import did_you_mean
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS, find_spec, known_providers, with_history
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.settings.sections import ProviderSettings
from cryptoviz.shards import cost_of_shards

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["TICK_DEADLINE_SHARE", "check_collection"]

TICK_DEADLINE_SHARE = 0.9
"""Share of a tick after which it is published with the results received; the rest of the time is for publication."""
_DAY_S = 86_400.0


def check_collection(settings: Settings) -> None:
    """Check the providers, and the times of collection and lake.

    Raises:
        SettingsError: contains the settings, their values and what is valid.
    """
    _check_names(settings)
    for name in dict.fromkeys((*settings.collect.providers, *settings.providers)):
        _check_provider(settings, name)
    _check_times(settings)


def _check_names(settings: Settings) -> None:
    collect, setting = settings.collect, "CRYPTOVIZ_COLLECT__PROVIDERS"
    for one, names in ((setting, collect.providers), ("CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS", collect.history_providers)):
        if not names:
            raise SettingsError(f"{one} is empty: valid is at least one of {', '.join(_valid(one))}", setting=one)
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            text = f"{one} names {', '.join(map(repr, doubled))} more than once"
            raise SettingsError(f"{text}: valid is each provider once, in order of preference", setting=one)
        _require_known(one, names)
    for name in collect.history_providers:
        spec = find_spec(name)
        if spec is not None and spec.history is None:
            one = "CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS"
            text = f"{one} names {name!r}, which has no price history for a backfill"
            raise SettingsError(f"{text}: valid are {', '.join(with_history())}", setting=one)
    for table, by_provider in (("CRYPTOVIZ_PROVIDERS", settings.providers), ("CRYPTOVIZ_MARKET__LIMITS", settings.market.limits)):
        for name in by_provider:
            _require_known(table, (name,), f"{table}__{name.upper()}")
    for asset in settings.extra_assets:
        _require_known(f"CRYPTOVIZ_EXTRA_ASSETS ({asset.asset_id!r}, provider_ids)", asset.provider_ids, "CRYPTOVIZ_EXTRA_ASSETS")
    if not any(settings.provider(name).enabled for name in collect.providers):
        switches = tuple(f"CRYPTOVIZ_PROVIDERS__{name.upper()}__ENABLED" for name in collect.providers)
        text = f"{setting} names {', '.join(collect.providers)}, and all of them are disabled"
        raise SettingsError(f"{text} ({', '.join(switches)}): valid is at least one enabled provider", setting=setting, settings=(setting, *switches))


def _valid(setting: str) -> list[str]:
    if setting == "CRYPTOVIZ_COLLECT__HISTORY_PROVIDERS":
        return list(with_history())
    return list(known_providers())


def _require_known(where: str, names: Iterable[str], setting: str = "") -> None:
    unknown = [name for name in names if name not in BUILT_IN_PROVIDERS]
    if not unknown:
        return
    valid = _valid("")
    for name in unknown:
        if name not in valid:
            text = f"{where} names {name!r}, which is not a provider{did_you_mean(name, valid)}: valid are {', '.join(valid)}"
            raise SettingsError(text, setting=setting or where)


def _check_provider(settings: Settings, name: str) -> None:
    own, prefix = settings.provider(name), f"CRYPTOVIZ_PROVIDERS__{name.upper()}__"
    spec = find_spec(name)
    if own.scrapers > len(settings.assets):
        text = f"{prefix}SCRAPERS is {own.scrapers}, and there are {len(settings.assets)} coins (CRYPTO_LIST, CRYPTOVIZ_EXTRA_ASSETS)"
        raise _error(f"{text}: valid is at most one scraper for each coin", f"{prefix}SCRAPERS", "CRYPTO_LIST")
    if spec is not None:  # a provider that cannot be loaded must not stop `status` and `down`: `doctor` and the start report it
        spec.plan_name(own)
        _check_quota(settings, spec, own, f"{prefix}QUOTA__")
    if own.rate_limit_wait_s > own.max_wait_s:
        text = f"{prefix}RATE_LIMIT_WAIT_S is {own.rate_limit_wait_s:g} and {prefix}MAX_WAIT_S is {own.max_wait_s:g}"
        raise _error(f"{text}: the default wait must not exceed the maximum", f"{prefix}RATE_LIMIT_WAIT_S", f"{prefix}MAX_WAIT_S")


def _check_quota(settings: Settings, spec: ProviderSpec, own: ProviderSettings, prefix: str) -> None:
    """A limit must allow at least one poll."""
    assets, quota = len(settings.assets), own.quota
    cost = cost_of_shards(spec.cost, assets, own.scrapers)
    for field, limit, needed, what in (
        ("PER_MINUTE", quota.per_minute, cost.weight, "weight of a call"),
        ("PER_DAY", quota.per_day, cost.calls, "calls of one poll"),
        ("PER_MONTH", quota.per_month, cost.calls, "calls of one poll"),
    ):
        usable = None if limit is None else limit if field == "PER_MINUTE" else limit - int(limit * quota.reserve)
        if limit and usable is not None and usable < needed:
            kept = f" less the reserve of {quota.reserve:g}" if usable != limit else ""
            text = f"{prefix}{field} is {limit}{kept}, and {spec.name} needs {needed} for the {what} of {assets} assets"
            raise _error(f"{text}: valid are {needed} or more, or 0 for no limit", f"{prefix}{field}")


def _check_times(settings: Settings) -> None:
    collect, lake = settings.collect, settings.lake
    longest_ms = round(TICK_DEADLINE_SHARE * collect.tick_ms)
    if collect.consensus_wait_ms > longest_ms:
        text = f"CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS is {collect.consensus_wait_ms} and CRYPTOVIZ_COLLECT__TICK_S is {collect.tick_s:g}"
        why = f"a tick is published after nine tenths of its interval: valid are up to {longest_ms} ms"
        raise _error(f"{text}: {why}", "CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS", "CRYPTOVIZ_COLLECT__TICK_S")
    for field, days in (("PRICES", lake.prices_keep_days), ("RAW", lake.raw_keep_days), ("DEAD_LETTERS", lake.dead_letters_keep_days)):
        for name, seconds in (("CLOSE_AFTER_S", lake.close_after_s), ("QUIET_S", lake.quiet_s)):
            if days is not None and seconds > days * _DAY_S:
                text = f"CRYPTOVIZ_LAKE__{name} is {seconds:g} and CRYPTOVIZ_LAKE__{field}_KEEP_DAYS is {days}"
                why = f"a day would be deleted before it is closed: valid are up to {days * _DAY_S:g} s"
                raise _error(f"{text}: {why}", f"CRYPTOVIZ_LAKE__{name}", f"CRYPTOVIZ_LAKE__{field}_KEEP_DAYS")


def _error(text: str, setting: str, *others: str) -> SettingsError:
    return SettingsError(text, setting=setting, settings=(setting, *others))
