"""Shards: the coins of one provider, divided over several scrapers. Pure; used by scrapers, plans and replays, which must agree.

Shard 1 is polled by the scraper `scraper/<provider>`, which leads the others: `scraper/<provider>/2` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cryptoviz.assets import Asset
from cryptoviz.components import scraper_name
from cryptoviz.providers.failures import REFUSALS
from cryptoviz.providers.plan import Cost
from cryptoviz.records import FallbackReason, Observation, TickResult

__all__ = ["cost_of_shards", "merged", "shard_assets", "shard_name"]


def shard_name(provider: str, number: int) -> str:
    """Name of the component that polls a shard; shards are counted from 1."""
    return scraper_name(provider) if number == 1 else f"{scraper_name(provider)}/{number}"


def shard_assets(assets: Sequence[Asset], number: int, count: int) -> tuple[Asset, ...]:
    """The assets of shard `number` of `count`. Each asset is in exactly one shard, and sizes differ by one at most."""
    return tuple(assets[number - 1 :: count])


def cost_of_shards(cost: Callable[[int], Cost], assets: int, count: int) -> Cost:
    """Cost of a poll of `count` shards together. `cost`: that of one poll for a number of assets."""
    costs = [cost(len(range(number, assets, count))) for number in range(count)]
    return Cost(sum(one.calls for one in costs), max(one.weight for one in costs))


def merged(parts: Sequence[TickResult], assets: Sequence[Asset]) -> TickResult:
    """The result of a provider from those of its shards, in their order, which it keeps as `parts`.

    It fails only if every shard failed, with the reason of a refusal if there is one. Otherwise the coins of failed shards have their shard's reason.
    Its `attempt` and `ingest_ts` are the largest; those of a price are in its part.
    """
    found: dict[str, Observation] = {}
    failures: dict[str, FallbackReason] = {}
    exchanges: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        found |= part.observations
        failures |= part.asset_failures
        exchanges |= {asset_id: part.fetch_ids.get(asset_id, part.fetch_id) for asset_id in part.observations}
        if part.failure is not None:
            failures |= {asset.asset_id: part.failure for asset in shard_assets(assets, number, len(parts))}
    good = [part for part in parts if part.failure is None]
    first = good[0] if good else max(parts, key=lambda part: (part.failure in REFUSALS, part.retry_after_s or 0))
    return replace(
        first,
        attempt=max(part.attempt for part in good or parts),
        ingest_ts=max(part.ingest_ts for part in good or parts),
        observations=found,
        asset_failures=failures,
        fetch_ids={asset_id: own for asset_id, own in exchanges.items() if own != first.fetch_id},
        trace=None,
        traceparent="",
        parts=tuple(parts),
    )
