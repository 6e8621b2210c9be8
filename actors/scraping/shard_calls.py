"""Calls between the scrapers of one provider: the leading scraper asks a shard's for a part of a poll, and is asked for each HTTP call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, cast

from actors.protection.rate_limiter import used_weight
from actors.ray_actor import ActorGone, RayActor
from cryptoviz.errors import ComponentLost, CryptoVizError, ProviderFailure
from cryptoviz.providers.failures import failure
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.shards import shard_name

__all__ = ["LeadClient", "LeadLimiter", "RayLeadClient", "RayShardClient", "ShardAnswer", "ShardClient", "ShardIdle", "polling"]

READY_TIMEOUT_S = 2.0
OBSERVE_TIMEOUT_S = 2.0

_TICK: ContextVar[int] = ContextVar("tick of a shard's poll")


class ShardIdle(ComponentLost):
    """The shard's scraper certainly does not poll: it does not exist, or has not been started."""


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """A shard's part of a poll.

    Attributes:
        ids: the provider's ids -> our asset ids, of the part's coins.
        left_out: those that were missing in a good response.
    """

    result: TickResult
    ids: dict[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


class ShardClient(Protocol):
    """Calls of a shard's scraper."""

    async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
        """Its part of a poll. Raises ShardIdle, or ComponentLost if it may have polled."""

    async def ready(self) -> bool:
        """Whether it can be asked for polls. Never raises."""


class LeadClient(Protocol):
    """Calls of the leading scraper."""

    async def permit(self, tick_ts: int, timeout_s: float) -> None:
        """Wait until an HTTP call of this tick's poll is permitted, and count it. Raises ProviderFailure if it is not, ComponentLost."""

    async def observe(self, headers: Mapping[str, str]) -> None:
        """Report the usage headers of a response. Raises ComponentLost."""


class RayShardClient:
    """`ShardClient` of the Ray actor."""

    def __init__(self, provider: str, number: int, namespace: str) -> None:
        self._actor = RayActor(shard_name(provider, number), namespace)

    async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
        try:
            return cast("ShardAnswer", await self._actor.call("poll_shard", tick_ts, budget_s, timeout_s=budget_s))
        except ActorGone as gone:
            raise ShardIdle(gone.message, component=gone.component) from None

    async def ready(self) -> bool:
        with suppress(CryptoVizError):
            return bool(await self._actor.call("is_ready", timeout_s=READY_TIMEOUT_S))
        return False


class RayLeadClient:
    """`LeadClient` of the Ray actor."""

    def __init__(self, provider: str, namespace: str) -> None:
        self._actor = RayActor(shard_name(provider, 1), namespace)

    async def permit(self, tick_ts: int, timeout_s: float) -> None:
        await self._actor.call("permit", tick_ts, timeout_s=timeout_s)

    async def observe(self, headers: Mapping[str, str]) -> None:
        await self._actor.call("observe", dict(headers), timeout_s=OBSERVE_TIMEOUT_S)


@contextmanager
def polling(tick_ts: int) -> Iterator[None]:
    """Within it, calls through `LeadLimiter` are those of this tick's poll."""
    token = _TICK.set(tick_ts)
    try:
        yield
    finally:
        _TICK.reset(token)


class LeadLimiter:
    """`actors.fetching.hold_off.Limiter` of a shard: the leading scraper's, so that all shards have one rate limit, quota and hold."""

    def __init__(self, provider: str, lead: LeadClient, timeout_s: float) -> None:
        self._provider = provider
        self._lead = lead
        self._timeout_s = timeout_s
        self._reports: set[asyncio.Task[None]] = set()

    async def acquire(self) -> None:
        """Wait until the next call is allowed. Raises ProviderFailure if it is not, `unavailable` if the leading scraper does not answer."""
        try:
            await self._lead.permit(_TICK.get(0), self._timeout_s)
        except ProviderFailure:
            raise
        except CryptoVizError as error:
            text = f"{shard_name(self._provider, 1)} does not permit the call: {error.message}"
            raise failure(self._provider, FallbackReason.UNAVAILABLE, text, final=True) from None

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Report the provider's own count of our use; the result of the poll tells the rest."""
        del status
        if used_weight(headers) is not None:
            task = asyncio.get_running_loop().create_task(self._report(headers))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

    async def _report(self, headers: Mapping[str, str]) -> None:
        with suppress(CryptoVizError):
            await self._lead.observe(headers)
