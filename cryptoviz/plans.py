"""What a provider's plan allows, what a poll costs there, and how much of the unified cadence the plans pay for.

Settings (`providers.<name>.quota`) go before the known figures. Second-hand or unpublished ones are the lowest of those named; a keyed plan's own
account corrects them (`actors.quota.account`). Sources:
https://docs.coingecko.com/reference/common-errors-rate-limit, https://coinmarketcap.com/api/documentation/v1/#section/Errors-and-Rate-Limits,
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits, https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits,
https://api.coinpaprika.com/#section/Rate-limit, https://docs.cdp.coinbase.com/advanced-trade/docs/rest-api-rate-limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil

from cryptoviz.providers.plan import Cost, Period, Plan
from cryptoviz.providers.registry import spec_of
from cryptoviz.settings import ProviderSettings, Settings

__all__ = [
    "MINUTE_MS",
    "Cadence",
    "cadence",
    "cost_of",
    "minute_rate",
    "nominal_rate",
    "paid_share",
    "period_bounds_ms",
    "plan_of",
    "plans_of",
]

MINUTE_MS = 60_000
_DAY_MS = 86_400_000


def period_bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Start and end (UTC epoch ms) of the day or month that `now_ms` lies in."""
    return _bounds_of_day(period, now_ms // _DAY_MS)


@lru_cache(maxsize=64)
def _bounds_of_day(period: Period, day: int) -> tuple[int, int]:
    start = datetime.fromtimestamp(day * _DAY_MS / 1000, UTC)
    end = start + timedelta(days=1)
    if period is Period.MONTH:
        start = start.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


def plan_of(name: str, own: ProviderSettings) -> Plan:
    """The limits that apply to a provider with these settings. With another `base_url`, such as the replay market's, only configured limits apply.

    Raises:
        SettingsError: the provider has no such plan, or the plan requires a key.
    """
    known = Plan() if own.base_url else spec_of(name).plan(own)
    quota = own.quota
    return Plan(
        _limit(quota.per_minute, known.per_minute),
        _limit(quota.per_day, known.per_day),
        _limit(quota.per_month, known.per_month),
        quota.reserve,
    )


def cost_of(name: str, assets: int) -> Cost:
    """What a poll for so many assets costs."""
    return spec_of(name).cost(assets)


def plans_of(settings: Settings) -> dict[str, tuple[Plan, Cost]]:
    """Plan and cost of every enabled provider, in order of preference: what all scrapers reckon their turns from."""
    assets = len(settings.assets)
    own = {name: settings.provider(name) for name in settings.collect.providers}
    return {name: (plan_of(name, one), cost_of(name, assets)) for name, one in own.items() if one.enabled}


def _limit(set_one: int | None, known: int | None) -> int | None:
    return known if set_one is None else set_one or None


def nominal_rate(plan: Plan, cost: Cost, now_ms: int, tick_ms: int) -> float:
    """Polls a tick, 0 to 1, of a plan that is used evenly from its periods' beginning."""
    rate = minute_rate(plan, cost, tick_ms)
    for period in Period:
        usable = plan.plannable(period)
        if usable is not None:
            start_ms, end_ms = period_bounds_ms(period, now_ms)
            rate = min(rate, usable // cost.calls * tick_ms / (end_ms - start_ms))
    return rate


def minute_rate(plan: Plan, cost: Cost, tick_ms: int) -> float:
    """Polls a tick, 0 to 1, that a plan's minutes let go."""
    if plan.per_minute is None:
        return 1.0
    return min(1.0, plan.per_minute / (cost.calls * cost.weight) * tick_ms / MINUTE_MS)


def paid_share(settings: Settings, now_ms: int) -> float:
    """Share of the ticks, 0 to 1, on which the plans of the enabled providers together pay for a poll."""
    rates = [nominal_rate(plan, cost, now_ms, settings.collect.tick_ms) for plan, cost in plans_of(settings).values()]
    return min(1.0, sum(rates))


@dataclass(frozen=True, slots=True)
class Cadence:
    """Whether the plans pay for every tick, for a person. `remedy` and `setting` are empty when they do."""

    detail: str
    remedy: str = ""
    setting: str = ""


def cadence(settings: Settings, now_ms: int) -> Cadence:
    """Free plans with a key are smaller than the keyless ones: whoever adds keys should know what becomes of the ticks.

    Raises:
        UnknownAsset: `CRYPTO_LIST` names a coin that is none.
    """
    names, tick_s, share = ", ".join(plans_of(settings)), settings.collect.tick_s, paid_share(settings, now_ms)
    if share >= 1:
        return Cadence(f"the plans of {names} pay for every tick of {tick_s:g} s")
    slower = f", or wait longer between ticks (CRYPTOVIZ_COLLECT__TICK_S={ceil(tick_s / share)})" if share > 0 else ""
    return Cadence(
        f"the plans of {names or 'no provider'} pay for {share:.0%} of the ticks of {tick_s:g} s; on the others nothing is collected",
        f"add an exchange to CRYPTOVIZ_COLLECT__PROVIDERS (such as binance, which needs no key){slower}; "
        "a larger plan counts once CRYPTOVIZ_PROVIDERS__<NAME>__QUOTA__PER_MONTH says so",
        "CRYPTOVIZ_COLLECT__PROVIDERS",
    )
