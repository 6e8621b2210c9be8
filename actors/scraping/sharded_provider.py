"""A provider whose coins are polled by several scrapers, seen by the leading scraper's scheduler as one.

In each tick every shard is given to exactly one poller: its scraper, or, while that is known to be away, this process. A shard whose scraper is lost
during a poll is not polled again in this tick, because it may have been polled already; its coins fail, and other providers have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from actors.scraping.shard_calls import ShardAnswer, ShardClient, ShardIdle
from cryptoviz.assets import Asset
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError
from cryptoviz.log import get_logger
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import failure
from cryptoviz.providers.listing_status import ListingStatus
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.shards import merged, shard_assets, shard_name

__all__ = ["BUDGET_SHARE", "ShardedProvider"]

BUDGET_SHARE = 0.95
"""Share of a poll's time that a shard's scraper has, so that its answer is back in time."""
READY_S = 1.0
"""Interval of asking whether a scraper is back: less than a tick is of no use."""


class _ShardedListing(ListingStatus):
    """Status of the ids by the newest good response of each shard."""

    def __init__(self) -> None:
        super().__init__()
        self._shards: dict[int, tuple[Mapping[str, str], frozenset[str], frozenset[str]]] = {}

    def answered(self, ids: Mapping[str, str], left_out: Collection[str], priced: Collection[str]) -> None:
        """Of the leading scraper's own shard."""
        self.answered_by(1, ids, left_out, priced)

    def answered_by(self, number: int, ids: Mapping[str, str], left_out: Collection[str], priced: Collection[str]) -> None:
        self._shards[number] = (ids, frozenset(left_out), frozenset(priced))
        known = self._shards.values()
        all_ids = {provider_id: asset_id for ids, _, _ in known for provider_id, asset_id in ids.items()}
        super().answered(all_ids, frozenset().union(*(one for _, one, _ in known)), frozenset().union(*(one for _, _, one in known)))


class ShardedProvider:
    """See `actors.scraping.poll_scheduler.Pollable`. For one event loop, one poll at a time.

    Args:
        own: polls shard 1.
        make: a provider that polls a shard here while its scraper is away: its own one, because providers have state of the coins that they poll.
        shards: of the other scrapers, from shard 2 on.
    """

    def __init__(self, own: BaseProvider, make: Callable[[], BaseProvider], shards: Sequence[ShardClient], clock: Clock) -> None:
        self._own = own
        self._make = make
        self._shards = dict(enumerate(shards, 2))
        self._count = len(shards) + 1
        self._clock = clock
        self._substitutes: dict[int, BaseProvider] = {}
        self._away: dict[int, asyncio.Task[None]] = {}
        self._tick_ts: int | None = None
        self._log = get_logger(shard_name(own.name, 1))
        self._listing = own.ids = _ShardedListing()

    @property
    def name(self) -> str:
        return self._own.name

    @property
    def away(self) -> tuple[int, ...]:
        """Shards whose scraper is away, so that they are polled here."""
        return tuple(sorted(self._away))

    @property
    def note(self) -> str:
        """Status text; empty if all scrapers are there."""
        names = ", ".join(shard_name(self.name, number) for number in self.away)
        return f"polls the coins of {names}, not there" if names else ""

    def permits(self, tick_ts: int) -> bool:
        """Whether the tick's poll is in progress: calls of a poll that is over are of no use."""
        return tick_ts == self._tick_ts

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        """One result of all shards. Never raises."""
        self._tick_ts = tick_ts
        end_s = self._clock.monotonic_s() + budget_s
        try:
            polls = [self._poll_shard(number, tick_ts, shard_assets(assets, number, self._count), end_s) for number in range(1, self._count + 1)]
            return merged(await asyncio.gather(*polls), assets)
        finally:
            self._tick_ts = None

    async def aclose(self) -> None:
        tasks = list(self._away.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (self._own, *self._substitutes.values()):
            await one.aclose()

    async def _poll_shard(self, number: int, tick_ts: int, assets: Sequence[Asset], end_s: float) -> TickResult:
        if number == 1:
            return await self._own.poll(tick_ts, assets, self._left_s(end_s))
        if number not in self._away:
            try:
                answer = await self._shards[number].poll(tick_ts, self._left_s(end_s))
            except ShardIdle as idle:
                self._lost(number, idle)
            except CryptoVizError as error:
                self._lost(number, error)
                lost = failure(self.name, FallbackReason.UNAVAILABLE, f"{shard_name(self.name, number)} was lost: {error.message}")
                return TickResult(self.name, tick_ts, "", 1, self._clock.now_ms(), failure=lost.reason, message=lost.message)
            else:
                return self._answered(number, answer)
        provider = self._substitutes.get(number) or self._substitutes.setdefault(number, self._make())
        result = await provider.poll(tick_ts, assets, self._left_s(end_s))
        listed = [asset for asset in assets if provider.id_of(asset) is not None]
        return self._answered(number, ShardAnswer(result, provider.ids_of(listed), provider.ids.left_out))

    def _answered(self, number: int, answer: ShardAnswer) -> TickResult:
        if answer.result.failure is None:
            self._listing.answered_by(number, answer.ids, answer.left_out, answer.result.observations.keys())
        return answer.result

    def _left_s(self, end_s: float) -> float:
        return max(0.05, end_s - self._clock.monotonic_s())

    def _lost(self, number: int, error: CryptoVizError) -> None:
        self._log.warning("shard_lost", shard=shard_name(self.name, number), reason=error.message)
        self._away[number] = asyncio.get_running_loop().create_task(self._wait_for(number), name=f"{shard_name(self.name, number)} back")

    async def _wait_for(self, number: int) -> None:
        while not await self._shards[number].ready():
            await self._clock.sleep(READY_S)
        # The next tick is its scraper's: polls read this once for each tick.
        del self._away[number]
        self._log.info("shard_back", shard=shard_name(self.name, number))
