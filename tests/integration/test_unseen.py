"""Missing ticks are in the gap ledger and filled from history exactly once, also if the backfill is killed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
import pytest

from cryptoviz.assets import DEFAULT_ASSETS
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.client import ControlClient
from cryptoviz.errors import ControlRefused, EngineUnavailable, NoHistory, OperationBusy
from cryptoviz.gaps import DROPPED, NOT_RUNNING, Gap, GapScope, GapState
from cryptoviz.lake.gap_ledger import read_gaps
from cryptoviz.operations import BackfillArguments, MaintenanceArguments, OperationState, OperationStatus
from cryptoviz.records import Kind, UnifiedRecord
from tests.support.clock import now_ms
from tests.support.pipeline import Demo, keys, parse
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

COLLECTION = ("scraper/coingecko", "scraper/coinmarketcap", "collector")
SYMBOLS = {asset.asset_id: asset.provider_ids["binance"] for asset in DEFAULT_ASSETS}
OUTAGE_TICKS = 12


def records_of(demo: Demo, kind: Kind) -> list[UnifiedRecord]:
    """Every committed unified record of a kind."""
    return [record for record in demo.stream().values() if record.kind == kind]


def asked_ticks(demo: Demo) -> set[int]:
    """Ticks at which a provider was polled, by the raw topic."""
    return {exchange["tick_ts"] for exchange in demo.exchanges() if exchange["provider"] != RECORDER}


def recorded_ticks(demo: Demo) -> set[int]:
    """Ticks that the collector closed, with or without prices."""
    return {exchange["tick_ts"] for exchange in demo.exchanges() if (exchange["provider"], exchange["endpoint"]) == (RECORDER, TICK)}


def await_ticks(demo: Demo, count: int) -> None:
    """Wait for this number of further ticks in Kafka."""
    goal = demo.newest_tick() + count * demo.settings.collect.tick_ms
    eventually(lambda: demo.newest_tick() >= goal, 120, 0.3)


def look(demo: Demo, client: ControlClient) -> list[Gap]:
    """The gap ledger after detection over the whole lake."""
    written = demo.stream().keys()
    eventually(lambda: not written - keys(demo.lake_rows_by_delta()).keys(), 120, 0.5)
    began = client.operations.start(MaintenanceArguments(tables=("gaps",)))
    ended = client.operations.wait(began.id, 300)
    assert ended.state is OperationState.SUCCEEDED, ended.message
    return read_gaps(demo.settings)


def ticks_of(gaps: list[Gap], within: range) -> set[tuple[str, int]]:
    """Asset and tick of each missing tick of assets in a period."""
    return {(gap.subject, tick) for gap in gaps if gap.scope is GapScope.ASSET for tick in gap.ticks if tick in within}


def found_times(gaps: list[Gap], within: range) -> dict[str, int]:
    """`found_ts` of each gap."""
    return {gap.gap_id: gap.found_ms for gap in gaps if gap.to_ms in within}


def closes(demo: Demo, symbol: str, ticks: set[int]) -> dict[int, str]:
    """Close by the candle's last millisecond, from the market's own 1 s klines, page by page."""
    found: dict[int, str] = {}
    start = min(ticks) - 10_000
    while start <= max(ticks):
        query: dict[str, str | int] = {"symbol": symbol, "interval": "1s", "startTime": start, "limit": 1000}
        rows = httpx.get(f"{demo.market}/binance/api/v3/klines", params=query, timeout=60).json()
        found |= {row[6]: row[4] for row in rows}
        start += 1_000_000
    return found


def processes(demo: Demo, title: str) -> list[psutil.Process]:
    """This demo's processes with this title."""
    found = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).startswith(title) and str(demo.settings.home) in "\0".join(process.environ().values()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def only(demo: Demo, title: str) -> psutil.Process:
    """The only process with this title: one of an earlier operation may be about to end."""

    def one() -> psutil.Process | None:
        found = processes(demo, title)
        return found[0] if len(found) == 1 else None

    return eventually(one, every_s=0.1)


def over(client: ControlClient, operation_id: str) -> OperationStatus | None:
    """Final status of the operation, once it is available."""
    try:
        status = client.operations.get(operation_id)
    except EngineUnavailable:
        return None
    return status if status.over else None


def test_an_outage_is_in_the_gap_ledger_and_filled_exactly_once(demo: Demo) -> None:
    tick_ms = demo.settings.collect.tick_ms
    await_ticks(demo, 3)
    demo.cli("stop", *COLLECTION)
    demo.await_states(scraper__coingecko="STOPPED", scraper__coinmarketcap="STOPPED", collector="STOPPED")
    before = demo.newest_tick()
    eventually(lambda: now_ms() > before + OUTAGE_TICKS * tick_ms, 60, 0.3)
    demo.cli("start", *COLLECTION)
    eventually(lambda: demo.newest_tick() > before, 120, 0.3)
    await_ticks(demo, 16)

    with demo.control() as client:
        ledger = look(demo, client)
        # Compared with every live row in Kafka: for a past period the gap ledger lists exactly the missing ticks.
        live: dict[str, set[int]] = defaultdict(set)
        for record in records_of(demo, Kind.LIVE):
            live[record.asset_id].add(record.tick_ts)
        again = min(tick for ticks in live.values() for tick in ticks if tick > before)
        # Every coin was requested from the first recorded tick on; a busy machine's first ticks may be without a price.
        settled = range(min(*map(min, live.values()), *recorded_ticks(demo)), again, tick_ms)
        missing = {(asset_id, tick) for asset_id, ticks in live.items() for tick in settled if tick not in ticks}
        assert ticks_of(ledger, settled) == missing
        outage = {tick for _, tick in missing if tick > before}
        assert len(outage) >= OUTAGE_TICKS
        # A stop may occur between a provider's response and the collector's tick: that tick was collected and then lost.
        asked = asked_ticks(demo)
        reasons = {
            (gap.subject, tick): gap.reason
            for gap in ledger
            if gap.scope is GapScope.ASSET
            for tick in gap.ticks
            if tick > before and tick in settled
        }
        assert reasons == {(asset_id, tick): DROPPED if tick in asked else NOT_RUNNING for asset_id, tick in missing if tick > before}
        assert list(reasons.values()).count(NOT_RUNNING) > len(reasons) / 2
        of_providers = {gap.subject for gap in ledger if gap.scope is GapScope.PROVIDER and outage & set(gap.ticks)}
        assert of_providers == {"coingecko", "coinmarketcap"}

        # Slow enough to be killed during its work: completed work is kept, the rest follows when it is resumed.
        wanted = BackfillArguments(end_ms=settled.stop)
        with demo.fault(provider="binance", kind="latency", parameters={"seconds": 2.0}):
            begun = client.operations.start(wanted)
            for status in client.operations.watch(begun.id, timeout_s=300):
                if status.progress.done:
                    break
            with pytest.raises(OperationBusy, match=begun.id):
                client.operations.start(BackfillArguments())
            only(demo, "ray::OperationActor").kill()
            assert client.operations.wait(begun.id, 240).state is OperationState.INTERRUPTED
        resumed_ms = now_ms()
        # The controller may be restarted meanwhile and then follows the running operation.
        with demo.fault(provider="binance", kind="latency", parameters={"seconds": 0.7}):
            client.operations.resume(begun.id)
            for status in client.operations.watch(begun.id, timeout_s=300):
                if status.progress.done:
                    break
            only(demo, "ray::Controller").kill()
            ended = eventually(lambda: over(client, begun.id), 240, 0.3)
        assert (ended.state, ended.attempt) == (OperationState.SUCCEEDED, 2), ended.message

        filled = records_of(demo, Kind.BACKFILL)
        # Not counted before: a commit that was in flight when its process was killed may still be made.
        first_half = sum(record.ingest_ts < resumed_ms for record in filled)
        assert 0 < first_half < len(missing)
        assert ended.figures["rows"] == len(missing) - first_half
        assert Counter((record.asset_id, record.tick_ts) for record in filled) == Counter(dict.fromkeys(missing, 1))
        check_prices(demo, filled)

        # Again: no further rows, and the lake has each row once.
        assert parse_last(demo.cli("backfill", "--to", iso(settled.stop), "--json"))["figures"]["rows"] == 0
        assert records_of(demo, Kind.BACKFILL) == filled
        eventually(lambda: Counter(row["event_id"] for row in backfilled(demo)) == Counter(record.event_id for record in filled), 120, 0.5)

        after = look(demo, client)
        assert ticks_of([gap for gap in after if gap.state is not GapState.FILLED], settled) == set()
        assert {gap.filled_by for gap in after if gap.scope is GapScope.ASSET and gap.to_ms in settled} == {("binance",)}
        assert {gap.gap_id: gap.found_ms for gap in after if gap.to_ms in settled} == {
            gap.gap_id: gap.found_ms for gap in ledger if gap.to_ms in settled
        }
        assert client.gaps(start_ms=settled.start, end_ms=before + 1) == []
    shown = parse(demo.cli("gaps", "--all", "--to", iso(settled.stop), "--json"))["gaps"]
    assert {gap["state"] for gap in shown} == {"filled"}
    assert sum(gap["missing"] for gap in shown) >= len(missing)
    asked = parse(demo.cli("query", "SELECT count(*) AS n FROM gaps WHERE scope = 'asset' AND state = 'filled'", "--json"))
    assert asked[0]["n"] >= len(SYMBOLS)


def check_prices(demo: Demo, filled: list[UnifiedRecord]) -> None:
    """Each row is the close of the last candle that had ended at its tick, by the market's history."""
    for asset_id, symbol in SYMBOLS.items():
        own = [record for record in filled if record.asset_id == asset_id]
        if not own:
            continue
        known = closes(demo, symbol, {record.tick_ts for record in own})
        for record in own:
            last = max(at for at in known if at <= record.tick_ts)
            assert (record.source_ts, record.price) == (last, float(known[last])), record
            assert (record.provider, record.provider_asset_id, record.quote_currency, record.role) == ("binance", symbol, "USDT", "primary")
            assert record.source_ts is not None
            assert record.tick_ts - 1000 <= record.source_ts <= record.tick_ts <= record.ingest_ts
    exchanges = {row["fetch_id"] for row in raw_klines(demo)}
    assert {record.fetch_id for record in filled} <= exchanges


def test_what_cannot_be_filled_is_said(demo: Demo) -> None:
    with demo.control() as client:
        with pytest.raises(ControlRefused, match="future"):
            client.operations.start(BackfillArguments(end_ms=4_102_444_800_000))
        with pytest.raises(ControlRefused, match="has no price history for a backfill"):
            client.operations.start(BackfillArguments(provider="coinmarketcap"))
        # Two years back: before the history of the free plan and before the recording.
        long_ago = 1_700_000_000_000
        arguments = BackfillArguments(assets=("bitcoin",), provider="coingecko", start_ms=long_ago, end_ms=long_ago + 60_000)
        ended = client.operations.wait(client.operations.start(arguments).id, 300)
        assert ended.state is OperationState.FAILED
        assert "exceeds the allowed time range" in ended.message
        assert NoHistory.__name__ not in ended.message
    refused = demo.cli("backfill", "--from", "2026-01-01T00:00:00", "--provider", "kraken")
    assert refused.returncode == 2
    assert "has no time zone" in refused.stderr


def backfilled(demo: Demo) -> list[dict[str, Any]]:
    """The lake's rows of a kind."""
    return [row for row in demo.lake_rows_by_delta() if row["kind"] == "backfill"]


def raw_klines(demo: Demo) -> list[dict[str, Any]]:
    """A backfill's raw exchanges, in Kafka."""
    return [exchange for exchange in demo.exchanges() if "/klines" in exchange["endpoint"]]


def iso(moment_ms: int) -> str:
    """ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds")


def parse_last(done: Any) -> Any:
    """The last JSON line."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
