"""streams: the trade streams of exchanges, by component and instrument; replay of recorded frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cryptoviz.cli.commands.stream_replay import replay
from cryptoviz.cli.options import refuse_before_subcommand
from cryptoviz.cli.status_view import STATE_STYLES, age
from cryptoviz.cli.terminal import echo_json, printable, terminal
from cryptoviz.components import PER_INSTRUMENT, ComponentKind, ComponentState, ComponentStatus
from cryptoviz.errors import CryptoVizError
from cryptoviz.running_pipeline import control_client, running_settings
from cryptoviz.settings import Settings

__all__ = ["CandleChecks", "checks_of", "register", "stream_json", "streams_view"]

_AGE = f"data_age_s{PER_INSTRUMENT}"
_SPREAD = f"spread_bps{PER_INSTRUMENT}"
_SHOWN = ("trades_total", "trades_per_s", "gaps_open", "missing_trades", "refilled_total", "duplicates_dropped_total", "reconnects_total")
_CHECKED = timedelta(days=1)
_OFF = "No trade streams: set CRYPTOVIZ_STREAMS__VENUES, for example to binance,kraken,coinbase, and start the pipeline again."


@dataclass
class CandleChecks:
    """Candles of a venue, compared with ours. `different`: ours is complete and not the same. `incomplete`: ours is not. `newest`: difference."""

    equal: int = 0
    different: int = 0
    incomplete: int = 0
    newest: str = ""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(
        help="Show every trade stream: connection, instruments, trades, gaps, refills, spreads, candles compared with the venue's; replay frames.",
        rich_markup_mode=None,
    )
    group.callback(invoke_without_command=True)(streams)
    group.command()(replay)
    app.add_typer(group, name="streams")


def streams(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Show every trade stream."""
    if context.invoked_subcommand is not None:
        refuse_before_subcommand(context)
        return
    settings = running_settings()
    with control_client(settings) as client:
        rows = [one for one in client.list().components if one.kind is ComponentKind.STREAM]
    checks = _read_checks(settings) if rows else {}
    if as_json:
        echo_json({"streams": [stream_json(row) for row in rows], "candle_checks": {venue: asdict(one) for venue, one in checks.items()}})
    else:
        terminal().print(streams_view(rows, checks))


def _read_checks(settings: Settings) -> dict[str, CandleChecks]:
    from cryptoviz.lake import Lake  # Arrow and DuckDB take a second to import

    try:
        return checks_of(Lake(settings).candle_checks(start=datetime.now(UTC) - _CHECKED).arrow().to_pylist())
    except CryptoVizError:  # the streams are shown without the lake
        return {}


def checks_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, CandleChecks]:
    """Counts by venue, of rows of `Lake.candle_checks`."""
    found: dict[str, CandleChecks] = {}
    for row in rows:
        one = found.setdefault(row["venue"], CandleChecks())
        if row["equal"]:
            one.equal += 1
        elif row["complete"] is False or row["equal"] is None:
            one.incomplete += 1
        else:
            one.different += 1
            one.newest = f"{row['venue_symbol']} {row['ts']:%Y-%m-%dT%H:%MZ}: {row['differences']}"
    return found


def stream_json(row: ComponentStatus) -> dict[str, Any]:
    """A stream as JSON: its metrics, and by instrument the age of the newest trade and the spread, in hundredths of a percent."""
    return {
        "name": row.name,
        "state": str(row.state),
        "message": row.message,
        "restarts": row.restarts,
        "metrics": {name: value for name, value in row.metrics.items() if PER_INSTRUMENT not in name},
        "data_age_s": dict(_by_instrument(row, _AGE)),
        "spread_bps": dict(_by_instrument(row, _SPREAD)),
    }


def streams_view(rows: Sequence[ComponentStatus], checks: Mapping[str, CandleChecks] | None = None) -> RenderableType:
    """One row per stream; the instruments and what is wrong below the table."""
    if not rows:
        return Text(_OFF)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, expand=False)
    for heading in ("stream", "state"):
        table.add_column(heading)
    for heading in ("acked", "trades", "per s", "open gaps", "missing", "refilled", "duplicates", "reconnects"):
        table.add_column(heading, justify="right")
    notes: list[Text] = []
    for row in rows:
        of = row.metrics
        table.add_row(
            printable(row.name),
            Text(str(row.state), style=STATE_STYLES[row.state]),
            f"{of.get('instruments_acked', 0):.0f} of {of.get('instruments', 0):.0f}" if "instruments" in of else "",
            *(f"{of[name]:,.0f}" if name in of else "" for name in _SHOWN),
        )
        ages = ", ".join(f"{symbol} {age(seconds)}" for symbol, seconds in _by_instrument(row, _AGE))
        if ages:
            notes.append(Text.assemble((printable(f"{row.name}: "), "bold"), printable(f"last trade {ages} ago")))
        spreads = ", ".join(f"{symbol} {spread:.2f}" for symbol, spread in _by_instrument(row, _SPREAD))
        if spreads:
            notes.append(Text.assemble((printable(f"{row.name}: "), "bold"), printable(f"spread, bp: {spreads}")))
        if lost := of.get("raw_frames_lost_total"):
            notes.append(Text.assemble((printable(f"{row.name}: "), "bold"), f"{lost:,.0f} raw frames were not recorded"))
        if row.message and row.state is not ComponentState.RUNNING:
            notes.append(Text.assemble((printable(f"{row.name}: "), "bold"), printable(row.message)))
    for venue, one in (checks or {}).items():
        text = f"{one.equal} candles of a minute equal the venue's, {one.different} differ, {one.incomplete} of ours are incomplete (24 h)"
        notes.append(Text.assemble((printable(f"{venue}: "), "bold"), printable(f"{text}{f'; {one.newest}' if one.newest else ''}")))
    return Group(table, *notes)


def _by_instrument(row: ComponentStatus, prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in sorted(row.metrics.items()):
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value
