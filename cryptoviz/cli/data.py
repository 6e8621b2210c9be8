"""query and verify: the lake from the command line."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cryptoviz.cli.pipeline import running_settings
from cryptoviz.errors import SettingsError

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class Format(StrEnum):
    """Forms of a query's result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(query)
    app.command()(verify)


def query(
    sql: Annotated[str, typer.Argument(help="A SELECT over prices, raw, dead_letters, candles_1m, candles_5m, candles_1h, candles_1d.")],
    form: Annotated[Format, typer.Option("--format", "-f", help="Form of the result.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; needed for Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the lake in SQL (DuckDB's dialect). Times are UTC."""
    from cryptoviz.lake import query as ask  # Arrow and DuckDB take a second to import: only when asked for

    settings = running_settings()
    if form is Format.PARQUET and output is None:
        raise SettingsError("--format parquet needs --output FILE", setting="--output")
    table = ask(sql, settings=settings)
    _write(table, Format.JSON if as_json else form, output)


def verify(as_json: Json = False) -> None:
    """Compare Kafka with the lake by two readers: nothing lost, nothing doubled. Exit code 1 when they differ."""
    from cryptoviz.lake.verify import verify as check  # as above

    report = check(running_settings())
    if as_json:
        typer.echo(orjson.dumps(report.to_json_dict()).decode())
    else:
        typer.echo(report.to_text())
    raise typer.Exit(0 if report.ok else 1)


def _write(table: Any, form: Format, output: Path | None) -> None:
    if form is Format.PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(table, output, compression="snappy")
        return
    if form is Format.TABLE and output is None:
        _print(table)
        return
    if form is Format.CSV:
        import pyarrow as pa
        import pyarrow.csv as csv

        sink = pa.BufferOutputStream()
        csv.write_csv(table, sink)
        content = sink.getvalue().to_pybytes()
    else:
        content = orjson.dumps(table.to_pylist(), option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z, default=str)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)


def _print(table: Any, limit: int = 200) -> None:
    shown = Table(box=None, pad_edge=False)
    for name in table.column_names:
        shown.add_column(name)
    for row in table.slice(0, limit).to_pylist():
        shown.add_row(*("" if value is None else str(value) for value in row.values()))
    console = Console()
    console.print(shown)
    if table.num_rows > limit:
        console.print(f"… {table.num_rows - limit} more rows: use LIMIT, or --format csv", style="dim")
