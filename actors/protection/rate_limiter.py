"""Rate limiter of one provider: minimum interval, the plan's limits per minute, day and month, and the provider's usage headers.

Uses the sliding log of pyrate-limiter twice: in this process, and in Redis, shared by all users on the node (a backfill beside a scraper, a
scraper's successor). Without Redis the bucket of the process still applies. Waits use the `Clock`, so that tests control the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, Protocol

from pyrate_limiter import AbstractBucket, InMemoryBucket, Rate, RateItem, RedisBucket
from redis.exceptions import RedisError

from actors.fetching.hold_off import HoldOff
from actors.quota.meter import Meter
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.log import get_logger
from cryptoviz.providers.failures import failure
from cryptoviz.providers.plan import Plan
from cryptoviz.records import FallbackReason
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.settings import RedisSettings

__all__ = ["Gate", "LocalBucket", "ProviderLimiter", "SharedBucket", "rates_of", "used_weight"]

MINUTE_MS = 60_000
_USED_WEIGHT = "x-mbx-used-weight-1m"
"""Binance: weight used by this IP address in the current minute."""
_TIMEOUT_S = 0.3
_RETRY_S = 5.0
_SLACK_MS = 1_000
"""Upper bound for the difference between clock readings of processes on one node."""


class Bucket(Protocol):
    """Admits a call of some weight, or returns the time to wait."""

    async def put(self, weight: int, now_ms: int) -> int:
        """0 if admitted, otherwise ms to wait; -1 if the weight exceeds the limit. `now_ms` is monotonic."""


def rates_of(plan: Plan, min_interval_s: float) -> list[Rate]:
    """Rates of the bucket, the tightest first. pyrate-limiter requires that redundant rates are omitted."""
    rates = [Rate(1, round(min_interval_s * 1000))] if min_interval_s >= 0.001 else []
    if plan.per_minute and (not rates or plan.per_minute * rates[0].interval < MINUTE_MS):
        rates.append(Rate(plan.per_minute, MINUTE_MS))
    return rates


class LocalBucket:
    """`Bucket` in this process."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._bucket = InMemoryBucket(list(rates))

    async def put(self, weight: int, now_ms: int) -> int:
        return await _put(self._bucket, weight, now_ms)


class SharedBucket:
    """`Bucket` in Redis. While Redis is unavailable all calls are admitted; it is retried after `_RETRY_S`.

    Calls are stamped by the wall clock, the only clock that machines share. If it is set, the bucket of each process still limits the rate.
    """

    def __init__(self, rates: Sequence[Rate], settings: RedisSettings, key: str, clock: Clock) -> None:
        self._rates = list(rates)
        self._client = open_client(settings, _TIMEOUT_S)
        self._key = key
        self._clock = clock
        self._bucket: RedisBucket | None = None
        self._retry_at_s = float("-inf")

    async def put(self, weight: int, now_ms: int) -> int:
        del now_ms
        if self._clock.monotonic_s() < self._retry_at_s:
            return 0
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._bucket is None:
                    made: Any = RedisBucket.init(self._rates, self._client, self._key)
                    self._bucket = await made
                return await _put(self._bucket, weight, self._clock.now_ms())
        except (RedisError, OSError, TimeoutError) as error:
            # Also raised by a restarted Redis, which has lost the script.
            self._bucket = None
            self._retry_at_s = self._clock.monotonic_s() + _RETRY_S
            get_logger("limiter").warning("shared_limit_unavailable", key=self._key, reason=type(error).__name__)
            return 0

    async def aclose(self) -> None:
        await close_client(self._client)


async def _put(bucket: AbstractBucket, weight: int, now_ms: int) -> int:
    decision = await _decide(bucket, weight, now_ms)
    if decision.retry_after_ms is not None and decision.retry_after_ms > max(rate.interval for rate in bucket.rates) + _SLACK_MS:
        # The bucket has calls with future stamps: the clock was set back, and the bucket would refuse until that time.
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
    """Limits of one kind of call.

    Attributes:
        buckets: all must admit a call.
        weight: weight of one call.
        per_minute: limit that `X-MBX-USED-WEIGHT-1M` is compared with.
        max_wait_s: a longer wait is refused: the tick uses its other providers.
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
        """A limiter with the same limits for calls of another weight and maximum wait, which do not delay polls."""
        gate = replace(self._gate, weight=weight, max_wait_s=max_wait_s)
        return ProviderLimiter(self._provider, gate, self._hold_off, self._meter, self._clock)

    async def acquire(self) -> None:
        """Wait until the next call is allowed, and count it.

        Raises:
            ProviderUnavailable: `rate_limited` if the wait is too long or the provider imposed a hold, `quota` if the plan is used up.
        """
        async with self._lock:
            await self._check_hold_off()
            for bucket in self._gate.buckets:
                while wait_ms := await bucket.put(self._gate.weight, steady_ms(self._clock)):
                    await self._wait(wait_ms)
            # Last, because a counted call must be made.
            period = await self._meter.charge()
            if period is not None:
                left_s = (self._meter.resets_ms(period) - self._clock.now_ms()) / 1000
                raise failure(self._provider, FallbackReason.QUOTA, f"the plan's {period.value} is used up", left_s)

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Evaluate the provider's usage header: past the limit, calls wait for the next minute."""
        del status
        used, limit = used_weight(headers), self._gate.per_minute
        if used is not None and limit is not None and used + self._gate.weight > limit:
            self._pause_until_ms = steady_ms(self._clock) + MINUTE_MS - self._clock.now_ms() % MINUTE_MS

    async def _check_hold_off(self) -> None:
        now_ms = steady_ms(self._clock)
        held = self._hold_off.active(now_ms)
        if held is not None:
            raise failure(self._provider, held[0], f"asked to wait; next call in {held[1]:.0f} s", held[1])
        if now_ms < self._pause_until_ms:
            await self._wait(self._pause_until_ms - now_ms)

    async def _wait(self, wait_ms: int) -> None:
        wait_s = wait_ms / 1000
        if wait_ms < 0 or wait_s > self._gate.max_wait_s:
            text = "the weight of a call exceeds the limit per minute" if wait_ms < 0 else f"local rate limit; next call in {wait_s:.1f} s"
            raise failure(self._provider, FallbackReason.RATE_LIMITED, text, max(0.0, wait_s))
        await self._clock.sleep(wait_s)


def used_weight(headers: Mapping[str, str]) -> int | None:
    """The weight used in the current minute, from Binance's header. Values of any length are accepted: a huge value exceeds every limit."""
    value = headers.get(_USED_WEIGHT, "").strip()
    return int((value.lstrip("0") or "0")[:10]) if value.isascii() and value.isdigit() else None
