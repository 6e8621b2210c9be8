"""Thirty days of a pipeline's turns on a clock that only counts: every tick, every call, restarts and second tries."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from actors.quota.planner import Turn, Turns
from actors.quota.usage import Usage
from cryptoviz.providers.plan import Cost, Period, Plan

DAY_MS = 86_400_000


@dataclass
class Result:
    """What a provider would have seen. `charged` is counted here, apart from the code under test, by day since the epoch."""

    ticks: int = 0
    missed: int = 0
    turns: dict[str, list[int]] = field(default_factory=dict)
    charged: dict[str, Counter[int]] = field(default_factory=dict)


def simulate(
    plans: dict[str, tuple[Plan, Cost]], tick_s: int, start_ms: int, days: float, seed: int, restarts: int, second_tries: float = 0.01
) -> Result:
    """Run the turns. A restart loses all that a scraper holds in memory; its `Usage` is what the store gives back."""
    random_ = random.Random(seed)
    tick_ms = tick_s * 1000
    ticks = round(days * DAY_MS / tick_ms)
    restart_at = {random_.randrange(ticks): name for name in plans for _ in range(restarts)}
    turns = {name: Turns(name, plans, tick_ms) for name in plans}
    usage = dict.fromkeys(plans, Usage())
    result = Result(ticks, turns={name: [] for name in plans}, charged={name: Counter() for name in plans})
    for n in range(ticks):
        tick_ts = start_ms + n * tick_ms
        if n in restart_at:
            turns[restart_at[n]] = Turns(restart_at[n], plans, tick_ms)
        asked = False
        for name, (_, cost) in plans.items():
            if turns[name].at(tick_ts, usage[name]) is not Turn.DUE:
                continue
            asked = True
            calls = cost.calls * (2 if random_.random() < second_tries else 1)
            usage[name] = usage[name].took_turn(tick_ts).charged(calls, tick_ts)
            result.turns[name].append(n)
            result.charged[name][tick_ts // DAY_MS] += calls
        result.missed += not asked
    return result


def overruns(result: Result, plans: dict[str, tuple[Plan, Cost]]) -> list[str]:
    """Days and months in which a provider was asked for more than its plan allows."""
    found = []
    for name, (plan, _) in plans.items():
        periods: Counter[tuple[Period, str]] = Counter()
        for day, calls in result.charged[name].items():
            when = datetime.fromtimestamp(day * DAY_MS / 1000, UTC)
            periods[Period.DAY, when.strftime("%Y-%m-%d")] += calls
            periods[Period.MONTH, when.strftime("%Y-%m")] += calls
        for (period, name_of), used in periods.items():
            limit = plan.limit(period)
            if limit is not None and used > limit:
                found.append(f"{name} {name_of}: {used} of {limit}")
    return found
