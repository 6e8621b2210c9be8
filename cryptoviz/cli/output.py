"""Streaming of query results to a terminal, pipe or file as table, CSV, JSON or Parquet, in the memory of one record batch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from rich.table import Table

from cryptoviz.cli.cells import as_json, as_text, sayable
from cryptoviz.cli.terminal import Format, TerminalSink, printable, terminal
from cryptoviz.errors import QueryError, SettingsError, UsageError

__all__ = ["chosen_format", "write_rows"]

_SHOWN_ROWS = 200
_WIDEST = 100_000
_ENDINGS = {".csv": Format.CSV, ".json": Format.JSON, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".parquet": Format.PARQUET}


def chosen_format(form: Format | None, output: Path | None, option: str = "--output", *, as_json: bool = False) -> Format:
    """The format named by `--format` or `--json`, else by the file extension, else a table.

    Raises:
        UsageError: `--json` together with another format; the extension is unknown without `--format` or contradicts it; a table was requested
            for a file.
    """
    if as_json:
        if form not in (None, Format.JSON):
            raise UsageError(f"--json and --format {form} contradict each other: valid is one of them", setting="--format")
        form = Format.JSON
    if output is None:
        return form or Format.TABLE
    if form is Format.TABLE:
        raise UsageError(f"{option} {output}: a table cannot be written to a file; use CSV, JSON or Parquet ({', '.join(_ENDINGS)})", setting=option)
    of_ending = _ENDINGS.get(output.suffix.lower())
    if form is None:
        if of_ending is None:
            raise UsageError(f"{option} {output}: valid extensions are {', '.join(_ENDINGS)}; or use --format", setting=option)
        return of_ending
    if of_ending not in (None, form):
        raise UsageError(f"{option} {output} ends in {output.suffix}, but --format is {form}; change one of them", setting=option)
    return form


def write_rows(schema: pa.Schema, batches: Iterator[pa.RecordBatch], form: Format, output: Path | None) -> None:
    """Write to `output` atomically, or to stdout.

    Raises:
        UsageError: Parquet without --output, or --output is not a regular file.
        SettingsError: the file cannot be written.
        QueryError: the format cannot represent a column: unsupported type, time outside the calendar, duplicate name.
            Errors of `batches` are passed on.
    """
    if form is Format.PARQUET and output is None:
        raise UsageError("--format parquet requires --output FILE", setting="--output")
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    if twice and form in (Format.JSON, Format.NDJSON, Format.PARQUET):
        raise QueryError(f"{form} needs unique column names, but the result repeats {', '.join(map(repr, twice))}; rename with AS")
    if form is Format.TABLE:
        _print(schema, sayable(batches))
        return
    with _sink(output) as sink:
        try:
            _WRITERS[form](schema, batches if form is Format.PARQUET else sayable(batches), sink)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise QueryError(f"cannot write the result as {form}: {error}") from error


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        if sys.stdout.isatty():
            with TerminalSink(sys.stdout.buffer) as sink:
                yield cast("IO[bytes]", sink)
        else:
            yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # A symbolic link is followed. A device or pipe is refused, because the rename would replace it by a file.
    output = output.resolve()
    if output.exists() and not output.is_file():
        raise UsageError(f"--output {output} is not a regular file; without --output the result goes to stdout", setting="--output")
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as sink:
            yield sink
        unfinished.replace(output)
    except OSError as error:
        raise SettingsError(f"--output {output} cannot be written: {error.strerror or error}", setting="--output") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes]) -> None:
    with pa_csv.CSVWriter(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes]) -> None:
    with pa_parquet.ParquetWriter(sink, schema, compression="snappy") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _ndjson(_: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes]) -> None:
    for batch in batches:
        sink.writelines(_objects(batch))


def _json(_: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes]) -> None:
    sink.write(b"[")
    before = b"\n"
    for batch in batches:
        for line in _objects(batch):
            sink.write(before + line.rstrip(b"\n"))
            before = b",\n"
    sink.write(b"\n]\n")


def _objects(batch: pa.RecordBatch) -> Iterator[bytes]:
    for row in batch.to_pylist():
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z, default=as_json)


def _print(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    shown = Table(box=None, pad_edge=False)
    for name in schema.names:
        shown.add_column(printable(name), no_wrap=True, overflow="ignore")
    left = _SHOWN_ROWS
    for batch in batches:
        columns = [column.to_pylist() for column in batch.slice(0, left).columns]
        for row in zip(*columns, strict=True):
            shown.add_row(*("" if value is None else printable(as_text(value)) for value in row))
        left -= batch.num_rows
        if left < 0:
            break
    console = terminal()
    # A table wider than the terminal is wrapped by the terminal, so that no digit is cut.
    width = max(console.width, console.measure(shown, options=console.options.update(max_width=_WIDEST)).maximum)
    console.print(shown, width=width, crop=False, no_wrap=True, soft_wrap=True)
    if left < 0:
        console.print(f"… more than {_SHOWN_ROWS} rows: use LIMIT, or --format csv", style="dim")


_WRITERS = {Format.CSV: _csv, Format.JSON: _json, Format.NDJSON: _ndjson, Format.PARQUET: _parquet}
