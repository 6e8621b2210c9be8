from __future__ import annotations

from itertools import pairwise

import httpx
import pytest

from actors.fetching.hold_off import HoldOff
from actors.protection.rate_limiter import Gate, LocalBucket, ProviderLimiter, rates_of, used_weight
from actors.quota.meter import Meter
from cryptoviz.errors import ProviderUnavailable
from cryptoviz.providers.plan import Plan
from cryptoviz.records import FallbackReason
from tests.support.clock import T0, FakeClock
from tests.support.usage_store import MemoryStore

MINUTE = 60_000
UNLIMITED = Plan()


class Rig:
    def __init__(self, plan: Plan = UNLIMITED, interval_s: float = 0.0, weight: int = 1, max_wait_s: float = 30.0) -> None:
        self.clock = FakeClock(T0)
        self.hold_off = HoldOff()
        self.meter = Meter(plan, [MemoryStore()], self.clock)
        rates = rates_of(plan, interval_s)
        gate = Gate([LocalBucket(rates)] if rates else [], weight, plan.per_minute, max_wait_s)
        self.limiter = ProviderLimiter("binance", gate, self.hold_off, self.meter, self.clock)

    async def calls(self, count: int) -> list[int]:
        """When each of so many calls went, in ms after T0."""
        went = []
        for _ in range(count):
            await self.limiter.acquire()
            went.append(self.clock.now_ms() - T0)
        return went


@pytest.mark.parametrize(
    ("plan", "interval_s", "expected"),
    [
        (Plan(), 0.0, []),
        (Plan(per_minute=10), 0.0, [(10, MINUTE)]),
        (Plan(per_minute=10), 6.0, [(1, 6_000)]),
        (Plan(per_minute=30), 6.0, [(1, 6_000)]),
        (Plan(per_minute=5), 6.0, [(1, 6_000), (5, MINUTE)]),
        (Plan(per_minute=6_000), 0.1, [(1, 100)]),
    ],
)
def test_the_rates_of_a_plan(plan, interval_s, expected):
    assert [(rate.limit, rate.interval) for rate in rates_of(plan, interval_s)] == expected


async def test_without_limits_nothing_waits():
    assert await Rig().calls(5) == [0] * 5


async def test_the_minimum_interval_is_respected():
    went = await Rig(interval_s=2.0).calls(4)
    assert all(2_000 <= later - earlier <= 2_010 for earlier, later in pairwise(went))


async def test_no_minute_exceeds_its_limit():
    went = await Rig(Plan(per_minute=3), max_wait_s=120).calls(12)
    assert all(sum(start <= at < start + MINUTE for at in went) <= 3 for start in went)
    assert went[-1] <= 3 * (MINUTE + 10)


async def test_weight_counts_towards_the_minute():
    went = await Rig(Plan(per_minute=80), weight=40, max_wait_s=120).calls(3)
    assert went[:2] == [0, 0]
    assert went[2] >= MINUTE


async def test_a_wait_that_is_too_long_is_refused_with_its_duration():
    rig = Rig(Plan(per_minute=1), max_wait_s=5.0)
    await rig.limiter.acquire()
    with pytest.raises(ProviderUnavailable, match="local rate limit") as refused:
        await rig.limiter.acquire()
    assert refused.value.reason is FallbackReason.RATE_LIMITED
    assert refused.value.retry_after_s == pytest.approx(60, abs=0.1)
    assert rig.meter.usage.month_used == 1


async def test_a_call_whose_weight_exceeds_the_limit_is_refused():
    with pytest.raises(ProviderUnavailable, match="exceeds the limit per minute"):
        await Rig(Plan(per_minute=10), weight=40).limiter.acquire()


async def test_calls_are_refused_until_the_period_of_a_used_up_plan_ends():
    rig = Rig(Plan(per_day=2))
    await rig.calls(2)
    with pytest.raises(ProviderUnavailable, match="plan's day is used up") as refused:
        await rig.limiter.acquire()
    assert refused.value.reason is FallbackReason.QUOTA
    assert refused.value.retry_after_s is not None
    rig.clock.ms += refused.value.retry_after_s * 1000
    await rig.limiter.acquire()


async def test_a_hold_applies_to_all_callers():
    rig = Rig()
    rig.hold_off.impose(FallbackReason.RATE_LIMITED, 120, rig.clock.now_ms())
    with pytest.raises(ProviderUnavailable, match="asked to wait"):
        await rig.limiter.acquire()
    assert rig.meter.usage.month_used == 0
    rig.hold_off.lift()
    await rig.limiter.acquire()


@pytest.mark.parametrize(("used", "waits"), [("5998", False), ("5999", True), ("6100", True), ("", False), ("many", False), ("-1", False)])
async def test_binance_s_used_weight_is_respected_until_the_next_minute(used, waits):
    rig = Rig(Plan(per_minute=6_000), weight=2, max_wait_s=60)
    rig.clock.ms += 45_000
    rig.limiter.observe(200, {"x-mbx-used-weight-1m": used})
    await rig.limiter.acquire()
    assert rig.clock.now_ms() - T0 == (MINUTE if waits else 45_000)


def test_used_weight_is_read_in_any_case():
    assert used_weight(httpx.Headers({"X-MBX-USED-WEIGHT-1M": "17"})) == 17
