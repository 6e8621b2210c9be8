"""operations: list, watch, cancel, resume, verify; and maintain. `follow` shows a progress bar for every command that starts an operation."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.options import refuse_before_subcommand
from cryptoviz.cli.status_view import age
from cryptoviz.cli.terminal import echo_json, printable, terminal
from cryptoviz.client import ControlClient
from cryptoviz.operations import Arguments, MaintenanceArguments, OperationState, OperationStatus, VerifyArguments
from cryptoviz.running_pipeline import control_client, running_settings

__all__ = ["follow", "register", "run_operation"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output: one JSON object per change and line.")]
Id = Annotated[str, typer.Argument(help="Operation id as `cryptoviz operations` shows it; a unique prefix is enough.", metavar="ID")]
_STYLES = {OperationState.SUCCEEDED: "green", OperationState.FAILED: "bold red", OperationState.RUNNING: "cyan"}
_CANCEL_WAIT_S = 30.0
"""An operation ends at its next await. After this time the command returns without waiting for the end."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(help="Show, watch, cancel and resume operations: backfill, replay, maintenance, verify.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(operations)
    for command in (watch, cancel, resume, verify):
        group.command()(command)
    app.add_typer(group, name="operations")
    app.command()(maintain)


def run_operation(arguments: Arguments, *, as_json: bool = False) -> None:
    """Start an operation in the running pipeline, follow it, then exit: code 0 if it succeeded, else 1. Ctrl-C cancels it."""
    with control_client(running_settings()) as client:
        status = follow(client, client.operations.start(arguments), as_json=as_json)
    raise typer.Exit(0 if status.state is OperationState.SUCCEEDED else 1)


def maintain(
    table: Annotated[list[str] | None, typer.Option(help="prices, raw, dead_letters, candles or gaps; repeatable. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Run one round: compact files, close days, build candles, find gaps, clean the logs. Also scheduled; waits for a running round."""
    run_operation(MaintenanceArguments(tables=tuple(table or ())), as_json=as_json)


def follow(client: ControlClient, status: OperationStatus, *, as_json: bool = False) -> OperationStatus:
    """Show an operation until it ends, and return its final status. Ctrl-C cancels it and waits for the end.

    A terminal gets a progress bar. With `as_json`, each change is one JSON line; the last line is the result.
    """
    console = terminal(stderr=as_json)
    try:
        status = _shown(client, status.id, console, as_json=as_json)
    except KeyboardInterrupt:
        client.operations.cancel(status.id)
        console.print("Cancelling. Ctrl-C again to stop waiting.", style="dim")
        status = client.operations.wait(status.id, _CANCEL_WAIT_S)
        if as_json:
            echo_json(status.to_json_dict())
    if not as_json:
        _report(console, status)
    return status


def operations(context: typer.Context, as_json: Json = False) -> None:
    """Show the last hundred operations, newest first."""
    if context.invoked_subcommand is not None:
        refuse_before_subcommand(context)
        return
    with control_client(running_settings()) as client:
        rows = client.operations.list()
    if as_json:
        echo_json({"operations": [row.to_json_dict() for row in rows]})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "kind", "state", "done", "started", "message"):
        table.add_column(column, overflow="fold", ratio=1 if column == "message" else None)
    for row in rows:
        done = f"{row.progress.done:,}" if row.progress.total is None else f"{row.progress.done:,}/{row.progress.total:,}"
        started = f"{age(max(0.0, time.time() - row.created_ms / 1000))} ago"
        table.add_row(row.id[:8], str(row.kind), Text(str(row.state), style=_STYLES.get(row.state, "yellow")), done, started, printable(row.message))
    terminal().print(table if rows else "No operations yet.")


def watch(operation_id: Id, as_json: Json = False) -> None:
    """Follow an operation until it ends. Ctrl-C stops watching, not the operation."""
    with control_client(running_settings()) as client:
        chosen = _chosen(client, operation_id)
        status = _shown(client, chosen, terminal(stderr=as_json), as_json=as_json)
    if not as_json:
        _report(terminal(), status)


def cancel(operation_id: Id, as_json: Json = False) -> None:
    """Cancel an operation. Completed work is kept."""
    with control_client(running_settings()) as client:
        status = client.operations.cancel(_chosen(client, operation_id))
        status = client.operations.wait(status.id, _CANCEL_WAIT_S)
    if as_json:
        echo_json(status.to_json_dict())
    else:
        _report(terminal(), status)


def resume(operation_id: Id, as_json: Json = False) -> None:
    """Resume a failed, cancelled or interrupted operation, and follow it."""
    with control_client(running_settings()) as client:
        status = follow(client, client.operations.resume(_chosen(client, operation_id)), as_json=as_json)
    raise typer.Exit(0 if status.state is OperationState.SUCCEEDED else 1)


def verify(as_json: Json = False) -> None:
    """Compare Kafka with the lake in the running pipeline, and follow it. `cryptoviz verify` does the same in this process, without an operation."""
    run_operation(VerifyArguments(), as_json=as_json)


def _chosen(client: ControlClient, prefix: str) -> str:
    known = [one.id for one in client.operations.list() if one.id.startswith(prefix)]
    return known[0] if len(known) == 1 else prefix  # the service reports it as unknown


def _shown(client: ControlClient, operation_id: str, console: Console, *, as_json: bool) -> OperationStatus:
    status = client.operations.get(operation_id)
    if as_json:
        for status in client.operations.watch(operation_id):
            echo_json(status.to_json_dict())
        return status
    what, count = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[count]}"))
    columns = (what, BarColumn(), TaskProgressColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(str(status.kind), total=None, count="")
        for status in client.operations.watch(operation_id):
            progress = status.progress
            done = f"{progress.done:,} {progress.unit}" if progress.total is None else f"{progress.done:,} of {progress.total:,} {progress.unit}"
            shown = printable(f"{status.kind}: {status.message}")
            bar.update(task, completed=progress.done, total=progress.total, description=shown[:70], count=done)
    return status


def _report(console: Console, status: OperationStatus) -> None:
    console.print(f"{status.kind} {status.id[:8]}: {status.state} {status.message}", style=_STYLES.get(status.state, "yellow"), soft_wrap=True)
    for note in status.notes:
        console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
