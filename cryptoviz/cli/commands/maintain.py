"""maintain: a round of maintenance now, as an operation of the running pipeline."""

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
    table: Annotated[list[str] | None, typer.Option(help="prices, raw, dead_letters, candles or gaps; again for more. Without it: all.")] = None,
    now: Annotated[bool, typer.Option("--now", help="What it does anyway; for scripts that say so.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output: one JSON object a line for each change.")] = False,
) -> None:
    """Merge small files, mark closed days, make candles, find gaps, shorten the logs. Runs on a schedule too; waits for a round under way."""
    del now
    run_operation(MaintenanceArguments(tables=tuple(table or ())), as_json=as_json)
