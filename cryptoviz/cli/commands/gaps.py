"""gaps and backfill: missing ticks of the lake, and filling them from the providers' history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.commands.operations import run_operation
from cryptoviz.cli.terminal import echo_json, printable, terminal
from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.errors import UsageError
from cryptoviz.gaps import Gap, GapState
from cryptoviz.operations import BackfillArguments
from cryptoviz.providers.registry import HISTORY_PROVIDERS
from cryptoviz.running_pipeline import control_client, running_settings
from cryptoviz.times import epoch_ms, utc

__all__ = ["gaps_view", "register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Assets = Annotated[str, typer.Option("--assets", help="Comma-separated ids or symbols. Default: all.", metavar="BTC,ETH")]
From = Annotated[str, typer.Option("--from", help="First tick, ISO 8601 with an offset or Z. Default: no limit.", metavar="TIME")]
To = Annotated[str, typer.Option("--to", help="End of the range, exclusive; same format. Default: no limit.", metavar="TIME")]
_STATES = {GapState.OPEN: "yellow", GapState.PARTLY: "cyan", GapState.FILLED: "green"}
_SHOWN = 200
_NAMES_SHOWN = 2


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(gaps)
    app.command()(backfill)


def gaps(
    assets: Assets = "",
    start: From = "",
    end: To = "",
    providers: Annotated[bool, typer.Option("--providers", help="Gaps by provider instead of by asset.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also show filled gaps.")] = False,
    as_json: Json = False,
) -> None:
    """Show the gap ledger: expected ticks that are not in the lake. The ledger lags by about a minute."""
    with control_client(running_settings()) as client:
        found = client.gaps(
            _names(assets), start_ms=_moment(start, "--from"), end_ms=_moment(end, "--to"), of_providers=providers, with_filled=everything
        )
        pipeline = client.list()
    if as_json:
        echo_json({"gaps": [gap.to_json_dict() for gap in found]})
        return
    terminal().print(gaps_view(found, pipeline))


def backfill(
    assets: Assets = "",
    start: From = "",
    end: To = "",
    provider: Annotated[str, typer.Option("--provider", help=f"Only use this provider: {', '.join(HISTORY_PROVIDERS)}. Default: any.")] = "",
    as_json: Json = False,
) -> None:
    """Fill gaps from the providers' history: the gaps of the ledger and, if --from is before recording began, the time up to it.

    The rows have `kind=backfill`. Ctrl-C cancels; run it again to continue: no row is written twice.
    """
    run_operation(
        BackfillArguments(
            assets=_names(assets), start_ms=_moment(start, "--from"), end_ms=_moment(end, "--to"), provider=provider or None
        ),
        as_json=as_json,
    )  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _moment(text: str, option: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}; use a time such as 2026-01-31T12:00:00Z", setting=option) from None
    if moment.tzinfo is None:
        raise UsageError(f"{option} is {text!r}, which has no time zone: append Z for UTC, or an offset such as +02:00", setting=option)
    return epoch_ms(moment)


def gaps_view(found: Sequence[Gap], pipeline: PipelineStatus | None = None) -> RenderableType:
    """The ledger as a table. If the pipeline is not RUNNING, its state is shown below: the ledger may then be out of date."""
    if pipeline is None or pipeline.state is ComponentState.RUNNING:
        return _ledger(found) if found else Text("No gap.")
    now = Text(f"CryptoViz is {pipeline.state}: {printable(pipeline.reason)}", style="yellow")
    return Group(_ledger(found) if found else Text("No gaps in the ledger. It lags by about a minute."), now)


def _ledger(found: Sequence[Gap]) -> RenderableType:
    """A table of eighty columns. A gap is within one UTC day, so its end is shown without a date."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("from", "to", "ticks", "reason", "state", "of"):
        table.add_column(column, justify="right" if column == "ticks" else "left", no_wrap=column != "of")
    rows = _alike(found)
    for gap, subjects in rows[:_SHOWN]:
        ticks = f"{gap.missing:,}" if not gap.filled else f"{gap.filled:,}/{gap.missing:,}"
        state = Text(str(gap.state), style=_STATES[gap.state])
        table.add_row(_text(gap.from_ms), _text(gap.to_ms, "%H:%M:%S"), ticks, printable(gap.reason), state, printable(_some(subjects)))
    hidden = len(rows) - _SHOWN
    return Group(table, Text(f"… {hidden:,} more: use --assets, --from, --to or --json", style="dim")) if hidden > 0 else table


def _alike(found: Sequence[Gap]) -> list[tuple[Gap, list[str]]]:
    """Groups of gaps that differ only in the subject, with their subjects: an outage becomes one row, not one per coin."""
    groups: dict[Gap, list[str]] = {}
    for gap in found:
        groups.setdefault(replace(gap, subject="", found_ms=0, filled_ms=None), []).append(gap.subject)
    return list(groups.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMES_SHOWN else f"{names[0]} +{len(names) - 1}"


def _text(moment_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return utc(moment_ms).strftime(form)
