"""`cryptoviz streams`: what its table and its JSON say."""

from __future__ import annotations

import io

from rich.console import Console

from cryptoviz.cli.commands.streams import stream_json, streams_view
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger

METRICS = {
    "instruments": 3.0, "instruments_acked": 2.0, "trades_total": 12345.0, "trades_per_s": 41.6, "gaps_open": 1.0, "missing_trades": 7.0,
    "refilled_total": 88.0, "duplicates_dropped_total": 9.0, "reconnects_total": 2.0, "data_age_s@BTC/USD": 0.4, "data_age_s@ETH/USD": 200.0,
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
    assert "SOL/USD is refused" in text


def test_without_streams_the_setting_is_named() -> None:
    assert "CRYPTOVIZ_STREAMS__VENUES" in shown()


def test_json_has_the_age_of_each_instrument_apart() -> None:
    found = stream_json(stream(ComponentState.RUNNING))
    assert found["data_age_s"] == {"BTC/USD": 0.4, "ETH/USD": 200.0}
    assert found["metrics"]["gaps_open"] == 1.0
    assert not any("@" in name for name in found["metrics"])
