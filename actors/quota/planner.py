"""Decides which provider is polled on which tick, so that the unified cadence holds within the free tiers. Pure: time and usage are arguments.

Each scraper decides for its own provider, from the tick's number, the shared settings and its own usage: no central actor, no message
(docs/adr/0004-turns.md). A provider's rate is the rest of its plan divided by the remaining ticks, the minimum over its periods.

- If some provider can be polled on every tick, the others are spread as evenly as whole ticks allow (an accumulator of the rate).
- If none can, turns must not coincide while other ticks have none: the providers' rates are arcs, laid end to end on a circle, which each tick
  rotates by the golden ratio, and the provider whose arc is under the pointer is polled. If the arcs cover the circle, no tick is left out; if not,
  turns never coincide. By the three-distance theorem, each provider's turns are evenly spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from actors.quota.usage import Usage
from cryptoviz.plans import minute_rate, nominal_rate, period_bounds_ms
from cryptoviz.providers.plan import Cost, Period, Plan

__all__ = ["Turn", "Turns", "exhausted_at_ms", "rate_now"]

CIRCLE = 1 << 64
GOLDEN = 0x9E3779B97F4A7C15
"""The golden ratio's fraction of the circle; odd, so that all 2**64 positions are visited. An integer: floats are too coarse at tick 10**8."""
HOUR_MS = 3_600_000


class Turn(StrEnum):
    """The decision for a provider on a tick."""

    DUE = "due"
    NOT_DUE = "not_due"
    EXHAUSTED = "exhausted"


def rate_now(plan: Plan, usage: Usage, cost: Cost, now_ms: int, tick_ms: int) -> float:
    """Polls per tick, 0 to 1, that the rest of the plan (less its reserve) permits until its periods end."""
    rate = minute_rate(plan, cost, tick_ms)
    if not plan.metered:
        return rate
    usage = usage.at(now_ms)
    for period in Period:
        usable = plan.plannable(period)
        if usable is not None:
            end_ms = period_bounds_ms(period, now_ms)[1]
            ticks = max(1, -(-(end_ms - now_ms) // tick_ms))
            rate = min(rate, (usable - usage.used(period)) // cost.calls / ticks)
    return max(0.0, rate)


def exhausted_at_ms(plan: Plan, usage: Usage, cost: Cost, period: Period, rate: float, now_ms: int, tick_ms: int) -> int | None:
    """When a period's limit would be reached at `rate` (UTC epoch ms): now if it is reached, None if not before the period ends."""
    limit = plan.limit(period)
    if limit is None:
        return None
    left = limit - usage.at(now_ms).used(period)
    if left < cost.calls:
        return now_ms
    if rate <= 0:
        return None
    reached_ms = now_ms + round(left / cost.calls / rate * tick_ms)
    return reached_ms if reached_ms < period_bounds_ms(period, now_ms)[1] else None


class _View(NamedTuple):
    """Cached inputs of the schedule, valid while the usage and the hour are unchanged."""

    usage: Usage
    hour: int
    rate: float
    filled: bool
    spent: bool
    start: int
    width: int


class Turns:
    """The turns of one provider.

    Args:
        name: the provider.
        plans: plan and cost of every provider, in order of preference.
        tick_ms: the unified cadence.
    """

    def __init__(self, name: str, plans: Mapping[str, tuple[Plan, Cost]], tick_ms: int) -> None:
        self._name = name
        self._plans = dict(plans)
        self._tick_ms = tick_ms
        self._credit: float | None = None
        self._last: _View | None = None
        self.rate = 1.0

    @property
    def plan(self) -> Plan:
        return self._plans[self._name][0]

    @property
    def cost(self) -> Cost:
        return self._plans[self._name][1]

    def learn(self, plan: Plan) -> None:
        """Replace the plan by the plan that the provider reported."""
        self._plans[self._name] = (plan, self.cost)
        self._last = None

    def at(self, tick_ts: int, usage: Usage) -> Turn:
        """The decision for the tick. Call once for each tick, in order."""
        hour, last = tick_ts // HOUR_MS, self._last
        if last is None or last.hour != hour or (last.usage is not usage and self.plan.metered):
            last = self._last = self._view(tick_ts, usage, hour)
            self.rate = last.rate
        if last.spent:
            return Turn.EXHAUSTED
        due = self._accumulated(tick_ts, last) if last.filled else self._under_pointer(tick_ts, last)
        return Turn.DUE if due else Turn.NOT_DUE

    def _view(self, tick_ts: int, usage: Usage, hour: int) -> _View:
        nominal = {name: nominal_rate(plan, cost, tick_ts, self._tick_ms) for name, (plan, cost) in self._plans.items()}
        filled = any(one >= 1 for one in nominal.values())
        # If no other provider fills skipped ticks, the reserve keeps an arc at its nominal width: a narrower arc would skip ticks.
        plan = self.plan if filled else replace(self.plan, reserve=0.0)
        now = usage.at(tick_ts)
        spent = any((usable := plan.plannable(period)) is not None and usable - now.used(period) < self.cost.calls for period in Period)
        names = list(nominal)
        start = sum(nominal[name] for name in names[: names.index(self._name)])
        width = min(nominal[self._name], rate_now(plan, now, self.cost, tick_ts, self._tick_ms))
        rate = rate_now(self.plan, now, self.cost, tick_ts, self._tick_ms)
        return _View(usage, hour, rate if filled else width, filled, spent, round(CIRCLE * start), round(CIRCLE * width))

    def _accumulated(self, tick_ts: int, view: _View) -> bool:
        if self._credit is None:
            # A restart in between neither loses nor repeats a turn.
            waited = (tick_ts - view.usage.last_turn_ms) // self._tick_ms - 1
            self._credit = min(1.0 - view.rate, max(0, waited) * view.rate)
        self._credit += view.rate
        if self._credit < 1.0 - 1e-9:
            return False
        self._credit -= 1.0
        return True

    def _under_pointer(self, tick_ts: int, view: _View) -> bool:
        pointer = tick_ts // self._tick_ms * GOLDEN
        return (pointer - view.start) % CIRCLE < view.width
