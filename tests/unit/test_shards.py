"""Each coin is in exactly one shard, and the results of shards make one result of the provider."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.plans import cost_of
from cryptoviz.providers.plan import Cost
from cryptoviz.records import FallbackReason
from cryptoviz.shards import merged, shard_assets, shard_name
from tests.support.clock import T0
from tests.support.collection_fakes import answer, failed

ASSETS = DEFAULT_ASSETS[:3]
BITCOIN, ETHEREUM, THIRD = (asset.asset_id for asset in ASSETS)


@given(coins=st.integers(1, len(DEFAULT_ASSETS)), count=st.integers(1, 20))
def test_each_coin_is_in_exactly_one_shard_of_nearly_equal_size(coins: int, count: int) -> None:
    assets = DEFAULT_ASSETS[:coins]
    shards = [shard_assets(assets, number, count) for number in range(1, count + 1)]
    assert sorted(asset.asset_id for shard in shards for asset in shard) == sorted(asset.asset_id for asset in assets)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_first_shard_is_the_provider_s_scraper() -> None:
    assert [shard_name("coinbase", number) for number in (1, 2, 12)] == ["scraper/coinbase", "scraper/coinbase/2", "scraper/coinbase/12"]


def test_prices_keep_the_exchange_attempt_and_time_of_their_shard() -> None:
    first = replace(answer("coinbase", {BITCOIN: 1.0, THIRD: 3.0}, T0), fetch_id="a", attempt=1, ingest_ts=T0 + 1, fetch_ids={THIRD: "c"})
    second = replace(answer("coinbase", {ETHEREUM: 2.0}, T0), fetch_id="b", attempt=2, ingest_ts=T0 + 2)
    result = merged([first, second], ASSETS)
    assert {name: seen.price for name, seen in result.observations.items()} == {BITCOIN: 1.0, ETHEREUM: 2.0, THIRD: 3.0}
    assert (result.failure, result.attempt, result.ingest_ts, result.fetch_id) == (None, 2, T0 + 2, "a")
    assert result.fetch_ids == {ETHEREUM: "b", THIRD: "c"}
    assert [result.source_of(name) for name in (BITCOIN, ETHEREUM, THIRD)] == [first, second, first]


def test_coins_of_a_failed_shard_have_its_reason() -> None:
    good = answer("coinbase", {BITCOIN: 1.0, THIRD: 3.0}, T0)
    result = merged([good, failed("coinbase", FallbackReason.TIMEOUT, T0)], ASSETS)
    assert (result.failure, result.asset_failures) == (None, {ETHEREUM: FallbackReason.TIMEOUT})
    assert result.observations == good.observations


def test_it_fails_if_all_shards_fail_with_the_longest_refusal() -> None:
    parts = [
        failed("coinbase", FallbackReason.TIMEOUT, T0),
        replace(failed("coinbase", FallbackReason.RATE_LIMITED, T0), retry_after_s=5.0),
        replace(failed("coinbase", FallbackReason.RATE_LIMITED, T0), retry_after_s=9.0),
    ]
    result = merged(parts, ASSETS)
    assert (result.failure, result.retry_after_s, result.observations) == (FallbackReason.RATE_LIMITED, 9.0, {})
    assert result.asset_failures == {BITCOIN: FallbackReason.TIMEOUT, ETHEREUM: FallbackReason.RATE_LIMITED, THIRD: FallbackReason.RATE_LIMITED}


@pytest.mark.parametrize(
    ("provider", "coins", "scrapers", "cost"),
    [("coinbase", 17, 1, Cost(17)), ("coinbase", 17, 4, Cost(17)), ("coingecko", 17, 4, Cost(4)), ("coingecko", 17, 1, Cost(1))],
)
def test_shards_of_a_provider_with_many_coins_in_a_call_cost_more(provider: str, coins: int, scrapers: int, cost: Cost) -> None:
    assert cost_of(provider, coins, scrapers) == cost
