from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from actors.fetching.hold_off import HoldOff
from actors.protection.breaker import Breaker
from actors.quota.planner import Turn
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import BreakerSettings
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import answer, failed
from tests.support.log_lines import log_lines

TICK = 2000
ASSETS = DEFAULT_ASSETS[:1]


class ScriptedProvider:
    """Each poll advances the clock by `takes_ms`; failures by tick number: the reason, and the wait that the provider imposes."""

    name: ClassVar[str] = "coingecko"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.takes_ms: dict[int, float] = {}
        self.failures: dict[int, tuple[FallbackReason, float | None]] = {}
        self.polled: list[tuple[int, int, float]] = []
        self.running = 0

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        assert assets == ASSETS
        self.running += 1
        assert self.running == 1
        self.polled.append(((tick_ts - T0) // TICK, self.clock.now_ms() - T0, budget_s))
        n = (tick_ts - T0) // TICK
        await self.clock.sleep(self.takes_ms.get(n, 100) / 1000)
        self.running -= 1
        if n in self.failures:
            reason, asked_s = self.failures[n]
            return replace(failed(self.name, reason, tick_ts), retry_after_s=asked_s)
        return answer(self.name, {"bitcoin": 1.0}, tick_ts)


class Rig:
    def __init__(self, now_ms: int = T0) -> None:
        self.clock = FakeClock(now_ms)
        self.provider = ScriptedProvider(self.clock)
        self.delivered: list[TickResult] = []
        self.enough = asyncio.Event()
        self.wanted = 0
        rules = PollRules(TICK, default_wait_s=5.0, max_wait_s=30.0)
        self.loop = PollScheduler(self.provider, ASSETS, rules, HoldOff(), self.clock, self._take)

    def _take(self, result: TickResult) -> None:
        self.delivered.append(result)
        if len(self.delivered) >= self.wanted:
            self.enough.set()

    async def run(self, ticks: int) -> list[int]:
        """The tick numbers of the first `ticks` results."""
        self.wanted = ticks
        task = asyncio.create_task(self.loop.run())
        await self.enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [(result.tick_ts - T0) // TICK for result in self.delivered[:ticks]]


async def test_one_poll_on_each_tick():
    rig = Rig()
    assert await rig.run(4) == [0, 1, 2, 3]
    assert [(n, at) for n, at, _ in rig.provider.polled[:4]] == [(0, 0), (1, 2000), (2, 4000), (3, 6000)]
    assert {budget for _, _, budget in rig.provider.polled} == {1.7}


@pytest.mark.parametrize(("late_ms", "first"), [(900, 0), (1100, 1)])
async def test_start_within_a_tick(late_ms, first):
    rig = Rig(T0 + late_ms)
    assert await rig.run(2) == [first, first + 1]
    assert rig.provider.polled[0][2] == pytest.approx(1.7 - late_ms / 1000 if first == 0 else 1.7)


async def test_a_poll_that_overruns_its_tick_skips_and_counts_ticks():
    rig = Rig()
    rig.provider.takes_ms = {1: 5000}
    assert await rig.run(4) == [0, 1, 3, 4]
    assert rig.loop.stats.missed_ticks_total == 1


@pytest.mark.parametrize(
    ("reason", "asked", "held"),
    [
        (FallbackReason.RATE_LIMITED, None, 2),
        (FallbackReason.RATE_LIMITED, 7.0, 3),
        (FallbackReason.RATE_LIMITED, 0.0, 0),
        (FallbackReason.QUOTA, 10**9, 15),
        (FallbackReason.AUTH, None, 2),
        (FallbackReason.UNAVAILABLE, 7.0, 0),
        (FallbackReason.TIMEOUT, None, 0),
    ],
)
async def test_a_hold_is_respected_and_reported_on_each_tick(reason, asked, held):
    rig = Rig()
    rig.provider.failures = {0: (reason, asked)}
    await rig.run(held + 2)
    assert [result.failure for result in rig.delivered[: held + 2]] == [reason] * (held + 1) + [None]
    assert [n for n, _, _ in rig.provider.polled[:2]] == [0, held + 1]
    assert rig.loop.stats.held_ticks_total == held


async def test_the_longest_refusal_of_a_shard_holds_the_provider(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    good = answer("coingecko", {"bitcoin": 1.0}, T0)
    refused = [replace(failed("coingecko", FallbackReason.RATE_LIMITED, T0), retry_after_s=wait_s) for wait_s in (3.0, 7.0)]

    async def poll(tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        return replace(good, tick_ts=tick_ts, parts=(good, *refused))

    monkeypatch.setattr(rig.provider, "poll", poll)
    result = await rig.loop.poll_once(T0)
    assert (result.failure, len(result.observations)) == (None, 1)
    assert "asked to wait (rate_limited) until 2023-11-14T22:13:07" in rig.loop.waits(T0)
    assert (await rig.loop.poll_once(T0 + TICK)).failure is FallbackReason.RATE_LIMITED


async def test_stats_and_health():
    rig = Rig()
    rig.provider.failures = dict.fromkeys(range(1, 6), (FallbackReason.UNAVAILABLE, None))
    rig.wanted = 1
    loop, clock = rig.loop, rig.clock
    await loop.poll_once(T0)
    assert loop.healthy(clock.now_ms())
    for n in range(1, 4):
        clock.ms = T0 + n * TICK
        await loop.poll_once(T0 + n * TICK)
    assert not loop.healthy(clock.now_ms() + 101)
    stats = loop.stats
    assert (stats.polls_total, stats.failures_total, stats.consecutive_failures, stats.latency_ms) == (4, 3, 3, 100.0)
    assert stats.message == "coingecko: unavailable"
    clock.ms = T0 + 6 * TICK
    await loop.poll_once(T0 + 6 * TICK)
    assert (stats.consecutive_failures, stats.message) == (0, "")
    assert loop.healthy(clock.now_ms())


async def test_without_a_good_poll_the_scheduler_is_healthy_for_three_ticks():
    rig = Rig()
    rig.provider.failures = dict.fromkeys(range(10), (FallbackReason.AUTH, 0.0))
    await rig.run(2)
    assert rig.loop.healthy(T0 + 3 * TICK)
    assert not rig.loop.healthy(T0 + 3 * TICK + 1)


class Turns:
    def __init__(self, turns: dict[int, Turn], rate: float = 1.0) -> None:
        self.turns = turns
        self.rate = rate

    def take(self, tick_ts: int) -> Turn:
        return self.turns.get((tick_ts - T0) // TICK, Turn.DUE)


def guarded(rig: Rig, breaker: Breaker | None = None, turns: Turns | None = None) -> PollScheduler:
    rules = PollRules(TICK, default_wait_s=5.0, max_wait_s=30.0, max_quota_wait_s=10_000.0)
    rig.loop = PollScheduler(rig.provider, ASSETS, rules, HoldOff(), rig.clock, rig._take, breaker, turns)
    return rig.loop


async def test_a_tick_without_a_turn_is_reported_at_once_and_is_not_a_failure():
    rig = Rig()
    loop = guarded(rig, turns=Turns({1: Turn.NOT_DUE, 2: Turn.EXHAUSTED}))
    await rig.run(4)
    assert [(result.due, result.failure) for result in rig.delivered[:4]] == [
        (True, None),
        (False, None),
        (True, FallbackReason.QUOTA),
        (True, None),
    ]
    assert rig.delivered[1].ingest_ts == T0 + TICK
    assert [n for n, _, _ in rig.provider.polled[:2]] == [0, 3]
    assert (loop.stats.idle_ticks_total, loop.stats.failures_total) == (1, 1)


async def test_a_provider_with_few_turns_is_fresh_for_longer():
    loop = guarded(Rig(), turns=Turns({}, rate=0.2))
    loop.stats.started_ms = T0
    assert loop.healthy(T0 + 15 * TICK)
    assert not loop.healthy(T0 + 15 * TICK + 1)


async def test_an_open_breaker_allows_one_probe_and_closes():
    rig = Rig()
    rig.provider.failures = dict.fromkeys(range(8), (FallbackReason.UNAVAILABLE, None))
    breaker = Breaker(BreakerSettings(failures=3, failing_s=3, open_s=5, max_open_s=60), uniform=lambda: 0.0)
    guarded(rig, breaker)
    await rig.run(14)
    down, broken = FallbackReason.UNAVAILABLE, FallbackReason.BREAKER_OPEN
    # Opens at tick 2 (4.1 s) for 5 s; the probe of tick 5 fails: 10 s more; the probe of tick 11 is good.
    assert [result.failure for result in rig.delivered[:14]] == [down] * 3 + [broken] * 2 + [down] + [broken] * 5 + [None] * 3
    assert [n for n, _, _ in rig.provider.polled[:6]] == [0, 1, 2, 5, 11, 12]
    assert "failing for 4 s: unavailable" in rig.delivered[3].message
    assert rig.loop.stats.last_error == "coingecko: unavailable"


async def test_a_used_up_plan_holds_longer_than_a_refusal():
    rig = Rig()
    rig.provider.failures = {0: (FallbackReason.QUOTA, 5_000.0)}
    guarded(rig)
    await rig.run(40)
    assert {result.failure for result in rig.delivered[:40]} == {FallbackReason.QUOTA}
    assert len(rig.provider.polled) == 1


async def test_a_cancelled_poll_releases_its_probe(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    breaker = Breaker(BreakerSettings(failures=1, failing_s=0, open_s=1, max_open_s=1), uniform=lambda: 0.0)
    loop = guarded(rig, breaker)
    breaker.failed(FallbackReason.UNAVAILABLE, T0)
    rig.clock.ms = T0 + TICK
    never = asyncio.Event()

    async def hang(*_: object) -> TickResult:
        await never.wait()
        raise AssertionError

    monkeypatch.setattr(rig.provider, "poll", hang)
    task = asyncio.create_task(loop.poll_once(T0 + TICK))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert breaker.allows(T0 + TICK)


async def test_suspended_polls_do_not_restart_the_scraper():
    rig = Rig()
    breaker = Breaker(BreakerSettings(), uniform=lambda: 0.0)
    loop = guarded(rig, breaker)
    later = T0 + 1_000 * TICK
    assert not loop.healthy(later)
    breaker.trip("by hand", T0)
    assert (loop.healthy(later), loop.fresh(later)) == (True, False)
    assert loop.waits(later) == "coingecko: the breaker is open until it is reset: by hand"
    breaker.reset(T0)
    assert loop.waits(later) == ""


@pytest.mark.parametrize("reason", [FallbackReason.RATE_LIMITED, FallbackReason.QUOTA, FallbackReason.AUTH])
async def test_a_long_ban_is_reported_with_its_end_and_does_not_restart_the_scraper(reason: FallbackReason):
    rig = Rig()
    hours = 3
    rig.provider.failures = {0: (reason, hours * 3600.0)}
    loop = PollScheduler(rig.provider, ASSETS, PollRules(TICK, 5.0, 86_400.0), HoldOff(), rig.clock, rig._take)
    await loop.poll_once(T0)
    end = rig.clock.now_ms() + hours * 3_600_000
    before = end - 1
    assert (loop.healthy(before), loop.fresh(before)) == (True, False)
    until = datetime.fromtimestamp(end / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert loop.waits(before) == f"coingecko asked to wait ({reason.value}) until {until}"
    assert not loop.healthy(end + 1)


async def test_an_automatically_opened_breaker_suspends_polls_too():
    rig = Rig()
    breaker = Breaker(BreakerSettings(failures=1, failing_s=0, open_s=100), uniform=lambda: 0.0)
    loop = guarded(rig, breaker)
    rig.provider.failures = {0: (FallbackReason.UNAVAILABLE, None)}
    await loop.poll_once(T0)
    later = T0 + 50_000
    assert (loop.healthy(later), loop.fresh(later)) == (True, False)
    assert loop.waits(later).startswith("coingecko: the breaker is open, next try at 2023-")


async def test_lines_of_a_poll_have_the_tick():
    rig = Rig()
    rig.provider.failures = {1: (FallbackReason.RATE_LIMITED, 2.0)}
    with log_lines() as lines:
        await rig.run(3)
    assert [line["tick_ts"] for line in lines.of("polled")[:3]] == [T0, T0 + TICK, T0 + 2 * TICK]
    for event in ("provider_asks_to_wait", "provider_failed"):
        (line,) = lines.of(event)
        assert line["tick_ts"] == T0 + TICK
