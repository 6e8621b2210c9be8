"""Turns of a provider: the planner's decision by the meter's usage and plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actors.protection.provider_protection import build_protection
from actors.quota.meter import Meter
from actors.quota.planner import Turn
from cryptoviz.providers.plan import Plan
from cryptoviz.settings import load_settings
from tests.support.clock import FakeClock

TICK = 60_000
T0 = 1_700_000_000_000 // TICK * TICK


async def test_a_turn_is_counted_and_a_plan_that_the_provider_reports_applies_from_the_next_tick(tmp_path: Path) -> None:
    clock = FakeClock(T0)
    settings = load_settings("live", home=tmp_path, collect={"providers": ["kraken"], "tick_s": TICK / 1000})
    built = build_protection("kraken", settings, clock)
    protection = replace(built, meter=Meter(built.meter.plan, (), clock))
    assert protection.take(T0) is Turn.DUE  # no day or month is limited: each tick is a turn
    assert (protection.meter.usage.last_turn_ms, protection.rate) == (T0, 1.0)

    protection.meter.plan = Plan(per_day=1)
    assert await protection.meter.charge() is None
    assert protection.take(T0 + TICK) is Turn.EXHAUSTED  # the one call of the day has gone
    assert protection.turns.plan == Plan(per_day=1)
    assert protection.meter.usage.last_turn_ms == T0
    await protection.aclose()
