"""Unified records of a backfill. Pure."""

from __future__ import annotations

from cryptoviz.assets import Asset
from cryptoviz.providers.history import Point
from cryptoviz.records import SCHEMA_VERSION, FallbackReason, Kind, Role, UnifiedRecord, event_id

__all__ = ["Answer", "record_of"]


class Answer:
    """Where a price came from: provider, its id of the asset, currency, when the body was complete (UTC epoch ms), its raw exchange.

    `reason` says why a provider that is preferred had none; None when there is no such provider.
    """

    def __init__(self, provider: str, provider_id: str, currency: str, received_ms: int, fetch_id: str, reason: FallbackReason | None) -> None:
        self.provider = provider
        self.provider_id = provider_id
        self.currency = currency
        self.received_ms = received_ms
        self.fetch_id = fetch_id
        self.reason = reason


def record_of(asset: Asset, tick_ts: int, point: Point, answer: Answer) -> UnifiedRecord:
    """The row of one tick. What a candle does not tell is None; one provider was asked, so there is no spread."""
    return UnifiedRecord(
        event_id=event_id(asset.asset_id, tick_ts, Kind.BACKFILL),
        schema_version=SCHEMA_VERSION,
        kind=Kind.BACKFILL.value,
        tick_ts=tick_ts,
        source_ts=point.at_ms,
        ingest_ts=answer.received_ms,
        asset_id=asset.asset_id,
        symbol=asset.symbol,
        name=asset.name,
        quote_currency=answer.currency,
        price=point.price,
        market_cap=point.market_cap,
        volume_24h=point.volume_24h,
        high_24h=None,
        low_24h=None,
        change_1h_pct=None,
        change_24h_pct=None,
        change_7d_pct=None,
        circulating_supply=None,
        total_supply=None,
        max_supply=None,
        rank=None,
        provider=answer.provider,
        provider_asset_id=answer.provider_id,
        role=(Role.PRIMARY if answer.reason is None else Role.FALLBACK).value,
        fallback_reason=None if answer.reason is None else answer.reason.value,
        attempt=1,
        fetch_id=answer.fetch_id,
        consensus_price=point.price,
        consensus_sources=1,
        spread_bps=None,
        disagrees=False,
    )
