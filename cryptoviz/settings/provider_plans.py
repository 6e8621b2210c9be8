"""The plans that each built-in provider has, and which one its settings choose."""

from __future__ import annotations

from cryptoviz.errors import SettingsError
from cryptoviz.settings.nearest import did_you_mean
from cryptoviz.settings.sections import ProviderSettings

__all__ = ["PLANS", "chosen_plan"]

PLANS: dict[str, tuple[str, ...]] = {
    "coingecko": ("keyless", "demo", "pro"),
    "coinmarketcap": ("keyless", "keyed"),
    "coinpaprika": ("free", "pro"),
    "binance": (),
    "kraken": (),
    "coinbase": (),
}
"""By provider, the one that needs no key first, then those that need one: the first of these is the default with a key."""


def chosen_plan(name: str, own: ProviderSettings) -> str:
    """The plan that counts for a provider; empty when it has none. Those of other packages have their own.

    Raises:
        SettingsError: it has no such plan, or the plan needs a key that is not set.
    """
    plans = PLANS.get(name)
    if plans is None:
        return own.plan
    setting = f"CRYPTOVIZ_PROVIDERS__{name.upper()}__PLAN"
    if not plans:
        if own.plan:
            raise SettingsError(f"{setting} is {own.plan!r}: {name} has one plan for all, so that valid is only to leave it unset", setting=setting)
        return ""
    plan = own.plan or plans[1 if own.api_key is not None and own.api_key.get_secret_value() else 0]
    if plan not in plans:
        raise SettingsError(f"{setting} is {plan!r}{did_you_mean(plan, plans)}: valid are {', '.join(plans)}", setting=setting)
    if plan != plans[0] and not (own.api_key and own.api_key.get_secret_value()):
        key = f"CRYPTOVIZ_PROVIDERS__{name.upper()}__API_KEY"
        also = {"coinmarketcap": " (or COINMARKETCAP_API_KEY)", "coingecko": " (or COINGECKO_API_KEY)"}.get(name, "")
        raise SettingsError(
            f"{setting} is {plan!r}, which needs a key: set {key}{also}, or valid is {plans[0]}", setting=setting, settings=(setting, key)
        )
    return plan
