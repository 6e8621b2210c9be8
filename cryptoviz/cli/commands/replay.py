"""replay: run recorded exchanges through the current parsers and collector, and compare the rows with the lake's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cryptoviz.cli.commands.operations import follow
from cryptoviz.errors import UsageError
from cryptoviz.operations import OperationState, OperationStatus, ReplayArguments, replay_key
from cryptoviz.running_pipeline import control_client, running_settings
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms, moment

__all__ = ["register"]

_UNEQUAL = ("different", "missing", "extra")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(replay)


def replay(
    start: Annotated[str, typer.Option("--from", help="First tick, ISO 8601 with an offset or Z, such as 2026-01-31T12:00:00Z.", metavar="TIME")],
    end: Annotated[str, typer.Option("--to", help="End of the range, exclusive; same format.", metavar="TIME")],
    out: Annotated[Path | None, typer.Option(help="Write the replayed rows to this Parquet file. Default: only compare.", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output: one JSON object per change and line.")] = False,
) -> None:
    """Rebuild the rows of a time range from recorded exchanges and compare them with the lake's.

    Exit code 0 if every field of every row is equal; 1 if a row differs, is missing or is extra, or the replay failed.
    """
    if out is not None and out.suffix != ".parquet":
        raise UsageError(f"--out {out}: the replayed rows are written as Parquet; use a name that ends in .parquet", setting="--out")
    settings = running_settings()
    with control_client(settings) as client:
        arguments = ReplayArguments(start_ms=_ms(start, "--from"), end_ms=_ms(end, "--to"), keep_rows=out is not None)
        status = follow(client, client.operations.start(arguments), as_json=as_json)
    succeeded = status.state is OperationState.SUCCEEDED
    if succeeded and out is not None:
        _fetch(settings, status, out)
    raise typer.Exit(0 if succeeded and not any(status.figures.get(name, 0) for name in _UNEQUAL) else 1)


def _ms(text: str, option: str) -> int:
    found = moment(text, option)
    if not isinstance(found, datetime):
        raise typer.BadParameter("expected a time, such as 2026-01-31T12:00:00Z", param_hint=option)
    return epoch_ms(found)


def _fetch(settings: Settings, status: OperationStatus, path: Path) -> None:
    from cryptoviz.lake.objects import S3Access, minio_client  # takes a second to import
    from cryptoviz.lake.store_errors import store_errors

    bucket, key = settings.s3.lake_bucket, replay_key(status.id)
    with store_errors(settings.s3.endpoint, f"return the replayed rows, s3://{bucket}/{key}"):
        client = minio_client(S3Access.of(settings.s3))
        client.fget_object(bucket, key, str(path))
        client.remove_object(bucket, key)
