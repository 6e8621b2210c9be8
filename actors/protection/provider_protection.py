"""Protection of one provider from too many calls, built from the settings: rate limiter, quota meter, turns, hold-off and breaker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from actors.fetching.hold_off import HoldOff
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.kept_state import SharedStates
from actors.protection.breaker import Breaker
from actors.protection.rate_limiter import Bucket, Gate, LocalBucket, ProviderLimiter, SharedBucket, rates_of
from actors.quota.meter import Meter
from actors.quota.planner import Turn, Turns, exhausted_at_ms
from actors.quota.store import FileStore, RedisStore
from cryptoviz.clock import Clock, steady_ms, utc_ms
from cryptoviz.errors import CryptoVizError
from cryptoviz.log import get_logger
from cryptoviz.plans import cost_of, plan_of, plans_of
from cryptoviz.provider_status import BreakerStatus, HoldStatus, QuotaStatus
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.plan import Period
from cryptoviz.providers.registry import spec_of
from cryptoviz.redis_keys import LIMIT_KEY
from cryptoviz.rpc.pipeline_status import pipeline_id
from cryptoviz.settings import Settings

__all__ = ["ProviderProtection", "build_protection", "look_up_account"]

WAIT_SHARE = 0.5
"""Maximum share of a tick that a call waits for the local rate limit; after that the tick uses its other providers."""
_LOOK_UP_TIMEOUT_S = 10.0
_LOAD_AGAIN_S = 5.0
_HOLD, _BREAKER = "hold", "breaker"


@dataclass(frozen=True, slots=True)
class ProviderProtection:
    """Limits and state of one provider, for one event loop. Its `rate` and `take` are an `actors.scraping.poll_scheduler.TurnTaker`."""

    limiter: ProviderLimiter
    hold_off: HoldOff
    breaker: Breaker
    meter: Meter
    turns: Turns
    states: SharedStates
    shared: tuple[SharedBucket | RedisStore | SharedStates, ...]

    async def load(self) -> bool:
        """Restore the state of earlier processes, also on other nodes: hold, open breaker, usage. Returns whether Redis gave hold and breaker."""
        known = await self._load_states()
        await self.meter.load()
        return known

    async def load_late(self, clock: Clock) -> None:
        """Restore hold and breaker as soon as Redis answers."""
        while not await self._load_states():
            await clock.sleep(_LOAD_AGAIN_S)

    async def _load_states(self) -> bool:
        hold, breaker = await self.load_hold(), await self.load_breaker()
        return hold and breaker

    async def load_hold(self) -> bool:
        """Restore the newest hold. Returns whether Redis answered."""
        copy = await self.states.load(_HOLD)
        self.hold_off.load(copy)
        return copy is not None

    async def load_breaker(self) -> bool:
        """Restore the newest state of the breaker. Returns whether Redis answered."""
        copy = await self.states.load(_BREAKER)
        self.breaker.load(copy)
        return copy is not None

    @property
    def rate(self) -> float:
        """Share of ticks that are turns."""
        return self.turns.rate

    def take(self, tick_ts: int) -> Turn:
        """What the tick is for the provider. Limits reported by the provider apply from the next tick."""
        if self.turns.plan != self.meter.plan:
            self.turns.learn(self.meter.plan)
        turn = self.turns.at(tick_ts, self.meter.usage)
        if turn is Turn.DUE:
            self.meter.took_turn(tick_ts)
        return turn

    def quotas(self, now_ms: int, tick_ms: int) -> tuple[QuotaStatus, ...]:
        plan, usage, cost = self.meter.plan, self.meter.usage, self.turns.cost
        return tuple(
            QuotaStatus(
                period.value,
                limit,
                usage.used(period),
                max(0, limit - usage.used(period)),
                self.meter.resets_ms(period),
                exhausted_at_ms(plan, usage, cost, period, self.turns.rate, now_ms, tick_ms),
            )
            for period in Period
            if (limit := plan.limit(period)) is not None
        )

    def hold(self, clock: Clock) -> HoldStatus | None:
        held = self.hold_off.active(steady_ms(clock))
        return None if held is None else HoldStatus(held[0].value, clock.now_ms() + round(held[1] * 1000))

    def breaker_status(self, clock: Clock) -> BreakerStatus:
        """Status of the breaker with UTC times, for display."""
        status = self.breaker.status()
        probe_ms = None if status.probe_ms is None else utc_ms(clock, status.probe_ms)
        return replace(status, since_ms=utc_ms(clock, status.since_ms) if status.since_ms else 0, probe_ms=probe_ms)

    async def aclose(self) -> None:
        for one in self.shared:
            await one.aclose()


def build_protection(name: str, settings: Settings, clock: Clock) -> ProviderProtection:
    """Protection of a provider, shared through files and Redis by all its users on this node, and through Redis by those on other nodes. Opens no
    connection.

    Raises:
        SettingsError: unknown provider.
    """
    own = settings.provider(name)
    plan, cost = plan_of(name, own), cost_of(name, len(settings.assets), own.scrapers)
    states = SharedStates(settings.redis, pipeline_id(settings), name)
    hold_off = HoldOff(settings.run_dir / f"hold-off-{name}.json", clock, states.saver(_HOLD))
    account = _account_key(name, own.base_url, own.api_key.get_secret_value() if own.api_key else "")
    usage_in_redis = RedisStore(settings.redis, account, clock)
    meter = Meter(plan, (FileStore(settings.run_dir / f"quota-{name}.json"), usage_in_redis), clock)
    shared: tuple[SharedBucket | RedisStore | SharedStates, ...] = (usage_in_redis, states)
    buckets: tuple[Bucket, ...] = ()
    rates = rates_of(plan, spec_of(name).interval_s(own))
    if rates:
        bucket = SharedBucket(rates, settings.redis, f"{LIMIT_KEY}:{account}", clock)
        buckets, shared = (bucket, LocalBucket(rates)), (*shared, bucket)
    gate = Gate(buckets, cost.weight, plan.per_minute, WAIT_SHARE * settings.collect.tick_s)
    breaker = Breaker(own.breaker, settings.run_dir / f"breaker-{name}.json", clock=clock, share=states.saver(_BREAKER))
    plans = plans_of(settings)
    plans[name] = (plan, cost)
    turns = Turns(name, plans, settings.collect.tick_ms)
    return ProviderProtection(ProviderLimiter(name, gate, hold_off, meter, clock), hold_off, breaker, meter, turns, states, shared)


async def look_up_account(provider: BaseProvider, protection: ProviderProtection, settings: Settings, clock: Clock) -> bool:
    """Fetch limits and usage of the API key's account. Returns False if there is no such endpoint or the call fails; the settings then apply."""
    call = provider.spec.account
    headers = provider.auth_headers()
    if call is None or not headers:
        return False
    own = settings.provider(provider.name)
    # Without a recorder: an account is not market data.
    fetcher = HttpFetcher(
        provider=provider.name,
        client=open_client(provider.base_url, settings.network),
        limits=HttpLimits(_LOOK_UP_TIMEOUT_S, own.max_body_bytes),
        limiter=protection.limiter,
        clock=clock,
        secrets=own.secrets_sent(settings.network),
    )
    try:
        account = await fetcher.get(f"{provider.base_url}{call.path}", {}, headers, call.parse)
    except CryptoVizError as error:
        get_logger("quota").warning("account_not_told", provider=provider.name, reason=error.message)
        return False
    finally:
        await fetcher.aclose()
    await protection.meter.learn(account)
    plan = protection.meter.plan
    get_logger("quota").info("account", provider=provider.name, per_month=plan.per_month, used=protection.meter.usage.month_used)
    return True


def _account_key(name: str, base_url: str, secret: str) -> str:
    """Identifies the account that the provider counts calls for: hash of its host and the API key. Without both, the provider's name."""
    if not base_url and not secret:
        return name
    return f"{name}:{hashlib.blake2b(f'{base_url}|{secret}'.encode(), digest_size=6).hexdigest()}"
