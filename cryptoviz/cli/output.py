"""Rows as they come to a terminal, a pipe or a file: table, CSV, JSON, Parquet; a result of any size in the memory of one batch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from rich.console import Console
from rich.table import Table

from cryptoviz.cli.formats import Format
from cryptoviz.errors import QueryError, SettingsError

__all__ = ["write_rows"]

_SHOWN_ROWS = 200


def write_rows(schema: pa.Schema, batches: Iterator[pa.RecordBatch], form: Format, output: Path | None) -> None:
    """To `output`, which appears whole or not at all, or to stdout.

    Raises:
        SettingsError: Parquet without a file, or the file cannot be written.
        QueryError: a column that CSV cannot hold; whatever the batches raise.
    """
    if form is Format.PARQUET and output is None:
        raise SettingsError("--format parquet needs --output FILE", setting="--output")
    if form is Format.TABLE and output is None:
        _print(schema, batches)
        return
    with _sink(output) as sink:
        try:
            _WRITERS[form](schema, batches, sink)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise QueryError(f"the result cannot be written as {form}: {error}") from error


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
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
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z, default=_plain)


def _plain(value: Any) -> str:
    """Bytes as text where they are text, as a dead letter's often are; decimals and intervals as written."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _print(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    shown = Table(box=None, pad_edge=False)
    for name in schema.names:
        shown.add_column(name)
    left = _SHOWN_ROWS
    for batch in batches:
        for row in batch.slice(0, left).to_pylist():
            shown.add_row(*("" if value is None else _plain(value) for value in row.values()))
        left -= batch.num_rows
        if left < 0:
            break
    console = Console()
    console.print(shown, markup=False)
    if left < 0:
        console.print(f"… and more than {_SHOWN_ROWS} rows: use LIMIT, or --format csv", style="dim")


_WRITERS = {Format.CSV: _csv, Format.JSON: _json, Format.NDJSON: _ndjson, Format.PARQUET: _parquet, Format.TABLE: _csv}
