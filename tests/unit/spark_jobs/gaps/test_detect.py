"""Expected ticks compared with recorded ticks, without a lake."""

from __future__ import annotations

import itertools
from datetime import date
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.collecting.core import rules_of
from actors.collecting.tick_assembler import ClosedTick
from actors.collecting.tick_recorder import TickRecorder
from actors.publishing.transaction import KafkaTransaction
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.audit import RULES_WHOLE as RULES
from cryptoviz.gaps import DROPPED, NOT_RUNNING, Gap, GapScope, GapState
from cryptoviz.lake.schema import GAPS
from cryptoviz.records import FallbackReason, TickResult
from cryptoviz.settings import load_settings
from spark_jobs.gaps import ledger_update as ledger
from spark_jobs.gaps.day_scan import scan_rows
from spark_jobs.gaps.detect import DayContents, Era, Fill, TickRecord, day_gaps, eras_after, grid, refilled

DAY = 1_764_028_800_000  # 2025-11-25T00:00:00Z
STEP = 10_000
END = DAY + 100 * STEP
GOOD = TickRecord(good=frozenset({"coingecko"}))


def seen(live: set[int], *, running: set[int] | None = None, fills: dict[int, Fill] | None = None, **more: Any) -> DayContents:
    """An asset's day: numbers of ticks with a live row, and of those with a tick record."""
    records = {DAY + number * STEP: GOOD for number in (live if running is None else running)}
    ticks = np.array(sorted(DAY + number * STEP for number in live), dtype=np.int64)
    return DayContents(live={"bitcoin": ticks}, records=records, fills={"bitcoin": fills or {}}, answered={"coingecko": ticks}, **more)


def gaps(day: DayContents, providers: tuple[str, ...] = ("coingecko",), eras: tuple[Era, ...] = (Era(DAY, STEP),)) -> list[Gap]:
    return day_gaps(day, eras, DAY, END, {"bitcoin": (DAY, END)}, providers, now_ms=END + 1)


def of(found: list[Gap], scope: GapScope = GapScope.ASSET) -> list[tuple[int, int, str]]:
    return [((gap.from_ms - DAY) // STEP, (gap.to_ms - DAY) // STEP, gap.reason) for gap in found if gap.scope is scope]


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_gaps_are_exactly_the_ticks_that_were_not_seen(live: set[int], filled: set[int]) -> None:
    fills = {DAY + number * STEP: Fill("binance", END) for number in filled}
    found = [gap for gap in gaps(seen(live, fills=fills)) if gap.scope is GapScope.ASSET]
    missing = sorted(set(range(100)) - live)
    assert sorted((tick - DAY) // STEP for gap in found for tick in gap.ticks) == missing
    assert sum(gap.filled for gap in found) == len(set(missing) & filled)
    for gap in found:
        own = {(tick - DAY) // STEP for tick in gap.ticks}
        assert gap.state is (GapState.FILLED if own <= filled else GapState.PARTLY if own & filled else GapState.OPEN)
        assert gap.missing == len(own)
    for before, after in itertools.pairwise(found):
        assert after.from_ms > before.to_ms + STEP or after.reason != before.reason
    assert [Gap.from_row(row) for row in pa.Table.from_pylist([gap.to_row() for gap in found], GAPS).to_pylist()] == found


def test_why_a_price_is_missing() -> None:
    everyone_failed = TickRecord(failed=(("coingecko", "rate_limited"), ("kraken", "timeout")))
    nobody_due = DAY + 50 * STEP
    day = seen(set(range(100)) - {10, 11, 20, 30, 40, 50}, running=set(range(100)) - {10, 11, 40, 50}, dropped=frozenset({DAY + 11 * STEP}))
    day.records[DAY + 20 * STEP] = everyone_failed
    day.asked = {"coingecko": np.array([DAY + 40 * STEP], dtype=np.int64)}
    day.unplanned = frozenset({nobody_due})
    assert of(gaps(day)) == [(10, 10, NOT_RUNNING), (11, 11, DROPPED), (20, 20, "rate_limited"), (30, 30, "missing_asset"), (40, 40, DROPPED)]


def test_a_provider_held_back_on_purpose_has_no_gap() -> None:
    day = seen(set(range(100)))
    day.answered = {"coingecko": day.live["bitcoin"][::2]}
    for number in range(100):
        idle = number % 2 == 1
        record = TickRecord(frozenset({"kraken"} if idle else {"coingecko", "kraken"}), idle=frozenset({"coingecko"} if idle else ()))
        day.records[DAY + number * STEP] = record
    day.records[DAY + 6 * STEP] = TickRecord(frozenset({"kraken"}), (("coingecko", "timeout"),))
    day.answered["coingecko"] = np.setdiff1d(day.answered["coingecko"], [DAY + 6 * STEP])
    found = gaps(day, ("coingecko", "kraken"))
    assert of(found) == []
    assert [(gap.subject, gap.reason) for gap in found if gap.scope is GapScope.PROVIDER] == [("coingecko", "timeout")]


def test_while_nothing_runs_all_usual_providers_have_a_gap() -> None:
    found = gaps(seen(set(range(100)) - {5, 6, 7}), ("coingecko", "kraken"))
    # Kraken has no responses, but it is known to be expected only where nothing ran.
    assert [(gap.subject, gap.missing, gap.reason) for gap in found if gap.scope is GapScope.PROVIDER] == [
        ("coingecko", 3, NOT_RUNNING),
        ("kraken", 3, NOT_RUNNING),
    ]


def test_an_asset_is_expected_from_its_first_tick_to_its_last() -> None:
    day = seen(set(range(30, 60)), running=set(range(100)))
    bounds = {"bitcoin": (DAY + 30 * STEP, DAY + 59 * STEP)}
    assert day_gaps(day, (Era(DAY, STEP),), DAY, END, bounds, (), 0) == []


def test_the_grid_changes_with_the_setting() -> None:
    eras = (Era(DAY, STEP), Era(DAY + 50 * STEP, 5 * STEP))
    found = {step: list(ticks) for step, ticks in grid(eras, DAY - STEP, END)}
    assert found == {STEP: list(range(DAY, DAY + 50 * STEP, STEP)), 5 * STEP: list(range(DAY + 50 * STEP, END, 5 * STEP))}
    live = set(range(50)) | set(range(50, 100, 5))
    assert of(gaps(seen(live), eras=eras)) == []


@pytest.mark.parametrize(
    ("known", "recorded", "expected"),
    [
        ((), [(DAY, 10), (DAY + 10, 10)], (Era(DAY, 10),)),
        ((Era(1, 10),), [], (Era(1, 10),)),
        ((Era(1, 10),), [(DAY, 10), (DAY + 60, 60)], (Era(1, 10), Era(DAY + 60, 60))),
        # A day evaluated again, with later days present.
        ((Era(1, 10), Era(DAY + 60, 60), Era(END, 5)), [(DAY, 10), (DAY + 60, 60)], (Era(1, 10), Era(DAY + 60, 60), Era(END, 5))),
    ],
)
def test_eras_follow_what_ticks_tell(known: tuple[Era, ...], recorded: list[tuple[int, int]], expected: tuple[Era, ...]) -> None:
    assert eras_after(known, recorded) == expected


def test_the_collectors_own_records_are_read() -> None:
    settings = load_settings(collect={"tick_s": STEP / 1000}, crypto_list=("bitcoin", "ethereum"))
    recording = TickRecorder(settings, rules_of(settings))
    recording.dropped(KafkaTransaction("tick", DAY + STEP, ()))
    recording.unplanned(DAY + 2 * STEP)
    recording.unplanned(DAY + 3 * STEP)
    results = {
        "coingecko": TickResult("coingecko", DAY, "f1", 1, DAY + 5),
        "coinmarketcap": TickResult("coinmarketcap", DAY, "f2", 1, DAY + 5, failure=FallbackReason.QUOTA),
    }
    closed = ClosedTick(DAY, results, {"kraken": FallbackReason.TIMEOUT}, frozenset({"binance"}))
    rules, last = (orjson.loads(note.value) for note in recording.audit_records(closed, DAY))
    body = last["body"]
    assert rules["endpoint"] == RULES
    rows = [
        {"tick_ts": DAY, "provider": RECORDER, "endpoint": RULES, "outcome": "ok", "body": rules["body"]},
        {"tick_ts": DAY, "provider": RECORDER, "endpoint": TICK, "outcome": "ok", "body": body},
        {"tick_ts": DAY, "provider": "coingecko", "endpoint": "http://x/coins/markets", "outcome": "ok", "body": None},
        {"tick_ts": DAY + STEP, "provider": "coingecko", "endpoint": "http://x/coins/markets", "outcome": "timeout", "body": None},
        # A backfill's raw exchange of a tick does not show which provider was polled at it.
        {"tick_ts": DAY + 9 * STEP, "provider": "binance", "endpoint": "http://x/api/v3/klines?symbol=BTCUSDT", "outcome": "ok", "body": None},
    ]
    texts = [(name, pa.string()) for name in ("provider", "endpoint", "outcome", "body")]
    raw = pa.Table.from_pylist(rows).cast(pa.schema([("tick_ts", pa.timestamp("ms", "UTC")), *texts]))
    day = scan_rows(None, raw)
    assert day.steps == ((DAY, STEP),)
    # Requested at the tick, with or without a price.
    assert day.wanted == {"bitcoin": (DAY, DAY), "ethereum": (DAY, DAY)}
    assert day.providers == ("binance", "coingecko", "coinmarketcap", "kraken")
    expected = TickRecord(frozenset({"coingecko"}), (("coinmarketcap", "quota"), ("kraken", "timeout")), frozenset({"binance"}))
    assert day.seen.records == {DAY: expected}
    assert day.seen.dropped == {DAY + STEP}
    assert day.seen.unplanned == {DAY + 2 * STEP, DAY + 3 * STEP}
    assert {name: list(ticks) for name, ticks in day.seen.answered.items()} == {"coingecko": [DAY]}
    assert {name: list(ticks) for name, ticks in day.seen.asked.items()} == {"coingecko": [DAY, DAY + STEP]}


def test_known_gaps_are_filled_without_the_rows_that_explained_them() -> None:
    day = seen(set(range(100)) - {5, 6, 7})
    known = gaps(day)
    later = seen(set(), fills={DAY + number * STEP: Fill("binance", END) for number in (5, 6)})
    later.answered = {}
    found = refilled(known, later)
    assert [(gap.gap_id, gap.reason, gap.found_ms) for gap in found] == [(gap.gap_id, gap.reason, gap.found_ms) for gap in known]
    assert [(gap.subject, gap.state, gap.filled_by) for gap in found] == [
        ("bitcoin", GapState.PARTLY, ("binance",)),
        ("coingecko", GapState.OPEN, ()),
    ]


def test_a_record_that_kafka_refused_is_a_dropped_tick_of_its_asset() -> None:
    """The tick's record arrived, and a later record reports that a part of tick 5 was lost; tick 7 had no price of the asset."""
    day = seen(set(range(100)) - {5, 7}, running=set(range(100)), dropped=frozenset({DAY + 5 * STEP}))
    assert of(gaps(day)) == [(5, 5, "dropped"), (7, 7, "missing_asset")]


def test_a_look_and_days_of_a_clock_that_was_ahead_hold_nothing_up() -> None:
    state = ledger._State(looked_ms=1_000_000, took_ms=1_000)
    assert [ledger._looked_lately(state, 1_000_000 + ms) for ms in (-365 * 86_400_000, -1, 0, 1_000, 10**9)] == [False, False, True, True, False]
    files = {date(2026, 11, 28): {"a": 1}, date(2026, 11, 30): {"b": 2}, date(2027, 11, 28): {"c": 3}}
    assert ledger._before(files, date(2026, 11, 30)) == {date(2026, 11, 28): {"a": 1}}
