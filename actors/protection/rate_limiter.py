"""The limiter of one provider: pacing, the plan's minute, its days and months, and what the provider's own headers say.

The bucket is pyrate-limiter's sliding log: one in this process, and one in Redis that everything on the node shares (a backfill beside a scraper,
a scraper's successor). Without Redis the one in the process still holds. The waiting is ours, so that a test's clock decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, Protocol

import redis.asyncio
from pyrate_limiter import AbstractBucket, InMemoryBucket, Rate, RateItem, RedisBucket
from redis.exceptions import RedisError

from actors.fetching.hold_off import HoldOff
from actors.quota.meter import Meter
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import failure
from cryptoviz.providers.plan import Plan
from cryptoviz.records import FallbackReason

__all__ = ["LIMIT_KEY", "Gate", "LocalBucket", "ProviderLimiter", "SharedBucket", "rates_of", "used_weight"]

LIMIT_KEY = "cryptoviz:limit"
"""Prefix of the buckets in Redis."""
MINUTE_MS = 60_000
_USED_WEIGHT = "x-mbx-used-weight-1m"
"""Binance: weight that the address has used in the current minute, whoever used it."""
_TIMEOUT_S = 0.3
_RETRY_S = 5.0
_SLACK_MS = 1_000
"""Clocks of one node's processes agree better than this."""


class Bucket(Protocol):
    """Admits a call of some weight, or says how long to wait."""

    async def put(self, weight: int, now_ms: int) -> int:
        """0 when admitted, else ms to wait; -1 when it never fits. `now_ms` is of the monotonic clock."""
        ...


def rates_of(plan: Plan, min_interval_s: float) -> list[Rate]:
    """The bucket's rates, the tightest first. One that another makes idle is left out, as the bucket asks."""
    rates = [Rate(1, round(min_interval_s * 1000))] if min_interval_s >= 0.001 else []
    if plan.per_minute and (not rates or plan.per_minute * rates[0].interval < MINUTE_MS):
        rates.append(Rate(plan.per_minute, MINUTE_MS))
    return rates


class LocalBucket:
    """In this process."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._bucket = InMemoryBucket(list(rates))

    async def put(self, weight: int, now_ms: int) -> int:
        """See `Bucket`."""
        return await _put(self._bucket, weight, now_ms)


class SharedBucket:
    """In Redis. A Redis that is away admits everything and is asked again after a while.

    Its calls are stamped by the wall clock, the only one that machines share; the bucket of each process beside it holds when that clock steps.
    """

    def __init__(self, rates: Sequence[Rate], url: str, key: str, clock: Clock) -> None:
        self._rates = list(rates)
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        self._key = key
        self._clock = clock
        self._bucket: RedisBucket | None = None
        self._away_until_s = float("-inf")

    async def put(self, weight: int, now_ms: int) -> int:
        """See `Bucket`."""
        del now_ms
        if self._clock.monotonic_s() < self._away_until_s:
            return 0
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._bucket is None:
                    made: Any = RedisBucket.init(self._rates, self._client, self._key)
                    self._bucket = await made
                return await _put(self._bucket, weight, self._clock.now_ms())
        except (RedisError, OSError, TimeoutError) as error:
            # Also a Redis that was restarted and has lost the script.
            self._bucket = None
            self._away_until_s = self._clock.monotonic_s() + _RETRY_S
            get_logger("limiter").warning("shared_limit_unavailable", key=self._key, reason=type(error).__name__)
            return 0

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


async def _put(bucket: AbstractBucket, weight: int, now_ms: int) -> int:
    decision = await _decide(bucket, weight, now_ms)
    if decision.retry_after_ms is not None and decision.retry_after_ms > max(rate.interval for rate in bucket.rates) + _SLACK_MS:
        # Calls of a future: the clock was set back, and the bucket would refuse until that time comes again.
        flushed: Any = bucket.flush()
        if isawaitable(flushed):
            await flushed
        decision = await _decide(bucket, weight, now_ms)
    leaked = bucket.leak(now_ms)
    if isawaitable(leaked):
        await leaked
    if decision.allowed:
        return 0
    return -1 if decision.retry_after_ms is None else max(1, decision.retry_after_ms)


async def _decide(bucket: AbstractBucket, weight: int, now_ms: int) -> Any:
    decision = bucket.put_decision(RateItem("call", now_ms, weight=weight))
    return await decision if isawaitable(decision) else decision


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands between a provider and its calls.

    Attributes:
        buckets: all of them must admit.
        weight: of one call.
        per_minute: what `X-MBX-USED-WEIGHT-1M` counts towards.
        max_wait_s: a longer wait is a refusal: the tick has other providers.
    """

    buckets: Sequence[Bucket]
    weight: int
    per_minute: int | None
    max_wait_s: float


class ProviderLimiter:
    """`actors.fetching.hold_off.Limiter` of one provider, for one event loop. Callers go in their order."""

    def __init__(self, provider: str, gate: Gate, hold_off: HoldOff, meter: Meter, clock: Clock) -> None:
        self._provider = provider
        self._gate = gate
        self._hold_off = hold_off
        self._meter = meter
        self._clock = clock
        self._lock = asyncio.Lock()
        self._pause_until_ms = 0

    def weighing(self, weight: int, max_wait_s: float) -> ProviderLimiter:
        """The same limits for calls of another weight, which may wait longer and hold no poll up meanwhile."""
        gate = replace(self._gate, weight=weight, max_wait_s=max_wait_s)
        return ProviderLimiter(self._provider, gate, self._hold_off, self._meter, self._clock)

    async def acquire(self) -> None:
        """Return when the next call may go; it is counted.

        Raises:
            ProviderUnavailable: `rate_limited` when the wait is too long or the provider asked for one, `quota` when the plan is used up.
        """
        async with self._lock:
            await self._obey_hold_off()
            for bucket in self._gate.buckets:
                while wait_ms := await bucket.put(self._gate.weight, steady_ms(self._clock)):
                    await self._wait(wait_ms)
            # Last, because a call that was counted goes.
            period = await self._meter.charge()
            if period is not None:
                left_s = (self._meter.resets_ms(period) - self._clock.now_ms()) / 1000
                raise failure(self._provider, FallbackReason.QUOTA, f"the plan's {period.value} is used up", left_s)

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """What the provider itself counts: past its limit calls wait for the next minute."""
        del status
        used, limit = used_weight(headers), self._gate.per_minute
        if used is not None and limit is not None and used + self._gate.weight > limit:
            self._pause_until_ms = steady_ms(self._clock) + MINUTE_MS - self._clock.now_ms() % MINUTE_MS

    async def _obey_hold_off(self) -> None:
        now_ms = steady_ms(self._clock)
        held = self._hold_off.active(now_ms)
        if held is not None:
            raise failure(self._provider, held[0], f"asked to wait; next call in {held[1]:.0f} s", held[1])
        if now_ms < self._pause_until_ms:
            await self._wait(self._pause_until_ms - now_ms)

    async def _wait(self, wait_ms: int) -> None:
        wait_s = wait_ms / 1000
        if wait_ms < 0 or wait_s > self._gate.max_wait_s:
            text = "a call weighs more than its minute" if wait_ms < 0 else f"our own limit; next call in {wait_s:.1f} s"
            raise failure(self._provider, FallbackReason.RATE_LIMITED, text, max(0.0, wait_s))
        await self._clock.sleep(wait_s)


def used_weight(headers: Mapping[str, str]) -> int | None:
    """Binance's count of the current minute, if the headers hold one. One of any size counts: it is past every limit."""
    value = headers.get(_USED_WEIGHT, "").strip()
    return int((value.lstrip("0") or "0")[:10]) if value.isascii() and value.isdigit() else None
