"""Unified records of a backfill. Pure."""

from __future__ import annotations

from cryptoviz.assets import Asset
from cryptoviz.providers.history import Point
from cryptoviz.records import SCHEMA_VERSION, FallbackReason, Kind, Role, UnifiedRecord, event_id

__all__ = ["PriceSource", "record_of"]


class PriceSource:
    """Origin of a price.

    Attributes:
        provider_id: the provider's id of the asset.
        received_ms: when the response body was complete (UTC epoch ms).
        fetch_id: the raw exchange.
        reason: why a preferred provider had no price; None if the provider is the preferred one.
    """

    def __init__(self, provider: str, provider_id: str, currency: str, received_ms: int, fetch_id: str, reason: FallbackReason | None) -> None:
        self.provider = provider
        self.provider_id = provider_id
        self.currency = currency
        self.received_ms = received_ms
        self.fetch_id = fetch_id
        self.reason = reason


def record_of(asset: Asset, tick_ts: int, point: Point, source: PriceSource) -> UnifiedRecord:
    """The unified record of one tick. Fields that a candle does not contain are None; with a single provider there is no spread."""
    return UnifiedRecord(
        event_id=event_id(asset.asset_id, tick_ts, Kind.BACKFILL),
        schema_version=SCHEMA_VERSION,
        kind=Kind.BACKFILL.value,
        tick_ts=tick_ts,
        source_ts=point.at_ms,
        ingest_ts=source.received_ms,
        asset_id=asset.asset_id,
        symbol=asset.symbol,
        name=asset.name,
        quote_currency=source.currency,
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
        provider=source.provider,
        provider_asset_id=source.provider_id,
        role=(Role.PRIMARY if source.reason is None else Role.FALLBACK).value,
        fallback_reason=None if source.reason is None else source.reason.value,
        attempt=1,
        fetch_id=source.fetch_id,
        consensus_price=point.price,
        consensus_sources=1,
        spread_bps=None,
        disagrees=False,
    )
