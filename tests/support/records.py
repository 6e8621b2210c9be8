"""Valid records of both topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from cryptoviz.assets import DEFAULT_ASSETS, Asset
from cryptoviz.records import RawExchange, UnifiedRecord, event_id

TICK = 1_764_000_000_000  # 2025-11-24T16:00:00Z
DAY_MS = 86_400_000


def record(tick_ts: int, asset: Asset = DEFAULT_ASSETS[0], **changes: Any) -> UnifiedRecord:
    """A valid unified record."""
    return replace(
        UnifiedRecord(
            event_id=event_id(asset.asset_id, tick_ts, "live"),
            schema_version=1,
            kind="live",
            tick_ts=tick_ts,
            source_ts=tick_ts - 1500,
            ingest_ts=tick_ts + 250,
            asset_id=asset.asset_id,
            symbol=asset.symbol,
            name=asset.name,
            quote_currency="USD",
            price=37_000.5 + tick_ts % 997,
            market_cap=7.2e11,
            volume_24h=1.9e10,
            high_24h=38_000.25,
            low_24h=None,
            change_1h_pct=-0.25,
            change_24h_pct=1.75,
            change_7d_pct=None,
            circulating_supply=19_500_000.0,
            total_supply=21_000_000.0,
            max_supply=None,
            rank=1,
            provider="coingecko",
            provider_asset_id=asset.provider_ids["coingecko"],
            role="primary",
            fallback_reason=None,
            attempt=1,
            fetch_id=f"fetch-{tick_ts}",
            consensus_price=37_000.4,
            consensus_sources=2,
            spread_bps=0.5,
            disagrees=False,
        ),
        **changes,
    )


def exchange(tick_ts: int, **changes: Any) -> RawExchange:
    """A valid raw exchange."""
    return replace(
        RawExchange(
            fetch_id=f"fetch-{tick_ts}",
            provider="coingecko",
            endpoint="/coins/markets",
            tick_ts=tick_ts,
            started_ts=tick_ts + 5,
            finished_ts=tick_ts + 205,
            status=200,
            outcome="ok",
            error=None,
            rate_limit_headers={"retry-after": "1"},
            attempt=1,
            body='[{"id": "bitcoin", "current_price": 37000.5}]',
        ),
        **changes,
    )


def binary(values: Sequence[bytes | None]) -> pa.Array:
    """Kafka values as an Arrow array."""
    return pa.array(values, pa.binary())
