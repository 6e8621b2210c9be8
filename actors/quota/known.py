"""What each provider's plans are known to allow, and what a poll costs there. Settings (`providers.<name>.quota`) go before all of it.

Second-hand or unpublished figures are the lowest of those named; a keyed plan's own account corrects them (`actors.quota.account`). Sources:
https://docs.coingecko.com/reference/common-errors-rate-limit, https://coinmarketcap.com/api/documentation/v1/#section/Errors-and-Rate-Limits,
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits, https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits,
https://api.coinpaprika.com/#section/Rate-limit, https://docs.cdp.coinbase.com/advanced-trade/docs/rest-api-rate-limits.
"""

from __future__ import annotations

from actors.quota.plan import Cost, Plan
from cryptoviz.settings import ProviderSettings, Settings

__all__ = ["cost_of", "plan_of", "plans_of"]

_FREE: dict[tuple[str, str], Plan] = {
    ("coingecko", "keyless"): Plan(per_minute=10),  # by address, unpublished
    ("coingecko", "demo"): Plan(per_minute=30, per_month=10_000),
    ("coinmarketcap", "keyless"): Plan(per_minute=30),  # unpublished
    ("coinmarketcap", "keyed"): Plan(per_minute=30, per_month=10_000),
    ("binance", ""): Plan(per_minute=6_000),  # weight
    ("kraken", ""): Plan(per_minute=60),  # unpublished: a call a second
    ("coinpaprika", ""): Plan(per_month=20_000),
    ("coinbase", ""): Plan(per_minute=600),  # 10 a second
}
_KEYED = {"coingecko": "demo", "coinmarketcap": "keyed"}
_KEYLESS = {"coingecko": "keyless", "coinmarketcap": "keyless"}
_COINS_PER_CALL = {"coingecko": 250, "coinmarketcap": 100, "coinbase": 1}
_BINANCE_WEIGHTS = ((20, 2), (100, 40))
"""Weight of `ticker/24hr` up to so many symbols; more than the last weigh 80."""
_BINANCE_MOST = 80


def plan_of(name: str, own: ProviderSettings) -> Plan:
    """The limits that hold for a provider as it is set up. At another `base_url`, such as the replay market's, only those that are set."""
    plan_name = own.plan or (_KEYED if own.api_key else _KEYLESS).get(name, "")
    known = Plan() if own.base_url else _FREE.get((name, plan_name), Plan())
    quota = own.quota
    return Plan(
        _limit(quota.per_minute, known.per_minute),
        _limit(quota.per_day, known.per_day),
        _limit(quota.per_month, known.per_month),
        quota.reserve,
    )


def cost_of(name: str, assets: int) -> Cost:
    """What a poll for so many assets costs."""
    per_call = _COINS_PER_CALL.get(name)
    calls = 1 if per_call is None else max(1, -(-assets // per_call))
    if name != "binance":
        return Cost(calls)
    return Cost(calls, next((weight for limit, weight in _BINANCE_WEIGHTS if assets <= limit), _BINANCE_MOST))


def plans_of(settings: Settings) -> dict[str, tuple[Plan, Cost]]:
    """Plan and cost of every enabled provider, in order of preference: what all scrapers reckon their turns from."""
    assets = len(settings.assets)
    own = {name: settings.provider(name) for name in settings.collect.providers}
    return {name: (plan_of(name, one), cost_of(name, assets)) for name, one in own.items() if one.enabled}


def _limit(set_one: int | None, known: int | None) -> int | None:
    return known if set_one is None else set_one or None
