"""In each tick each coin has one poller: its shard's scraper, or the leading scraper while that is away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from actors.scraping.actor import ScraperActor
from actors.scraping.shard_calls import LeadLimiter, ShardAnswer, ShardIdle, polling
from actors.scraping.sharded_provider import ShardedProvider
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.errors import ComponentLost, CryptoVizError, ProviderFailure
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.failures import failure
from cryptoviz.providers.listing_status import ListingStatus
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import load_settings
from cryptoviz.shards import shard_assets
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import answer
from tests.support.waiting import eventually_async

TICK = 1000
NAME = "coinbase"


class Ledger:
    """Who has polled which coins, by tick."""

    def __init__(self) -> None:
        self.polled: Counter[tuple[int, str]] = Counter()

    def poll(self, tick_ts: int, assets: Sequence[Asset]) -> TickResult:
        self.polled.update((tick_ts, asset.asset_id) for asset in assets)
        return answer(NAME, {asset.asset_id: 1.0 for asset in assets}, tick_ts)


class Own:
    """`BaseProvider` as far as it is used."""

    name = NAME

    def __init__(self, ledger: Ledger) -> None:
        self.ids = ListingStatus()
        self._ledger = ledger
        self.polls = 0

    async def poll(self, tick_ts: int, assets: Sequence[Asset], budget_s: float) -> TickResult:
        assert budget_s > 0
        self.polls += 1
        self.ids.answered(self.ids_of(assets), (), [asset.asset_id for asset in assets])
        return self._ledger.poll(tick_ts, assets)

    def id_of(self, asset: Asset) -> str | None:
        return asset.provider_ids.get(NAME)

    def ids_of(self, assets: Sequence[Asset]) -> dict[str, str]:
        return {asset.provider_ids[NAME]: asset.asset_id for asset in assets if NAME in asset.provider_ids}

    async def aclose(self) -> None:
        """Nothing is open."""


class Shard:
    """A scraper that is there, stopped (`idle`), or lost before or after its poll."""

    def __init__(self, number: int, count: int, ledger: Ledger) -> None:
        self.assets = shard_assets(DEFAULT_ASSETS, number, count)
        self._ledger = ledger
        self.state = "there"

    async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
        await asyncio.sleep(0)
        if self.state == "idle":
            raise ShardIdle("it is not started", component="scraper/coinbase/2")
        if self.state != "lost before":
            result = self._ledger.poll(tick_ts, self.assets)
        if self.state != "there":
            raise ComponentLost("its process ended", component="scraper/coinbase/2")
        return ShardAnswer(result, {asset.provider_ids[NAME]: asset.asset_id for asset in self.assets if NAME in asset.provider_ids})

    async def ready(self) -> bool:
        return self.state == "there"


def provider(ledger: Ledger, shards: Sequence[Shard], clock: FakeClock) -> tuple[ShardedProvider, Own, list[Own]]:
    own, made = Own(ledger), list[Own]()

    def make() -> BaseProvider:
        made.append(Own(ledger))
        return cast("BaseProvider", made[-1])

    return ShardedProvider(cast("BaseProvider", own), make, shards, clock), own, made


@pytest.mark.parametrize("seed", range(20))
async def test_no_coin_is_polled_twice_and_none_is_left_out_whatever_is_lost(seed: int) -> None:
    chance, ledger, clock = random.Random(seed), Ledger(), FakeClock()
    count = chance.randint(2, 5)
    shards = [Shard(number, count, ledger) for number in range(2, count + 1)]
    sharded, _, _ = provider(ledger, shards, clock)
    for number in range(60):
        tick_ts = T0 + number * TICK
        for shard in shards:
            if chance.random() < 0.3:
                shard.state = chance.choice(["there", "there", "idle", "lost before", "lost after"])
        result = await sharded.poll(tick_ts, DEFAULT_ASSETS, 0.8)
        for _ in range(chance.randint(0, 4)):
            await asyncio.sleep(0)
        for asset in DEFAULT_ASSETS:
            polled = ledger.polled[tick_ts, asset.asset_id]
            found = asset.asset_id in result.observations
            assert polled == 1 or (polled == 0 and not found)
            assert found or result.asset_failures[asset.asset_id] is FallbackReason.UNAVAILABLE
    await sharded.aclose()


async def test_a_stopped_scraper_s_coins_are_polled_at_once_and_given_back() -> None:
    ledger, clock = Ledger(), FakeClock()
    shard = Shard(2, 2, ledger)
    sharded, own, made = provider(ledger, [shard], clock)
    shard.state = "idle"
    first = await sharded.poll(T0, DEFAULT_ASSETS, 0.8)
    assert len(first.observations) == len(DEFAULT_ASSETS)
    assert (sharded.away, sharded.note) == ((2,), "polls the coins of scraper/coinbase/2, not there")
    shard.state = "there"

    async def back() -> bool:
        return not sharded.away

    await eventually_async(back)
    await sharded.poll(T0 + TICK, DEFAULT_ASSETS, 0.8)
    # A provider has state of the coins that it polls, so that another instance polls those of another shard.
    assert (own.polls, [one.polls for one in made], sharded.note) == (2, [1], "")
    assert set(ledger.polled.values()) == {1}
    await sharded.aclose()


async def test_coins_of_a_scraper_lost_in_a_poll_fail_for_this_tick_only() -> None:
    ledger, clock = Ledger(), FakeClock()
    shard = Shard(2, 2, ledger)
    sharded, _, _ = provider(ledger, [shard], clock)
    shard.state = "lost after"
    lost = await sharded.poll(T0, DEFAULT_ASSETS, 0.8)
    assert lost.failure is None
    assert lost.asset_failures == {asset.asset_id: FallbackReason.UNAVAILABLE for asset in shard.assets}
    assert lost.parts[1].message == "coinbase: scraper/coinbase/2 was lost: its process ended"
    assert len((await sharded.poll(T0 + TICK, DEFAULT_ASSETS, 0.8)).observations) == len(DEFAULT_ASSETS)
    await sharded.aclose()


async def test_ids_left_out_by_a_shard_are_the_provider_s() -> None:
    ledger, clock = Ledger(), FakeClock()

    class LeavesOut(Shard):
        async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
            return ShardAnswer(self._ledger.poll(tick_ts, self.assets[1:]), {"ETH-USD": "ethereum"}, frozenset({"ETH-USD"}))

    sharded, own, _ = provider(ledger, [LeavesOut(2, 2, ledger)], clock)
    await sharded.poll(T0, DEFAULT_ASSETS, 0.8)
    await sharded.poll(T0 + TICK, DEFAULT_ASSETS, 0.8)
    assert [problem.asset_id for problem in own.ids.problems] == ["ethereum"]
    await sharded.aclose()


class Lead:
    def __init__(self, error: CryptoVizError | None = None) -> None:
        self.error = error
        self.permitted: list[int] = []
        self.observed: list[Mapping[str, str]] = []

    async def permit(self, tick_ts: int, timeout_s: float) -> None:
        if self.error is not None:
            raise self.error
        self.permitted.append(tick_ts)

    async def observe(self, headers: Mapping[str, str]) -> None:
        self.observed.append(headers)


async def test_a_shard_asks_the_leading_scraper_for_each_call() -> None:
    lead = Lead()
    limiter = LeadLimiter("binance", lead, 1.0)
    with polling(T0):
        await limiter.acquire()
        limiter.observe(200, {"content-type": "application/json"})
        limiter.observe(200, {"x-mbx-used-weight-1m": "7"})
    await asyncio.sleep(0)
    assert (lead.permitted, lead.observed) == ([T0], [{"x-mbx-used-weight-1m": "7"}])


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (failure("binance", FallbackReason.QUOTA, "the plan's day is used up", 9.0), FallbackReason.QUOTA, "binance: the plan's day is used up"),
        (ComponentLost("no answer within 1 s", component="x"), FallbackReason.UNAVAILABLE, "does not permit the call: no answer within 1 s"),
    ],
)
async def test_a_call_without_permission_is_not_made(error: CryptoVizError, reason: FallbackReason, text: str) -> None:
    with pytest.raises(ProviderFailure, match=text) as caught:
        await LeadLimiter("binance", Lead(error), 1.0).acquire()
    assert caught.value.reason is reason


async def test_no_call_is_permitted_outside_of_its_tick() -> None:
    settings = load_settings(providers={NAME: {"scrapers": 2}})
    with pytest.raises(ProviderFailure, match="the poll of this tick is over"):
        await ScraperActor(settings, NAME).permit(T0)
    ledger, asked = Ledger(), list[bool]()

    class Asks(Shard):
        async def poll(self, tick_ts: int, budget_s: float) -> ShardAnswer:
            asked.extend(sharded.permits(moment) for moment in (tick_ts - TICK, tick_ts, tick_ts + TICK))
            return await super().poll(tick_ts, budget_s)

    sharded, _, _ = provider(ledger, [Asks(2, 2, ledger)], FakeClock())
    await sharded.poll(T0, DEFAULT_ASSETS, 0.8)
    assert asked == [False, True, False]
    assert not sharded.permits(T0)
