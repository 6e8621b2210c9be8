"""maintain: run a maintenance round as an operation of the running pipeline."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptoviz.cli.commands.operations import run_operation
from cryptoviz.operations import MaintenanceArguments

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(maintain)


def maintain(
    table: Annotated[list[str] | None, typer.Option(help="prices, raw, dead_letters, candles or gaps; repeatable. Default: all.")] = None,
    now: Annotated[bool, typer.Option("--now", help="No-op: a round always runs now.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output: one JSON object per change and line.")] = False,
) -> None:
    """Run one round: compact files, close days, build candles, find gaps, clean the logs. Also scheduled; waits for a running round."""
    del now
    run_operation(MaintenanceArguments(tables=tuple(table or ())), as_json=as_json)
