"""The clock is set by days and years, ahead and back: the calls of a real day, and how long calls are refused afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.quota.meter import Meter
from actors.quota.store import FileStore, decode_usage, encode_usage
from actors.quota.usage import Usage
from cryptoviz.plans import period_bounds_ms
from cryptoviz.providers.account import Account
from cryptoviz.providers.plan import Cost, Period, Plan
from tests.support.clock import FakeClock
from tests.support.usage_store import MemoryStore

HOUR = 3_600_000
DAY = 24 * HOUR
NOON = 1_793_620_800_000  # 2026-11-02, 12:00 UTC
STEPS = (-365, -31, -1, 1, 2, 31, 365)


async def spend(meter: Meter, most: int) -> int:
    """How many of so many calls are let through."""
    for number in range(most):
        if await meter.charge() is not None:
            return number
    return most


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restarts", [False, True], ids=["the same process", "a new one each time"])
async def test_a_glitch_costs_a_day_what_was_called_in_it_and_no_other_day_anything(step: int, restarts: bool, tmp_path: Path):
    plan, clock, store = Plan(per_day=20), FakeClock(NOON), FileStore(tmp_path / "quota.json")
    meter = Meter(plan, [store], clock)

    async def at(moment_ms: int, most: int) -> int:
        nonlocal meter
        clock.ms = moment_ms
        if restarts:
            meter = Meter(plan, [store], clock)
            await meter.load()
        return await spend(meter, most)

    assert await at(NOON, 12) == 12
    assert await at(NOON + step * DAY, 4) == 4
    # Ahead the day also knows of the four. Under a clock that was behind they were counted for that day, with the twelve before them.
    assert await at(NOON + HOUR, 50) == (4 if step > 0 else 8)
    days = [await at(NOON + day * DAY, 50) for day in range(1, 35)]
    # A day that was already counted under the clock that was ahead begins with the four, while they are known.
    assert days == [16 if day == step < 8 else 20 for day in range(1, 35)]


async def test_a_clock_behind_does_not_open_a_plan_that_is_used_up():
    clock = FakeClock(NOON)
    meter = Meter(Plan(per_day=100, per_month=120), [MemoryStore()], clock)
    assert await spend(meter, 200) == 100
    clock.ms = NOON - DAY
    assert await meter.charge() is Period.DAY
    clock.ms = NOON - 365 * DAY
    assert await meter.charge() is Period.DAY


@pytest.mark.parametrize("day", [0, 1, 30])
async def test_what_an_earlier_version_kept_of_a_year_to_come_is_counted_now(day: int, tmp_path: Path):
    path, later = tmp_path / "quota.json", NOON + 365 * DAY
    starts = {f"{period.value}_ms": period_bounds_ms(period, later)[0] for period in Period}
    path.write_bytes(orjson.dumps(starts | {"day_used": 100, "month_used": 100, "last_turn_ms": later}))
    redis = MemoryStore()
    redis.usage = await FileStore(path).load()
    clock = FakeClock(NOON + day * DAY)
    meter = Meter(Plan(per_day=100, per_month=3_000), [FileStore(path), redis], clock)
    await meter.load()
    assert meter.usage.last_turn_ms == clock.now_ms()
    # The day that first sees them counts them, and no other.
    assert await meter.charge() is Period.DAY
    meter.plan = Plan(per_day=101, per_month=3_000)
    assert await spend(meter, 9) == 1
    clock.ms += DAY
    again = Meter(Plan(per_day=100, per_month=3_000), [FileStore(path), redis], clock)
    await again.load()
    assert await spend(again, 200) == 100


async def test_two_copies_of_which_one_was_away_since_the_glitch():
    clock, file, redis = FakeClock(NOON), MemoryStore(), MemoryStore()
    both = Meter(Plan(per_day=100), [file, redis], clock)
    await spend(both, 60)
    clock.ms = NOON + 365 * DAY
    await spend(both, 10)
    alone = Meter(Plan(per_day=100), [file], clock)
    await alone.load()
    clock.ms = NOON + HOUR
    assert await spend(alone, 5) == 5
    for stores in ([file, redis], [redis, file]):
        after = Meter(Plan(per_day=100), stores, clock)
        await after.load()
        assert after.usage.day_used == 75


async def test_what_the_provider_says_under_a_wrong_clock_is_not_counted_twice():
    clock = FakeClock(NOON)
    meter = Meter(Plan(per_month=10_000), [], clock)
    await spend(meter, 6_000)
    clock.ms = NOON + 365 * DAY
    await meter.learn(Account(month_used=6_000))
    assert meter.usage.month_used == 6_000
    assert await spend(meter, 7) == 7
    clock.ms = NOON + HOUR
    assert meter.usage.month_used == 6_007


def test_it_survives_its_encoding():
    usage = Usage().charged(3, NOON).charged(2, NOON + 40 * DAY).charged(1, NOON)
    assert (usage.day_used, usage.month_used, len(usage.other_days), len(usage.other_months)) == (6, 6, 1, 1)
    assert _kept(usage) == usage


@pytest.mark.parametrize("other", [3, [3], [[1, 2]], [[1, 2, -3]], [["a", 2, 3]], {}])
async def test_a_file_with_other_periods_that_do_not_read_is_empty(tmp_path: Path, other: object):
    path = tmp_path / "quota.json"
    known = {"day_ms": 1, "day_used": 1, "month_ms": 1, "month_used": 1, "last_turn_ms": 1}
    path.write_bytes(orjson.dumps(known))
    assert await FileStore(path).load() == Usage(1, 1, 1, 1, 1)
    path.write_bytes(orjson.dumps(known | {"other_days": other}))
    assert await FileStore(path).load() == Usage()


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from(STEPS), st.integers(0, 8), st.booleans()), max_size=5),
    st.lists(st.integers(0, 15), min_size=40, max_size=40),
)
def test_no_real_day_is_asked_for_more_than_the_limit_and_the_calls_of_its_glitches(
    glitches: list[tuple[int, int, int, bool]], wanted: list[int]
) -> None:
    """Forty days of one look an hour. In a glitch of some hours the clock is so many days off."""
    limit, cost = 10, Cost()
    usage, asked, wrong, refused = Usage(), Counter[int](), Counter[int](), Counter[int]()
    offsets = {day * 24 + hour: step for day, step, hours, _ in glitches for hour in range(9, 9 + hours)}
    saves = {day for day, _, _, restarts in glitches if restarts}
    for hour in range(40 * 24):
        day, step = hour // 24, offsets.get(hour, 0)
        now = NOON - 12 * HOUR + hour * HOUR + step * DAY
        if day in saves:
            usage = _kept(usage)
        for _ in range(wanted[day] if hour % 24 in (8, 10, 20) else 0):
            if usage.at(now).used(Period.DAY) + cost.calls > limit:
                refused[day] += not step
                continue
            usage = usage.charged(cost.calls, now)
            asked[day] += 1
            wrong[day] += bool(step)
    total_wrong = sum(wrong.values())
    for day in range(40):
        assert asked[day] <= limit + wrong[day]
        # To the safe side, too, only calls of glitches are counted for a day that had none.
        assert not refused[day] or asked[day] + total_wrong >= limit


def _kept(usage: Usage) -> Usage:
    return decode_usage(encode_usage(usage))
