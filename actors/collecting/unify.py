"""Selects one unified record per asset from the providers' results of a tick: fallback with its reason, consensus, disagreement.

Pure and deterministic: the same results give the same records, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cryptoviz.assets import Asset
from cryptoviz.records import DOLLAR, FIRST_TRADE_MS, SCHEMA_VERSION, FallbackReason, Kind, Observation, Role, TickResult, UnifiedRecord, event_id

__all__ = ["ReplaceBy", "Rules", "Unified", "settled", "unify"]

BPS = 10_000.0
MIN_JUDGES = 2
"""Minimum number of other, agreeing prices to judge a price an outlier. A single other price could itself be wrong."""


class ReplaceBy(StrEnum):
    """Replacement of an outlier."""

    NONE = "none"
    """No replacement: the outlier is only flagged."""
    MEDIAN = "median"
    """The observation with the median price of the others; of the middle two the preferred one. Never an average."""
    NEXT = "next"
    """The next provider in order of preference."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of selection, from the settings.

    Attributes:
        order: providers in order of preference; the first is the primary.
        stale_after_s: age of the source stamp past which a price is stale and a fresh price is preferred.
        future_skew_s: maximum time by which a source stamp may be ahead of the local clock. A stamp further ahead, or before the first trade of any
            coin, is invalid: the row has no `source_ts`, and its price counts as stale because its age is unknown.
        disagree_bps: spread above which providers disagree.
        outlier_bps: distance from the median of the other prices at or above which a price is an outlier.
        replace_by: replacement of an outlier.
        currencies: quote currencies whose prices are compared with each other.
    """

    order: tuple[str, ...]
    stale_after_s: float
    disagree_bps: float
    outlier_bps: float = 5_000.0
    replace_by: ReplaceBy = ReplaceBy.NONE
    currencies: frozenset[str] = frozenset({DOLLAR})
    future_skew_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Unified:
    """A tick's records in asset order. `gaps`: for assets without a price from any provider, why the primary had none."""

    tick_ts: int
    records: tuple[UnifiedRecord, ...]
    gaps: dict[str, FallbackReason]


class _Candidate(NamedTuple):
    result: TickResult
    observation: Observation


def unify(tick_ts: int, assets: Sequence[Asset], rules: Rules, results: Mapping[str, TickResult], absent: Mapping[str, FallbackReason]) -> Unified:
    """Select a price for each asset.

    Args:
        tick_ts: UTC epoch ms.
        assets: assets in the order of the records.
        rules: rules of selection.
        results: results received in time by provider, including failures.
        absent: by provider without a result, the reason: `timeout` (late) or `unavailable` (stopped).
    """
    records: list[UnifiedRecord] = []
    gaps: dict[str, FallbackReason] = {}
    for asset in assets:
        candidates = _candidates(asset.asset_id, rules.order, results)
        if not candidates:
            gaps[asset.asset_id] = _why_not(asset.asset_id, rules, results, absent)
            continue
        first = _choose(candidates, rules)
        chosen, is_outlier = _without_outlier(first, candidates, rules)
        reason = None if chosen.result.provider == rules.order[0] else _why_not(asset.asset_id, rules, results, absent)
        if reason is not None and first.result.provider == rules.order[0]:
            reason = FallbackReason.OUTLIER
        records.append(_record(tick_ts, asset, chosen, reason, candidates, rules, flagged=is_outlier))
    return Unified(tick_ts, tuple(records), gaps)


def settled(assets: Sequence[Asset], rules: Rules, results: Mapping[str, TickResult], waiting_for: frozenset[str]) -> bool:
    """Whether each asset has a fresh price from a provider that is preferred to all of `waiting_for`, so that waiting cannot change the selection.

    Outliers are judged only by the results received within the consensus wait: a tick never waits longer for them.
    """
    return all(_settled(asset.asset_id, rules, results, waiting_for) for asset in assets)


def _settled(asset_id: str, rules: Rules, results: Mapping[str, TickResult], waiting_for: frozenset[str]) -> bool:
    for provider in rules.order:
        if provider in waiting_for:
            return False
        result = results.get(provider)
        observation = result.observations.get(asset_id) if result is not None else None
        if result is not None and observation is not None and not _is_stale(_Candidate(result.source_of(asset_id), observation), rules):
            return True
    return True


def _candidates(asset_id: str, order: Sequence[str], results: Mapping[str, TickResult]) -> list[_Candidate]:
    answered = [results[provider] for provider in order if provider in results]
    return [_Candidate(result.source_of(asset_id), result.observations[asset_id]) for result in answered if asset_id in result.observations]


def _choose(candidates: Sequence[_Candidate], rules: Rules) -> _Candidate:
    """The first fresh candidate in order of preference; if all are stale, the freshest, and on a tie the preferred one."""
    for candidate in candidates:
        if not _is_stale(candidate, rules):
            return candidate
    return max(candidates, key=lambda candidate: _source_ts(candidate, rules) or 0)


def _without_outlier(chosen: _Candidate, candidates: Sequence[_Candidate], rules: Rules) -> tuple[_Candidate, bool]:
    """The candidate after outlier replacement, and whether `chosen` is an outlier: far from the median of at least two fresh, agreeing others."""
    others = [c for c in candidates if c is not chosen and _is_comparable(c, rules) and not _is_stale(c, rules)]
    if len(others) < MIN_JUDGES or not _is_comparable(chosen, rules):
        return chosen, False
    prices = sorted(c.observation.price for c in others)
    median, spread = _median(prices), _spread_bps(prices, _median(prices))
    if median is None or spread is None or spread >= rules.outlier_bps:
        return chosen, False
    # Prices are positive, so that the quotient is finite or infinity, never NaN.
    if abs(chosen.observation.price - median) / median * BPS < rules.outlier_bps:
        return chosen, False
    if rules.replace_by is ReplaceBy.NONE:
        return chosen, True
    if rules.replace_by is ReplaceBy.NEXT:
        return others[0], True
    middle = (prices[(len(prices) - 1) // 2], prices[len(prices) // 2])
    return next(c for c in others if c.observation.price in middle), True


def _is_comparable(candidate: _Candidate, rules: Rules) -> bool:
    return candidate.observation.quote_currency in rules.currencies


def _is_stale(candidate: _Candidate, rules: Rules) -> bool:
    """By the provider's source stamp; a price without a stamp is never stale."""
    stamp = candidate.observation.source_ts
    if stamp is None:
        return False
    return not _is_believable(stamp, candidate.result.ingest_ts, rules) or candidate.result.ingest_ts - stamp > rules.stale_after_s * 1000


def _is_believable(stamp: int, ingest_ts: int, rules: Rules) -> bool:
    return FIRST_TRADE_MS <= stamp <= ingest_ts + rules.future_skew_s * 1000


def _source_ts(candidate: _Candidate, rules: Rules) -> int | None:
    stamp = candidate.observation.source_ts
    return stamp if stamp is not None and _is_believable(stamp, candidate.result.ingest_ts, rules) else None


def _why_not(asset_id: str, rules: Rules, results: Mapping[str, TickResult], absent: Mapping[str, FallbackReason]) -> FallbackReason:
    primary = rules.order[0]
    result = results.get(primary)
    if result is None:
        return absent.get(primary, FallbackReason.UNAVAILABLE)
    if result.failure is not None:
        return result.asset_failures.get(asset_id, result.failure)
    if asset_id in result.observations:
        return FallbackReason.STALE
    return result.asset_failures.get(asset_id, FallbackReason.MISSING_ASSET)


def _record(
    tick_ts: int, asset: Asset, chosen: _Candidate, reason: FallbackReason | None, candidates: Sequence[_Candidate], rules: Rules, *, flagged: bool
) -> UnifiedRecord:
    result, seen = chosen
    prices = sorted(c.observation.price for c in candidates if _is_comparable(c, rules))
    consensus = _median(prices)
    spread = _spread_bps(prices, consensus)
    return UnifiedRecord(
        event_id=event_id(asset.asset_id, tick_ts, Kind.LIVE),
        schema_version=SCHEMA_VERSION,
        kind=Kind.LIVE.value,
        tick_ts=tick_ts,
        source_ts=_source_ts(chosen, rules),
        ingest_ts=result.ingest_ts,
        asset_id=asset.asset_id,
        symbol=asset.symbol,
        name=asset.name,
        quote_currency=seen.quote_currency,
        price=seen.price,
        market_cap=seen.market_cap,
        volume_24h=seen.volume_24h,
        high_24h=seen.high_24h,
        low_24h=seen.low_24h,
        change_1h_pct=seen.change_1h_pct,
        change_24h_pct=seen.change_24h_pct,
        change_7d_pct=seen.change_7d_pct,
        circulating_supply=seen.circulating_supply,
        total_supply=seen.total_supply,
        max_supply=seen.max_supply,
        rank=seen.rank,
        provider=result.provider,
        provider_asset_id=seen.provider_asset_id,
        role=(Role.PRIMARY if reason is None else Role.FALLBACK).value,
        fallback_reason=None if reason is None else reason.value,
        attempt=result.attempt,
        fetch_id=result.fetch_ids.get(asset.asset_id, result.fetch_id),
        consensus_price=consensus,
        consensus_sources=len(prices),
        spread_bps=spread,
        disagrees=flagged or (len(prices) > 1 and (spread is None or spread > rules.disagree_bps)),
    )


def _median(prices: Sequence[float]) -> float | None:
    """The median of sorted prices, computed without overflow of the sum of the middle two."""
    if not prices:
        return None
    low, high = prices[(len(prices) - 1) // 2], prices[len(prices) // 2]
    return low + (high - low) / 2


def _spread_bps(prices: Sequence[float], median: float | None) -> float | None:
    """(max - min) / median * 10 000 of sorted prices. None for a single price or on overflow."""
    if median is None or len(prices) < 2:
        return None
    spread = (prices[-1] - prices[0]) / median * BPS
    return spread if math.isfinite(spread) else None
