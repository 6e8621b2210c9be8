"""Jumps of the wall clock, ahead and back: no tick is duplicated, lost ticks are reported, and waits keep their duration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import ClassVar

import orjson
import pytest
from pyrate_limiter import Rate

from actors.collecting.core import CollectorCore
from actors.fetching.hold_off import HoldOff
from actors.protection.breaker import Breaker
from actors.protection.rate_limiter import Gate, LocalBucket, ProviderLimiter
from actors.publishing.kafka_transport import PublishedTicks
from actors.publishing.transaction import KafkaTransaction
from actors.quota.meter import Meter
from actors.scraping.collector_client import RETRY_S, ResultSender
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from actors.taken_ticks import TakenTicks
from cryptoviz.assets import Asset
from cryptoviz.clock import steady_ms
from cryptoviz.errors import EngineUnavailable
from cryptoviz.kafka import Progress
from cryptoviz.providers.plan import Plan
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import BreakerSettings, Settings, load_settings
from cryptoviz.times import second_text
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import FakeSink, FakeSnapshot, answer
from tests.support.usage_store import MemoryStore

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PRICES = {"bitcoin": 1.0, "ethereum": 2.0}


class JumpyClock(FakeClock):
    """A clock whose sleep can be replaced."""

    def __init__(self, now_ms: int, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        super().__init__(now_ms)
        self._sleep = sleep or super().sleep

    async def sleep(self, seconds: float) -> None:
        await self._sleep(seconds)


class Steady:
    """A provider that always answers."""

    name: ClassVar[str] = "coingecko"

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        del assets, budget_s
        return answer("coingecko", PRICES, tick_ts)


def settings_for(tick_ms: int, home: Path) -> Settings:
    collect = {"tick_s": tick_ms / 1000, "providers": ["coingecko"]}
    return load_settings(home=home, crypto_list=("BTC", "ETH"), collect=collect)


class Rig:
    """Scraper and collector on one clock, which is set after given numbers of deliveries."""

    def __init__(self, settings: Settings, jumps: dict[int, int]) -> None:
        self.tick_ms = settings.collect.tick_ms
        self.jumps = jumps
        self.clock = JumpyClock(T0, self._sleep)
        self.sink, self.snapshot = FakeSink(), FakeSnapshot()
        self.core = CollectorCore(settings, self.clock, self.sink, self.snapshot)
        rules = PollRules(self.tick_ms, default_wait_s=5.0, max_wait_s=30.0)
        self.loop = PollScheduler(Steady(), settings.assets, rules, HoldOff(), self.clock, self._take)
        self.delivered: list[int] = []
        self.waits: list[str] = []
        self.states: list[tuple[bool, bool, bool, bool]] = []
        self.over = asyncio.Event()

    async def run(self, deliveries: int) -> None:
        self.wanted = deliveries
        task = asyncio.create_task(self.loop.run())
        await asyncio.wait_for(self.over.wait(), 30.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def published(self) -> list[int]:
        return [transaction.tick_ts for transaction in self.sink.transactions if transaction.messages]

    @property
    def gaps(self) -> list[int]:
        return [transaction.tick_ts for transaction in self.sink.transactions if not transaction.messages]

    async def _sleep(self, seconds: float) -> None:
        if self.over.is_set():
            await asyncio.Event().wait()
        self.clock.ms += seconds * 1000
        now = self.clock.now_ms()
        self.core.publish_due()
        text = self.loop.waits(now)
        if text:
            self.waits.append(text)
            self.states.append((self.loop.healthy(now), self.loop.fresh(now), self.core.healthy(now), self.core.fresh(now)))
        await asyncio.sleep(0)

    def _take(self, result: TickResult) -> None:
        self.delivered.append(result.tick_ts)
        self.core.submit(result)
        self.core.publish_due()
        for transaction in self.sink.transactions:
            self.core.published(transaction, self.clock.now_ms())
        self.clock.set_by_ms += self.jumps.get(len(self.delivered), 0)
        if len(self.delivered) >= self.wanted:
            self.over.set()


@pytest.mark.parametrize("tick_ms", [2_000, 60_000])
async def test_a_jump_of_an_hour_ahead_is_a_gap_and_an_hour_back_is_a_reported_wait(tick_ms: int, tmp_path: Path):
    # With ticks of 2 s, more ticks are skipped than can be closed one by one.
    rig = Rig(settings_for(tick_ms, tmp_path), {5: HOUR_MS, 10: -HOUR_MS})
    await rig.run(15)
    hour = HOUR_MS // tick_ms
    expected = [T0 + n * tick_ms for n in range(5)] + [T0 + (hour + 4 + n) * tick_ms for n in range(10)]
    assert rig.published == rig.delivered == expected
    # Every tick between the first and the last is published, closed as a gap of each coin, or counted as skipped, and none twice.
    closed = sorted(rig.published + rig.gaps)
    assert len(set(closed)) == len(closed)
    total = (expected[-1] - T0) // tick_ms + 1
    assert len(closed) + rig.core.skipped_total == total
    assert (rig.core.skipped_total > 0) is (tick_ms == 2_000)
    assert rig.core.stats.gaps_total == len(PRICES) * len(rig.gaps)
    assert rig.loop.stats.missed_ticks_total == total - 15
    assert rig.core.late_total == 0
    # The repeated hour is a wait: reported throughout, without a restart of scraper or collector.
    back_to = second_text(expected[10])
    assert set(rig.waits) == {f"the clock was set back: ticks before {back_to} were polled already"}
    assert len(rig.waits) >= hour - 3
    assert set(rig.states) == {(True, False, True, False)}
    now = rig.clock.now_ms()
    assert rig.loop.fresh(now)
    assert rig.core.fresh(now)


async def test_a_set_back_by_less_than_a_tick_loses_no_tick(tmp_path: Path):
    rig = Rig(settings_for(60_000, tmp_path), {5: -50_000, 8: 50_000})
    await rig.run(12)
    assert rig.published == [T0 + n * 60_000 for n in range(12)]
    assert (rig.waits, rig.gaps, rig.loop.stats.missed_ticks_total) == ([], [], 0)


def test_a_successor_behind_the_newest_published_tick_repeats_no_tick_and_reports_it(tmp_path: Path):
    settings = settings_for(60_000, tmp_path)
    first = Rig(settings, {})
    first.core.submit(answer("coingecko", PRICES))
    first.core.publish_due()
    (newest,) = first.sink.transactions
    tail = PublishedTicks()
    tail.resume(Progress(tail.learn(message.value for message in newest.messages), "", "", 1, ""))
    assert tail.last_tick == T0
    # It starts an hour before the last tick of its predecessor.
    clock, sink = JumpyClock(T0 - HOUR_MS), FakeSink()
    second = CollectorCore(settings, clock, sink, FakeSnapshot())
    second.connected(T0)
    for n in range(5):
        clock.ms = T0 - HOUR_MS + n * 60_000
        second.submit(answer("coingecko", PRICES, clock.now_ms()))
        second.publish_due()
    now = clock.now_ms()
    assert len(sink.transactions) == 5
    assert all(tail.has(transaction) for transaction in sink.transactions)
    assert (second.healthy(now), second.fresh(now), second.set_back(now), second.next_tick) == (True, False, True, T0 + 60_000)
    assert not second.set_back(T0)


YEAR_MS = 365 * DAY_MS


@pytest.mark.parametrize("ahead_ms", [2 * DAY_MS, YEAR_MS])
@pytest.mark.parametrize("tick_ms", [2_000, 60_000])
async def test_a_clock_far_ahead_for_a_tick_or_two_stops_nothing(tick_ms: int, ahead_ms: int, tmp_path: Path):
    rig = Rig(settings_for(tick_ms, tmp_path), {5: ahead_ms, 7: -ahead_ms, 10: ahead_ms, 11: -ahead_ms})
    await rig.run(15)
    # Five ticks, two in a different year, three, one in a different year, four. The tick of the correction may be lost; none is duplicated.
    ahead = [tick for tick in rig.published if tick >= T0 + ahead_ms]
    near = [tick for tick in rig.published if tick < T0 + ahead_ms]
    assert (len(ahead), len(near)) == (3, 12)
    assert near == sorted(set(near))
    assert near[:5] == [T0 + n * tick_ms for n in range(5)]
    assert near[-1] <= T0 + 18 * tick_ms
    assert len(set(rig.published)) == 15
    now = rig.clock.now_ms()
    assert (rig.core.healthy(now), rig.core.fresh(now), rig.core.set_back(now), rig.loop.fresh(now)) == (True, True, False, True)


def test_a_successor_continues_inside_the_leap_of_a_clock_a_year_ahead(tmp_path: Path):
    """The progress contains the leap. The successor waits at published ticks, and in the hour before the leap."""
    clock = JumpyClock(T0)
    tail = PublishedTicks(clock)
    for tick in (T0, T0 + YEAR_MS):
        tail.resume(progress_of(tail.after(tick_transaction(tick))))
    assert tail.last_tick == T0
    sink = FakeSink()
    second = CollectorCore(settings_for(60_000, tmp_path), clock, sink, FakeSnapshot(), lambda: tail.taken)
    second.connected(tail.last_tick)
    clock.ms = T0 + DAY_MS
    for _ in range(5):
        clock.ms += 60_000
        second.submit(answer("coingecko", PRICES, clock.now_ms()))
        second.publish_due()
        assert not tail.has(sink.transactions[-1])
        tail.resume(progress_of(tail.after(sink.transactions[-1])))
    now = clock.now_ms()
    assert not second.set_back(now)
    assert tail.last_tick == T0 + DAY_MS + 5 * 60_000
    for published in (T0 - HOUR_MS, T0, now, now - HOUR_MS, T0 + YEAR_MS):
        assert tail.has(tick_transaction(published))
    assert not tail.has(tick_transaction(now + 60_000))
    # It continues up to the published tick, and after it.
    assert not tail.has(tick_transaction(T0 + YEAR_MS - 60_000))
    assert not tail.has(tick_transaction(T0 + YEAR_MS + 60_000))


def test_a_set_back_by_hours_after_a_long_pause_is_a_wait_too():
    clock = JumpyClock(T0 + 30 * DAY_MS)
    tail = PublishedTicks(clock)
    for tick in (T0, T0 + 30 * DAY_MS):
        tail.resume(progress_of(tail.after(tick_transaction(tick))))
    assert tail.has(tick_transaction(T0 + 30 * DAY_MS - HOUR_MS))
    assert tail.has(tick_transaction(T0 + 30 * DAY_MS - DAY_MS))
    assert not tail.has(tick_transaction(T0 + 30 * DAY_MS - DAY_MS - 60_000))


@pytest.mark.parametrize(
    ("in_topic", "now", "is_implausible", "free"),
    [
        ([0, 60_000, YEAR_MS], DAY_MS, True, True),  # a clock was a year ahead under an earlier version, which stored no leaps
        ([0, 60_000, YEAR_MS, YEAR_MS + 60_000], DAY_MS, True, True),
        ([YEAR_MS], DAY_MS, True, False),  # no earlier tick is left in the topic, so that the published ticks are unknown
        ([0, 60_000], -2 * DAY_MS, True, False),  # the clock is behind
        ([*range(-3 * DAY_MS, 60_000, HOUR_MS)], -2 * DAY_MS, True, False),  # between published ticks
        ([0, 60_000], -HOUR_MS, False, False),
    ],
)
def test_what_an_earlier_version_left_of_a_clock_ahead_is_found_in_the_topic(in_topic: list[int], now: int, is_implausible: bool, free: bool):
    clock = JumpyClock(T0 + now)
    tail = PublishedTicks(clock)
    position = T0 + max(in_topic)
    tail.resume(Progress(position, "", "", 1, ""))
    assert tail.is_implausible() is is_implausible
    assert tail.learn(value_of(T0 + tick) for tick in in_topic) == position
    tail.resume(Progress(position, "", "", 1, ""))
    assert tail.has(tick_transaction(T0 + now)) is not free
    assert all(tail.has(tick_transaction(T0 + tick)) for tick in in_topic)
    kept = progress_of(tail.after(tick_transaction(T0 + now)))
    tail = PublishedTicks(clock)
    tail.resume(kept)
    assert not tail.is_implausible() or not free
    assert tail.has(tick_transaction(T0 + now))


def tick_transaction(tick_ts: int) -> KafkaTransaction:
    return KafkaTransaction(f"tick-{tick_ts}", tick_ts, ())


def progress_of(taken: TakenTicks) -> Progress:
    return Progress(taken.newest, "", "", 1, "", [list(leap) for leap in taken.leaps])


def value_of(tick_ts: int) -> bytes:
    sink, clock = FakeSink(), JumpyClock(tick_ts)
    core = CollectorCore(load_settings(crypto_list=("BTC",), collect={"tick_s": 60, "providers": ["coingecko"]}), clock, sink, FakeSnapshot())
    core.submit(answer("coingecko", PRICES, tick_ts))
    core.publish_due()
    return sink.transactions[0].messages[0].value


STEPS_S = (-3600, -2, 2, 3600, 365 * 86_400)


def at(clock: JumpyClock, seconds: float) -> int:
    """Monotonic ms at a number of seconds after the start."""
    clock.ms = T0 + seconds * 1000
    return steady_ms(clock)


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("same_process", [True, False], ids=["the same", "a successor"])
def test_a_hold_lasts_as_long_as_imposed(tmp_path: Path, step_s: int, same_process: bool):
    clock = JumpyClock(T0)
    hold = HoldOff(tmp_path / "hold.json", clock)
    hold.impose(FallbackReason.RATE_LIMITED, 90.0, at(clock, 0))
    clock.set_by_ms = step_s * 1000
    if not same_process:
        hold = HoldOff(tmp_path / "hold.json", clock)
        hold.load()
    assert hold.active(at(clock, 0)) == (FallbackReason.RATE_LIMITED, 90.0)
    assert hold.active(at(clock, 89)) == (FallbackReason.RATE_LIMITED, 1.0)
    assert hold.active(at(clock, 90)) is None


@pytest.mark.parametrize(("step_s", "left_s"), [(0, 60.0), (-3600, 90.0), (20, 40.0), (3600, None)])
def test_after_a_reboot_the_rest_of_a_hold_is_by_the_wall_clock(tmp_path: Path, step_s: int, left_s: float | None):
    path = tmp_path / "hold.json"
    clock = JumpyClock(T0)
    HoldOff(path, clock).impose(FallbackReason.RATE_LIMITED, 90.0, at(clock, 0))
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"origin": "another boot"}))
    at(clock, 30)
    clock.set_by_ms = step_s * 1000
    hold = HoldOff(path, clock)
    hold.load()
    assert hold.active(steady_ms(clock)) == (None if left_s is None else (FallbackReason.RATE_LIMITED, left_s))


def test_a_hold_stored_by_an_earlier_version_is_respected(tmp_path: Path):
    path = tmp_path / "hold.json"
    clock = JumpyClock(T0)
    clock.set_by_ms = HOUR_MS
    path.write_bytes(orjson.dumps({"from_ms": T0 + HOUR_MS, "until_ms": T0 + HOUR_MS + 90_000, "reason": "rate_limited"}))
    hold = HoldOff(path, clock)
    hold.load()
    assert hold.active(at(clock, 30)) == (FallbackReason.RATE_LIMITED, 60.0)


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("same_process", [True, False], ids=["the same", "a successor"])
def test_a_breaker_probes_after_its_wait(tmp_path: Path, step_s: int, same_process: bool):
    settings, path = BreakerSettings(failures=1, failing_s=0, open_s=30, max_open_s=300), tmp_path / "breaker.json"
    clock = JumpyClock(T0)
    breaker = Breaker(settings, path, lambda: 0.0, clock)
    breaker.failed(FallbackReason.UNAVAILABLE, at(clock, 0))
    clock.set_by_ms = step_s * 1000
    if not same_process:
        breaker = Breaker(settings, path, lambda: 0.0, clock)
        breaker.load()
    assert not breaker.allows(at(clock, 29.999))
    assert breaker.allows(at(clock, 30))


@pytest.mark.parametrize("step_s", STEPS_S)
def test_freshness_depends_on_the_monotonic_clock(tmp_path: Path, step_s: int):
    """Fresh with a good poll within 3 ticks, independent of the wall clock. A clock set back behind the tick is reported."""
    rig = Rig(settings_for(60_000, tmp_path), {})
    rig.loop.stats.started_ms = at(rig.clock, 0)
    rig.loop.stats.last_good_poll_ms = at(rig.clock, 60)
    rig.clock.set_by_ms = step_s * 1000
    at(rig.clock, 60 + 180)
    assert rig.loop.fresh(rig.clock.now_ms())
    at(rig.clock, 60 + 181)
    assert not rig.loop.fresh(rig.clock.now_ms())


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_the_local_limiter_uses_the_monotonic_clock(step_s: int):
    clock = JumpyClock(T0)
    limiter = ProviderLimiter(
        "binance", Gate([LocalBucket([Rate(1, 6_000)])], 1, None, 30.0), HoldOff(), Meter(Plan(), [MemoryStore()], clock), clock
    )
    await limiter.acquire()
    clock.set_by_ms = step_s * 1000
    await limiter.acquire()
    # Bucket times are whole ms, and a call is admitted after the end of the interval.
    assert sum(clock.slept) == pytest.approx(6.0, abs=0.01)


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_an_undelivered_result_is_dropped_after_its_tick(step_s: int):
    clock = JumpyClock(T0)

    class Away:
        async def submit(self, result: TickResult) -> None:
            del result
            clock.set_by_ms = step_s * 1000
            raise EngineUnavailable("no collector", engine="collector")

    link = ResultSender(Away(), 60_000, clock)  # type: ignore[arg-type]
    await link._deliver(answer("coingecko", PRICES, T0))
    assert link.undelivered_total == 1
    assert sum(clock.slept) == pytest.approx(60.0, abs=RETRY_S)


async def test_a_bucket_does_not_wait_after_a_set_back_by_an_hour():
    bucket = LocalBucket([Rate(1, 6_000), Rate(10, 60_000)])
    assert await bucket.put(1, T0) == 0
    assert await bucket.put(1, T0 + 1_000) == 5_001
    back = T0 - HOUR_MS
    assert [await bucket.put(1, back), await bucket.put(1, back + 1_000), await bucket.put(1, back + 6_001)] == [0, 5_001, 0]
