"""Limits of provider plans, cost of polls, and the share of ticks that the plans cover.

Limits and costs are in each `ProviderSpec`. Settings (`providers.<name>.quota`) take precedence, then what the account of an API key reports.
For unpublished limits the lowest reported value is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import ceil

from cryptoviz.providers.plan import Cost, Period, Plan
from cryptoviz.providers.registry import spec_of
from cryptoviz.settings import ProviderSettings, Settings
from cryptoviz.shards import cost_of_shards
from cryptoviz.times import DAY_MS, epoch_ms, utc

__all__ = ["MINUTE_MS", "Cadence", "cadence", "cost_of", "covered_share", "minute_rate", "nominal_rate", "period_bounds_ms", "plan_of", "plans_of"]

MINUTE_MS = 60_000


def period_bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Start and end (UTC epoch ms) of the day or month that contains `now_ms`."""
    return _bounds_of_day(period, now_ms // DAY_MS)


@lru_cache(maxsize=64)
def _bounds_of_day(period: Period, day: int) -> tuple[int, int]:
    start = utc(day * DAY_MS)
    end = start + timedelta(days=1)
    if period is Period.MONTH:
        start = start.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return epoch_ms(start), epoch_ms(end)


def plan_of(name: str, own: ProviderSettings) -> Plan:
    """The limits that apply to a provider with these settings. With another `base_url`, such as the replay market's, only configured limits apply.

    Raises:
        SettingsError: unknown plan, or the plan requires a key.
    """
    known = Plan() if own.base_url else spec_of(name).plan(own)
    quota = own.quota
    return Plan(
        _limit(quota.per_minute, known.per_minute), _limit(quota.per_day, known.per_day), _limit(quota.per_month, known.per_month), quota.reserve
    )


def cost_of(name: str, assets: int, scrapers: int = 1) -> Cost:
    """Cost of a poll for a number of assets that are divided over some scrapers."""
    return cost_of_shards(spec_of(name).cost, assets, scrapers)


def plans_of(settings: Settings) -> dict[str, tuple[Plan, Cost]]:
    """Plan and cost of every enabled provider, in order of preference. All scrapers compute their turns from these."""
    assets = len(settings.assets)
    own = {name: settings.provider(name) for name in settings.collect.providers}
    return {name: (plan_of(name, one), cost_of(name, assets, one.scrapers)) for name, one in own.items() if one.enabled}


def _limit(set_one: int | None, known: int | None) -> int | None:
    return known if set_one is None else set_one or None


def nominal_rate(plan: Plan, cost: Cost, now_ms: int, tick_ms: int) -> float:
    """Polls per tick, 0 to 1, if the plan is used evenly from the start of its periods."""
    rate = minute_rate(plan, cost, tick_ms)
    for period in Period:
        usable = plan.plannable(period)
        if usable is not None:
            start_ms, end_ms = period_bounds_ms(period, now_ms)
            rate = min(rate, usable // cost.calls * tick_ms / (end_ms - start_ms))
    return rate


def minute_rate(plan: Plan, cost: Cost, tick_ms: int) -> float:
    """Polls per tick, 0 to 1, allowed by the limit per minute."""
    if plan.per_minute is None:
        return 1.0
    return min(1.0, plan.per_minute / (cost.calls * cost.weight) * tick_ms / MINUTE_MS)


def covered_share(settings: Settings, now_ms: int) -> float:
    """Share of ticks, 0 to 1, that the plans of all enabled providers cover together."""
    rates = [nominal_rate(plan, cost, now_ms, settings.collect.tick_ms) for plan, cost in plans_of(settings).values()]
    return min(1.0, sum(rates))


@dataclass(frozen=True, slots=True)
class Cadence:
    """Whether the plans cover every tick, as text. `remedy` and `setting` are empty if they do."""

    detail: str
    remedy: str = ""
    setting: str = ""


def cadence(settings: Settings, now_ms: int) -> Cadence:
    """Compute the share of covered ticks. Free plans with a key can be smaller than keyless plans, so that adding a key may leave ticks uncovered.

    Raises:
        UnknownAsset: `CRYPTO_LIST` contains an unknown coin.
    """
    names, tick_s, share = ", ".join(plans_of(settings)), settings.collect.tick_s, covered_share(settings, now_ms)
    if share >= 1:
        return Cadence(f"the plans of {names} cover every tick of {tick_s:g} s")
    slower = f", or increase the interval (CRYPTOVIZ_COLLECT__TICK_S={ceil(tick_s / share)})" if share > 0 else ""
    return Cadence(
        f"the plans of {names or 'no provider'} cover {share:.0%} of the ticks of {tick_s:g} s; no price is collected on the others",
        f"add an exchange to CRYPTOVIZ_COLLECT__PROVIDERS (such as binance, which needs no key){slower}; "
        "a larger plan takes effect once CRYPTOVIZ_PROVIDERS__<NAME>__QUOTA__PER_MONTH is set",
        "CRYPTOVIZ_COLLECT__PROVIDERS",
    )
