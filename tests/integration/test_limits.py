"""Limits across processes: two users of a provider, sharing a real Redis, and a market that refuses and bans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors import kept_state
from actors.fetching.build import build_provider
from actors.protection import rate_limiter
from actors.protection.provider_protection import build_protection, look_up_account
from actors.quota import store as quota_store
from actors.scraping.poll_scheduler import PollRules, PollScheduler
from cryptoviz.clock import SystemClock, steady_ms
from cryptoviz.engines.build import Engine
from cryptoviz.errors import ProviderRefused, ProviderUnavailable
from cryptoviz.provider_status import BreakerState
from cryptoviz.providers.plan import Period
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import Settings, claim_home, load_settings
from market.server import ReplayMarket
from tests.support.engines import engines
from tests.support.ports import free_port

pytestmark = pytest.mark.integration
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def redis_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Engine]]:
    settings = claim_home(load_settings(home=tmp_path_factory.mktemp("redis"), redis={"port": free_port()}))
    with engines(settings, "redis") as (engine,):
        yield settings, engine


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's Redis may answer later than a poll can wait; each process would then go by what it knows itself."""
    for module in (kept_state, rate_limiter, quota_store):
        monkeypatch.setattr(module, "_TIMEOUT_S", 3.0)


def settings_for(base: Settings, home: Path, name: str, **provider: Any) -> Settings:
    collect = {"providers": [name], "tick_s": 10.0}  # time for a busy machine to answer a poll
    return load_settings(home=home, redis={"url": base.redis.url}, collect=collect, providers={name: provider})


async def test_two_users_of_one_provider_share_its_minute(redis_engine: tuple[Settings, Engine], tmp_path: Path):
    base, _ = redis_engine
    plan: dict[str, Any] = {"base_url": "http://127.0.0.1:1", "quota": {"per_minute": 5}}
    # Two homes: nothing but Redis is between them.
    users = [build_protection("kraken", settings_for(base, tmp_path / str(n), "kraken", **plan), CLOCK) for n in range(2)]
    for n in range(5):
        await users[n % 2].limiter.acquire()
    for user in users:
        with pytest.raises(ProviderUnavailable) as refused:
            await user.limiter.acquire()
        assert refused.value.reason is FallbackReason.RATE_LIMITED
        await user.aclose()


async def test_another_key_has_a_minute_of_its_own(redis_engine: tuple[Settings, Engine], tmp_path: Path):
    base, _ = redis_engine
    for key in ("a", "b"):
        settings = settings_for(base, tmp_path / key, "coingecko", base_url="http://127.0.0.1:1", api_key=key, quota={"per_minute": 1})
        protection = build_protection("coingecko", settings, CLOCK)
        await protection.limiter.acquire()
        await protection.aclose()


async def test_use_survives_the_loss_of_the_file_or_of_redis(redis_engine: tuple[Settings, Engine], tmp_path: Path):
    base, engine = redis_engine
    settings = settings_for(base, tmp_path / "home", "coinpaprika", base_url="http://127.0.0.1:2", quota={"per_month": 5})
    first = build_protection("coinpaprika", settings, CLOCK)
    for _ in range(3):
        await first.limiter.acquire()
    await first.aclose()
    (settings.run_dir / "quota-coinpaprika.json").unlink()
    second = build_protection("coinpaprika", settings, CLOCK)
    await second.load()
    assert second.meter.usage.month_used == 3
    await second.limiter.acquire()
    await asyncio.to_thread(engine.stop)
    try:
        await second.limiter.acquire()
        third = build_protection("coinpaprika", settings, CLOCK)
        await third.load()
        assert third.meter.usage.month_used == 5
        with pytest.raises(ProviderUnavailable, match="month is used up"):
            await third.limiter.acquire()
        await second.aclose()
        await third.aclose()
    finally:
        await asyncio.to_thread(engine.start)


async def test_a_hold_and_a_breaker_survive_the_loss_of_their_files_or_of_redis(redis_engine: tuple[Settings, Engine], tmp_path: Path):
    base, engine = redis_engine
    settings = settings_for(base, tmp_path / "home", "kraken")
    files = [settings.run_dir / f"{kind}-kraken.json" for kind in ("breaker", "hold-off")]

    async def restarted() -> tuple[str, bool]:
        successor = build_protection("kraken", settings, CLOCK)
        await successor.load()
        found = successor.breaker.status().state.value, successor.hold(CLOCK) is not None
        await successor.aclose()
        return found

    first = build_protection("kraken", settings, CLOCK)
    assert await restarted() == ("closed", False)
    first.breaker.trip("by hand", steady_ms(CLOCK))
    first.hold_off.impose(FallbackReason.RATE_LIMITED, 600.0, steady_ms(CLOCK))
    await first.aclose()
    for file in files:
        file.unlink()
    assert await restarted() == ("open", True)
    await asyncio.to_thread(engine.stop)
    try:
        assert await restarted() == ("closed", False)
        second = build_protection("kraken", settings, CLOCK)
        second.breaker.reset(steady_ms(CLOCK))
        second.hold_off.lift()
        await second.aclose()
    finally:
        await asyncio.to_thread(engine.start)
    assert await restarted() == ("closed", False)  # by the files, which are newer than what Redis has


class Polling:
    """A provider's poll loop against a market, tick by tick."""

    def __init__(self, market: ReplayMarket, settings: Settings, name: str) -> None:
        self.market = market
        self.protection = build_protection(name, settings, CLOCK)
        self.provider = build_provider(name, settings, CLOCK, lambda _: None, self.protection.limiter)
        own = settings.provider(name)
        rules = PollRules(settings.collect.tick_ms, own.rate_limit_wait_s, own.max_wait_s, own.quota.max_wait_s)
        self.loop = PollScheduler(self.provider, settings.assets, rules, self.protection.hold_off, CLOCK, lambda _: None, self.protection.breaker)

    async def poll(self) -> TickResult:
        return await self.loop.poll_once(CLOCK.now_ms())

    def served(self) -> int:
        return len(orjson.loads(self.market.request_log.page(0, 10_000))["entries"])

    def misbehave(self, provider: str, **parameters: Any) -> None:
        self.market.faults.add({"provider": provider, "kind": "http_status", "parameters": parameters}, self.market.clock.monotonic_s())

    async def aclose(self) -> None:
        await self.provider.aclose()
        await self.protection.aclose()


@pytest.mark.parametrize(
    ("name", "fault", "reason", "least_s", "most_s"),
    [
        ("coingecko", {"status": 429, "retry_after": 90}, FallbackReason.RATE_LIMITED, 85, 90),
        ("coinmarketcap", {"status": 429}, FallbackReason.RATE_LIMITED, 55, 60),
        ("binance", {"status": 418, "retry_after": 120}, FallbackReason.RATE_LIMITED, 115, 120),
        ("binance", {"status": 403}, FallbackReason.RATE_LIMITED, 55, 60),
        ("coinmarketcap", {"status": 403}, FallbackReason.AUTH, 55, 60),
    ],
)
async def test_a_refusal_is_obeyed_and_nothing_more_is_asked(
    redis_engine: tuple[Settings, Engine], tmp_path: Path, name: str, fault: dict[str, Any], reason: FallbackReason, least_s: float, most_s: float
):
    base, _ = redis_engine
    async with ReplayMarket() as market:
        polling = Polling(market, settings_for(base, tmp_path, name, base_url=market.base_url(name)), name)
        assert (await polling.poll()).failure is None
        polling.misbehave(name, **fault)
        before_ms = CLOCK.now_ms()
        assert (await polling.poll()).failure is reason
        after_ms = CLOCK.now_ms()
        asked = polling.served()
        market.faults.clear()
        assert [(await polling.poll()).failure for _ in range(5)] == [reason] * 5
        assert polling.served() == asked
        hold = polling.protection.hold(CLOCK)
        assert hold is not None
        assert before_ms + least_s * 1000 <= hold.until_ms <= after_ms + most_s * 1000
        # A successor obeys as well; the operator can lift it.
        successor = build_protection(name, settings_for(base, tmp_path, name, base_url=market.base_url(name)), CLOCK)
        await successor.load()
        with pytest.raises((ProviderUnavailable, ProviderRefused)):
            await successor.limiter.acquire()
        await successor.aclose()
        polling.protection.hold_off.lift()
        assert (await polling.poll()).failure is None
        await polling.aclose()


async def test_a_month_that_the_provider_calls_used_up_is_waited_for_to_its_end(redis_engine: tuple[Settings, Engine], tmp_path: Path):
    base, _ = redis_engine
    name = "coinmarketcap"
    async with ReplayMarket() as market:
        polling = Polling(market, settings_for(base, tmp_path, name, base_url=market.base_url(name)), name)
        polling.misbehave(name, status=429, error_code=1010)
        assert (await polling.poll()).failure is FallbackReason.QUOTA
        hold = polling.protection.hold(CLOCK)
        assert hold is not None
        assert abs(hold.until_ms - polling.protection.meter.resets_ms(Period.MONTH)) < 5_000
        assert polling.protection.breaker.status().state is BreakerState.CLOSED
        await polling.aclose()


@pytest.mark.parametrize("name", ["coingecko", "coinmarketcap"])
async def test_a_plan_with_a_key_reports_its_limits_and_use(redis_engine: tuple[Settings, Engine], tmp_path: Path, name: str):
    base, _ = redis_engine
    async with ReplayMarket() as market:
        settings = settings_for(base, tmp_path, name, base_url=market.base_url(name), api_key="k")
        polling = Polling(market, settings, name)
        assert polling.protection.meter.plan.per_month is None
        assert (await polling.poll()).failure is None
        assert await look_up_account(polling.provider, polling.protection, settings, CLOCK)
        plan = polling.protection.meter.plan
        # The replay market's own default.
        assert plan.per_month == 10_000_000
        (quota,) = [quota for quota in polling.protection.quotas(CLOCK.now_ms(), 10_000) if quota.period == "month"]
        assert quota.used >= 1
        assert quota.left == quota.limit - quota.used
        await polling.aclose()
