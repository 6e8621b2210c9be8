"""`cryptoviz streams`: what its table and its JSON say."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from cryptoviz.cli.commands.streams import CandleChecks, checks_of, stream_json, streams_view
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger

METRICS = {
    "instruments": 3.0, "instruments_acked": 2.0, "trades_total": 12345.0, "trades_per_s": 41.6, "gaps_open": 1.0, "missing_trades": 7.0,
    "refilled_total": 88.0, "duplicates_dropped_total": 9.0, "reconnects_total": 2.0, "data_age_s@BTC/USD": 0.4, "data_age_s@ETH/USD": 200.0,
    "spread_bps@BTC/USD": 0.1234, "spread_bps@ETH/USD": 12.5,
}  # fmt: skip


def stream(state: ComponentState, message: str = "") -> ComponentStatus:
    return ComponentStatus("stream/kraken", ComponentKind.STREAM, DesiredState.RUNNING, state, Trigger.PROBE, message, 0, 1, METRICS, ("kafka",))


def shown(*rows: ComponentStatus) -> str:
    out = Console(file=io.StringIO(), width=160)
    out.print(streams_view(rows))
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_row_counts_what_arrived_and_what_is_missing() -> None:
    text = shown(stream(ComponentState.DEGRADED, "SOL/USD is refused: [31mno"))
    row = next(line for line in text.splitlines() if "DEGRADED" in line)
    assert row.split() == ["stream/kraken", "DEGRADED", "2", "of", "3", "12,345", "42", "1", "7", "88", "9", "2"]
    assert "last trade BTC/USD 0 s, ETH/USD 3 min ago" in text
    assert "stream/kraken: spread, bp: BTC/USD 0.12, ETH/USD 12.50" in text
    assert "SOL/USD is refused" in text


def test_frames_that_were_not_recorded_are_shown() -> None:
    assert "raw frames" not in shown(stream(ComponentState.RUNNING))
    row = replace(stream(ComponentState.RUNNING), metrics=METRICS | {"raw_frames_total": 5.0, "raw_frames_lost_total": 1234.0})
    assert "stream/kraken: 1,234 raw frames were not recorded" in shown(row)


def test_without_streams_the_setting_is_named() -> None:
    assert "CRYPTOVIZ_STREAMS__VENUES" in shown()


def test_json_has_age_and_spread_of_each_instrument_apart() -> None:
    found = stream_json(stream(ComponentState.RUNNING))
    assert found["data_age_s"] == {"BTC/USD": 0.4, "ETH/USD": 200.0}
    assert found["spread_bps"] == {"BTC/USD": 0.1234, "ETH/USD": 12.5}
    assert found["metrics"]["gaps_open"] == 1.0
    assert not any("@" in name for name in found["metrics"])


def check(equal: bool | None, complete: bool | None, differences: str = "") -> dict[str, object]:
    at = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    return {"venue": "kraken", "venue_symbol": "BTC/USD", "ts": at, "equal": equal, "complete": complete, "differences": differences}


def test_only_a_difference_of_a_complete_candle_counts_as_one() -> None:
    rows = [check(True, True), check(True, False), check(False, False, "trades 3, not 4"), check(None, None), check(False, True, "trades 5, not 6")]
    found = checks_of(rows)
    assert found == {"kraken": CandleChecks(2, 1, 2, "BTC/USD 2026-03-01T12:05Z: trades 5, not 6")}
    out = Console(file=io.StringIO(), width=200)
    out.print(streams_view([stream(ComponentState.RUNNING)], found))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "kraken: 2 candles of a minute equal the venue's, 1 differ, 2 of ours are incomplete (24 h); BTC/USD 2026-03-01T12:05Z" in text
    missing = checks_of([check(False, None, "open -, not 2")])["kraken"]
    assert (missing.different, missing.incomplete) == (1, 0)
