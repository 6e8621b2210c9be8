"""The wall clock jumps by an hour, ahead and back: no tick is doubled, none is lost unnoticed, nothing waits for longer than it was told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from pyrate_limiter import Rate

from actors.breaker import Breaker
from actors.collecting import Collecting
from actors.kafka import SeenTicks
from actors.limits import LocalBucket
from actors.pollloop import PollLoop, PollRules
from actors.providers.base import PollFailure
from actors.providers.limiter import HoldOff
from cryptoviz.assets import Asset
from cryptoviz.clock import second_text
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import BreakerSettings, Settings, load_settings
from tests.unit.actors.fakes import T0, FakeClock, FakeSink, FakeSnapshot, answer

HOUR_MS = 3_600_000
PRICES = {"bitcoin": 1.0, "ethereum": 2.0}


class JumpyClock(FakeClock):
    """Its wall time is set by a test; its monotonic time is not."""

    set_by_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.set_by_ms


class Steady:
    """A provider that always answers."""

    name: ClassVar[str] = "coingecko"
    last_failure: PollFailure | None = None

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        del assets, budget_s
        return answer("coingecko", PRICES, tick_ts)


def settings_for(tick_ms: int, home: Path) -> Settings:
    collect = {"tick_s": tick_ms / 1000, "providers": ["coingecko"]}
    return load_settings(home=home, crypto_list=("BTC", "ETH"), collect=collect)


class Rig:
    """Scraper and collector on one clock, which is set after so many deliveries."""

    def __init__(self, settings: Settings, jumps: dict[int, int]) -> None:
        self.tick_ms = settings.collect.tick_ms
        self.jumps = jumps
        self.clock = JumpyClock(T0)
        self.sink, self.snapshot = FakeSink(), FakeSnapshot()
        self.collecting = Collecting(settings, self.clock, self.sink, self.snapshot)
        rules = PollRules(self.tick_ms, default_wait_s=5.0, max_wait_s=30.0)
        self.loop = PollLoop(Steady(), settings.assets, rules, HoldOff(), self.clock, self._take)
        self.delivered: list[int] = []
        self.waits: list[str] = []
        self.states: list[tuple[bool, bool, bool, bool]] = []
        self.over = asyncio.Event()
        self.clock.sleep = self._sleep

    async def run(self, deliveries: int) -> None:
        self.wanted = deliveries
        task = asyncio.create_task(self.loop.run())
        await asyncio.wait_for(self.over.wait(), 30.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def published(self) -> list[int]:
        return [batch.tick_ts for batch in self.sink.batches if batch.messages]

    @property
    def gaps(self) -> list[int]:
        return [batch.tick_ts for batch in self.sink.batches if not batch.messages]

    async def _sleep(self, seconds: float) -> None:
        if self.over.is_set():
            await asyncio.Event().wait()
        self.clock.ms += seconds * 1000
        now = self.clock.now_ms()
        self.collecting.publish_due()
        text = self.loop.waits(now)
        if text:
            self.waits.append(text)
            self.states.append((self.loop.healthy(now), self.loop.fresh(now), self.collecting.healthy(now), self.collecting.fresh(now)))
        await asyncio.sleep(0)

    def _take(self, result: TickResult) -> None:
        self.delivered.append(result.tick_ts)
        self.collecting.submit(result)
        self.collecting.publish_due()
        for batch in self.sink.batches:
            self.collecting.published(batch, self.clock.now_ms())
        self.clock.set_by_ms += self.jumps.get(len(self.delivered), 0)
        if len(self.delivered) >= self.wanted:
            self.over.set()


@pytest.mark.parametrize("tick_ms", [2_000, 60_000])
async def test_an_hour_ahead_is_a_gap_and_an_hour_back_is_waited_for_and_told(tick_ms: int, tmp_path: Path):
    # At 2 s more ticks are leapt over than are closed one by one.
    rig = Rig(settings_for(tick_ms, tmp_path), {5: HOUR_MS, 10: -HOUR_MS})
    await rig.run(15)
    hour = HOUR_MS // tick_ms
    expected = [T0 + n * tick_ms for n in range(5)] + [T0 + (hour + 4 + n) * tick_ms for n in range(10)]
    assert rig.published == rig.delivered == expected
    # Every tick between the first and the last: published, closed as a gap of each coin, or counted as leapt over. None twice.
    closed = sorted(rig.published + rig.gaps)
    assert len(set(closed)) == len(closed)
    total = (expected[-1] - T0) // tick_ms + 1
    assert len(closed) + rig.collecting.skipped_total == total
    assert (rig.collecting.skipped_total > 0) is (tick_ms == 2_000)
    assert rig.snapshot.gaps == dict.fromkeys(PRICES, len(rig.gaps))
    assert rig.loop.stats.missed_ticks_total == total - 15
    assert rig.collecting.late_total == 0
    # The hour that comes again is waited for: told all the time, and no reason for a new scraper or collector.
    back_to = second_text(expected[10])
    assert set(rig.waits) == {f"the clock was set back: ticks before {back_to} are taken already"}
    assert len(rig.waits) >= hour - 3
    assert set(rig.states) == {(True, False, True, False)}
    now = rig.clock.now_ms()
    assert rig.loop.fresh(now)
    assert rig.collecting.fresh(now)


async def test_a_set_back_by_less_than_a_tick_costs_nothing(tmp_path: Path):
    rig = Rig(settings_for(60_000, tmp_path), {5: -50_000, 8: 50_000})
    await rig.run(12)
    assert rig.published == [T0 + n * 60_000 for n in range(12)]
    assert (rig.waits, rig.gaps, rig.loop.stats.missed_ticks_total) == ([], [], 0)


def test_a_successor_behind_the_topic_s_tail_repeats_no_tick_and_says_so(tmp_path: Path):
    settings = settings_for(60_000, tmp_path)
    first = Rig(settings, {})
    first.collecting.submit(answer("coingecko", PRICES))
    first.collecting.publish_due()
    (newest,) = first.sink.batches
    tail = SeenTicks()
    assert tail.learn(message.value for message in newest.messages) == T0
    # It starts an hour before what its predecessor published last.
    clock, sink = JumpyClock(T0 - HOUR_MS), FakeSink()
    second = Collecting(settings, clock, sink, FakeSnapshot())
    second.connected(T0)
    for n in range(5):
        clock.ms = T0 - HOUR_MS + n * 60_000
        second.submit(answer("coingecko", PRICES, clock.now_ms()))
        second.publish_due()
    now = clock.now_ms()
    assert len(sink.batches) == 5
    assert all(tail.has(batch) for batch in sink.batches)
    assert (second.healthy(now), second.fresh(now), second.set_back(now), second.next_tick) == (True, False, True, T0 + 60_000)
    assert not second.set_back(T0)


def test_no_wait_grows_by_a_set_back_clock(tmp_path: Path):
    hold = HoldOff(tmp_path / "hold.json")
    hold.impose(FallbackReason.RATE_LIMITED, 90.0, T0)
    successor = HoldOff(tmp_path / "hold.json")
    successor.load()
    for one in (hold, successor):
        assert one.active(T0 - HOUR_MS) == (FallbackReason.RATE_LIMITED, 90.0)
        assert one.active(T0 - HOUR_MS + 89_000) == (FallbackReason.RATE_LIMITED, 1.0)
        assert one.active(T0 - HOUR_MS + 90_000) is None
    breaker = Breaker(BreakerSettings(failures=1, failing_s=0, open_s=30, max_open_s=300), uniform=lambda: 0.0)
    breaker.failed(FallbackReason.UNAVAILABLE, T0)
    assert not breaker.allows(T0 + 29_999)
    assert breaker.allows(T0 - HOUR_MS)
    operator = Breaker(BreakerSettings())
    operator.trip("by hand", T0)
    assert not operator.allows(T0 - HOUR_MS)


async def test_the_limiter_does_not_wait_for_an_hour_that_comes_again():
    bucket = LocalBucket([Rate(1, 6_000), Rate(10, 60_000)])
    assert await bucket.put(1, T0) == 0
    assert await bucket.put(1, T0 + 1_000) == 5_001
    back = T0 - HOUR_MS
    assert [await bucket.put(1, back), await bucket.put(1, back + 1_000), await bucket.put(1, back + 6_001)] == [0, 5_001, 0]
