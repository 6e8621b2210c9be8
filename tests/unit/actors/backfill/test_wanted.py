"""Ticks that a backfill fills, and their rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.backfill.operation import ids_by_time
from actors.backfill.rows import PriceSource, record_of
from actors.backfill.wanted import ticks_wanted
from actors.publishing.kafka_transport import PublishedTicks
from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.gaps import Gap, GapScope
from cryptoviz.operations import BackfillArguments
from cryptoviz.providers.history import Point
from cryptoviz.records import FallbackReason, event_id
from tests.support.records import TICK, record

STEP = 60_000
POLYGON = next(asset for asset in DEFAULT_ASSETS if asset.asset_id == "polygon")
MIGRATION = 1_726_185_600_000  # 2024-09-13T00:00:00Z, when MATIC became POL


def gap(first: int, count: int, filled: int = 0, subject: str = "bitcoin", scope: GapScope = GapScope.ASSET) -> Gap:
    return Gap(scope, subject, first * STEP, (first + count - 1) * STEP, STEP, count, "not_running", 0, filled)


def wanted(start: int | None, end: int, gaps: list[Gap], first_live: int | None = None) -> list[int]:
    """Numbers of the ticks to fill; `start` and `end` in ticks."""
    arguments = BackfillArguments(start_ms=None if start is None else start * STEP)
    runs = ticks_wanted(arguments, "bitcoin", gaps, None if first_live is None else first_live * STEP, STEP, end * STEP)
    return [tick // STEP for run in runs for tick in run]


def test_without_a_start_only_open_gaps_are_filled() -> None:
    ledger = [gap(3, 2), gap(8, 2, filled=1), gap(12, 2, filled=2), gap(20, 3, subject="ethereum"), gap(30, 3, scope=GapScope.PROVIDER)]
    assert wanted(None, 100, ledger) == [3, 4, 8, 9]
    assert wanted(None, 9, ledger) == [3, 4, 8]


def test_a_start_before_the_first_live_row_adds_all_ticks_up_to_it() -> None:
    assert wanted(2, 100, [gap(10, 2)], first_live=5) == [2, 3, 4, 10, 11]
    assert wanted(2, 4, [], first_live=None) == [2, 3]
    # After the first live row only the gap ledger decides.
    assert wanted(7, 100, [gap(10, 2)], first_live=5) == [10, 11]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 10), st.integers(0, 40))
def test_ticks_outside_the_range_are_not_filled(start: int, first: int, count: int, end: int) -> None:
    assert wanted(start, end, [gap(first, count)], first_live=0) == [tick for tick in range(first, first + count) if start <= tick < end]


def test_a_renamed_coin_is_requested_by_its_former_id() -> None:
    ticks = [MIGRATION - STEP, MIGRATION, MIGRATION + STEP]
    assert ids_by_time("binance", POLYGON, ticks) == [("MATICUSDT", ticks[:1]), ("POLUSDT", ticks[1:])]
    vechain = next(asset for asset in DEFAULT_ASSETS if asset.asset_id == "vechain")
    assert ids_by_time("kraken", vechain, ticks) == [(None, ticks)]


@pytest.mark.parametrize(("reason", "role"), [(None, "primary"), (FallbackReason.MISSING_ASSET, "fallback")])
def test_a_row_contains_its_origin(reason: FallbackReason | None, role: str) -> None:
    row = record_of(POLYGON, TICK, Point(TICK - 1, 0.5, volume_24h=7.0), PriceSource("binance", "POLUSDT", "USDT", TICK + 9_000, "f-1", reason))
    assert (row.event_id, row.kind) == (event_id("polygon", TICK, "backfill"), "backfill")
    assert (row.price, row.quote_currency, row.source_ts, row.ingest_ts, row.volume_24h) == (0.5, "USDT", TICK - 1, TICK + 9_000, 7.0)
    assert (row.provider, row.provider_asset_id, row.fetch_id, row.role) == ("binance", "POLUSDT", "f-1", role)
    assert row.fallback_reason == reason


def test_rows_of_a_backfill_do_not_count_as_ticks_of_the_collector() -> None:
    live, brought = record(TICK), record(TICK + STEP, kind="backfill")
    seen = PublishedTicks()
    assert seen.learn([live.to_json(), brought.to_json(), b"{}"]) == TICK
    assert seen.counts(live.to_json())
    assert not seen.counts(brought.to_json())
    assert not seen.counts(b"no record")
