"""Records and components for the dashboard's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.records import UnifiedRecord
from dashboard.views.statistics import Summary
from tests.support.records import record

NOW_MS = 1_700_000_000_000
TICK_MS = 2_000


def a_record(**changes: Any) -> UnifiedRecord:
    """Bitcoin at 50 000 dollars, one second old, from the primary provider."""
    values: dict[str, Any] = {
        "event_id": "0" * 32, "source_ts": None, "ingest_ts": NOW_MS - 800, "price": 50_000.0, "market_cap": 1e12, "volume_24h": 3e10,
        "high_24h": 51_000.0, "low_24h": 49_000.0, "change_1h_pct": 0.5, "change_24h_pct": -1.25, "circulating_supply": 2e7, "total_supply": None,
        "max_supply": 2.1e7, "fetch_id": "f" * 32, "consensus_price": 50_000.0, "spread_bps": 3.25,
    }  # fmt: skip
    return replace(record(NOW_MS - 1_000, **values), **changes)


def a_component(**changes: Any) -> ComponentStatus:
    """The lake, running for a minute."""
    base = ComponentStatus(
        name="lake",
        kind=ComponentKind.LAKE,
        desired=DesiredState.RUNNING,
        state=ComponentState.RUNNING,
        trigger=Trigger.STARTED,
        message="",
        since_ms=NOW_MS - 60_000,
        restarts=0,
        metrics={},
        depends_on=("kafka", "object-store"),
    )
    return replace(base, **changes)


def a_summary(text: str) -> Summary:
    """A row whose currency and provider are `text`."""
    return Summary(
        currency=text, count=1, from_ts=NOW_MS, to_ts=NOW_MS, first=1.0, last=1.0, minimum=1.0, maximum=1.0, mean=1.0, median=1.0, std=None,
        change_pct=0.0, volatility_pct=None, sources=((text, 1.0),), fallback_rows=0, coverage=1.0,
    )  # fmt: skip
