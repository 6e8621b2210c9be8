"""query and verify: the lake on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryptoviz.cli.commands import dead_letters as deadletters
from cryptoviz.cli.terminal import Format, echo, echo_json
from cryptoviz.running_pipeline import running_settings

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(query)
    app.command()(verify)
    deadletters.register(app)


def query(
    sql: Annotated[
        str,
        typer.Argument(
            help="A SELECT over prices, raw, dead_letters, gaps, candles_1m (5m, 1h, 1d); of trade streams: trades, trade_gaps, trade_candles_1m"
            " (1s, 5m, 15m, 1h, 4h, 1d), candle_checks, quotes."
        ),
    ],
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Result format; ndjson is one JSON object per line. Default: by the file extension, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: .csv, .json, .ndjson or .parquet. Default: standard output.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Query the tables as of this time: ISO 8601 with an offset or Z. Default: now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Query the lake with SQL (DuckDB dialect). Times are UTC. Read-only: the SQL cannot access files, the network or settings."""
    from cryptoviz.cli.output import chosen_format, write_rows  # Arrow and DuckDB take a second to import
    from cryptoviz.lake import Lake

    chosen = chosen_format(form, output, as_json=as_json)
    schema, batches = Lake(running_settings()).stream(sql, as_of=as_of)
    write_rows(schema, batches, chosen, output)


def verify(as_json: Json = False) -> None:
    """Compare Kafka with the lake, using two readers: no row lost or duplicated. Exit code 1 if they differ."""
    from cryptoviz.lake.verify import verify as check  # as above

    report = check(running_settings())
    if as_json:
        echo_json(report.to_json_dict())
    else:
        echo(report.to_text())
    raise typer.Exit(0 if report.ok else 1)
