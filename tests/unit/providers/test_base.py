from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar

import pytest

from actors.fetching.hold_off import MinIntervalLimiter
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.errors import BadPayload, ProviderRefused, ProviderUnavailable
from cryptoviz.providers.base import BaseProvider
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.records import FallbackReason, Observation
from cryptoviz.settings import ProviderSettings
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import seen

BTC, ETH = DEFAULT_ASSETS[:2]
ELSEWHERE = Asset("elsewhere", "ELS", "Elsewhere", {"other": "x"})


class Scripted(BaseProvider):
    spec: ClassVar[ProviderSpec] = ProviderSpec(name="coingecko", base_url="http://127.0.0.1:1")
    script: list[Exception | list[Observation]]
    asked: list[list[str]]

    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        self.asked.append([asset.asset_id for asset in assets])
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


class Hanging(Scripted):
    async def get_crypto_data(self, assets: Sequence[Asset]) -> list[Observation]:
        await asyncio.Event().wait()
        raise AssertionError


Make = Callable[..., Scripted]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Scripted] = []

    def build(*script: Exception | list[Observation], cls: type[Scripted] = Scripted) -> Scripted:
        clock = FakeClock()
        fetcher = HttpFetcher("coingecko", open_client(cls.spec.base_url), HttpLimits(1, 1), MinIntervalLimiter(0, clock), clock, lambda _: None)
        provider = cls(ProviderSettings(), fetcher, clock)
        provider.script, provider.asked = list(script), []
        made.append(provider)
        return provider

    yield build
    for provider in made:
        await provider.aclose()


def down(reason: FallbackReason = FallbackReason.UNAVAILABLE) -> ProviderUnavailable:
    return ProviderUnavailable("down", provider="coingecko", reason=reason, retry_after_s=3.0)


async def test_prices_and_what_is_missing(make: Make):
    provider = make([seen("bitcoin", 1.0)])
    result = await provider.poll(T0, [BTC, ETH, ELSEWHERE], 1.0)
    assert provider.asked == [["bitcoin", "ethereum"]]
    assert set(result.observations) == {"bitcoin"}
    assert result.asset_failures == {"ethereum": FallbackReason.MISSING_ASSET, "elsewhere": FallbackReason.MISSING_ASSET}
    assert (result.failure, result.attempt, result.tick_ts, result.ingest_ts) == (None, 1, T0, T0)


async def test_a_lost_connection_gets_one_quick_second_try(make: Make):
    result = await make(down(), [seen("bitcoin", 1.0)]).poll(T0, [BTC], 1.0)
    assert (result.failure, result.attempt) == (None, 2)
    provider = make(down(), down(), [seen("bitcoin", 1.0)])
    result = await provider.poll(T0, [BTC], 1.0)
    assert (result.failure, result.attempt, len(provider.asked)) == (FallbackReason.UNAVAILABLE, 2, 2)
    assert result.retry_after_s == 3.0


@pytest.mark.parametrize(
    "error",
    [
        down(FallbackReason.RATE_LIMITED),
        down(FallbackReason.TIMEOUT),
        down(FallbackReason.QUOTA),
        ProviderRefused("key", provider="coingecko", reason=FallbackReason.AUTH),
        BadPayload("odd", provider="coingecko", reason=FallbackReason.BAD_PAYLOAD),
    ],
)
async def test_other_failures_get_no_second_try(make: Make, error):
    provider = make(error, [seen("bitcoin", 1.0)])
    result = await provider.poll(T0, [BTC], 1.0)
    assert (result.failure, result.attempt, result.message) == (error.reason, 1, error.message)
    assert len(provider.asked) == 1


async def test_a_third_partys_bug_is_a_bad_payload(make: Make):
    result = await make(KeyError("price")).poll(T0, [BTC], 1.0)
    assert (result.failure, result.observations) == (FallbackReason.BAD_PAYLOAD, {})
    assert "KeyError" in result.message


async def test_the_ticks_time_ends_a_poll_that_hangs(make: Make):
    result = await make(cls=Hanging).poll(T0, [BTC], 0.05)
    assert result.failure is FallbackReason.TIMEOUT


async def test_a_failure_does_not_stick(make: Make):
    provider = make(down(FallbackReason.TIMEOUT), [seen("bitcoin", 1.0)])
    await provider.poll(T0, [BTC], 1.0)
    result = await provider.poll(T0 + 1000, [BTC], 1.0)
    assert (result.failure, result.message, result.retry_after_s) == (None, "", None)
