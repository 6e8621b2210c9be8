"""calls: how often the methods of the control service were called, with which codes, and how long they took."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.console import RenderableType
from rich.table import Table

from cryptoviz.cli.terminal import echo_json, terminal
from cryptoviz.rpc.convert import MethodCalls
from cryptoviz.running_pipeline import control_client, running_settings

__all__ = ["calls_view", "register"]

_QUANTILES = (0.5, 0.99)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(calls)


def calls(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Show the calls of the control service since its start, by method: number, codes other than OK, and times.

    A time is the upper bound of its class: half of the calls, or 99 in 100, took at most that. Streams have none.
    """
    with control_client(running_settings()) as client:
        rows = client.call_metrics()
    if as_json:
        echo_json({"methods": [_json(row) for row in rows]})
    else:
        terminal().print(calls_view(rows))


def calls_view(rows: list[MethodCalls]) -> RenderableType:
    """One row per method, the most called first."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, expand=False)
    for heading in ("method", "calls", "not OK", "half within", "99 % within"):
        table.add_column(heading, overflow="fold", justify="left" if heading in ("method", "not OK") else "right")
    for row in sorted(rows, key=lambda row: -sum(row.calls.values())):
        others = ", ".join(f"{count} {code}" for code, count in sorted(row.calls.items()) if code != "OK")
        table.add_row(row.method, str(sum(row.calls.values())), others, *(_text(_within_s(row, share)) for share in _QUANTILES))
    return table


def _within_s(row: MethodCalls, share: float) -> float | None:
    """The least bound, in seconds, that this share of the calls did not exceed; None without a call, infinity above all bounds."""
    wanted, seen = share * sum(count for _, count in row.latency), 0
    if not wanted:
        return None
    for bound_s, count in row.latency:
        seen += count
        if seen >= wanted:
            return bound_s
    return None


def _text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "longer" if seconds == float("inf") else f"{seconds * 1000:g} ms"


def _json(row: MethodCalls) -> dict[str, Any]:
    classes = [{"within_s": None if bound_s == float("inf") else bound_s, "calls": count} for bound_s, count in row.latency]
    return {"method": row.method, "calls": row.calls, "latency": classes, "latency_sum_s": row.latency_sum_s}
