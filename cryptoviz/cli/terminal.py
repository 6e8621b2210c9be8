"""Terminal output and result formats. External text (names, errors, records) is never interpreted as terminal escapes, markup or emoji codes."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import IO, Any

import orjson
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["Format", "TerminalSink", "echo", "echo_json", "printable", "terminal"]

# C0 and C1 controls, line and paragraph separators, bidirectional and invisible marks (Unicode TR #9, TR #36). Joiners stay: some scripts need them.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_PIPE_WIDTH = 10_000
"""Columns of an output that is not a terminal: wide enough that no table is cut."""


class Format(StrEnum):
    """Formats of a query result. Defined here because the command line's help must not import Arrow.

    `json` is one array of objects, `ndjson` one object per line.
    """

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


def printable(text: str, *, lines: bool = False) -> str:
    """Replace control characters and invisible marks with Python escapes, as `repr` does. With `lines`, line feeds stay."""
    return (_UNSAFE_IN_LINES if lines else _UNSAFE).sub(lambda found: repr(found[0])[1:-1], text)


class _TextConsole(Console):
    """Renders unsafe characters of any renderable as escapes. rich's own control segments pass."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control is None and _UNSAFE_IN_LINES.search(segment.text):
                yield Segment(printable(segment.text, lines=True), segment.style)
            else:
                yield segment


def terminal(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """The console of every command: no markup, no emoji codes; tables in a pipe or file are not cut."""
    console = _TextConsole(stderr=stderr, file=file, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of plain text."""
    typer.echo(printable(text, lines=True), err=err)


def echo_json(value: Any, option: int = 0) -> None:
    """Print one JSON document and a line feed. On a terminal, unsafe characters become JSON escapes; the document is equivalent."""
    text = orjson.dumps(value, option=option).decode()
    typer.echo(_json_escaped(text) if sys.stdout.isatty() else text)


def _json_escaped(text: str) -> str:
    return _UNSAFE_IN_LINES.sub(lambda found: "".join(_code_units(found[0])), text)


def _code_units(character: str) -> Iterator[str]:
    units = character.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        yield f"\\u{high:02x}{low:02x}"


class TerminalSink(io.RawIOBase):
    """Binary sink for CSV and JSON on a terminal: unsafe characters become escapes. Writes whole lines."""

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self._sink = sink
        self._rest = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Accept all of `data`; an incomplete last line is buffered."""
        *whole, self._rest = (self._rest + bytes(data)).split(b"\n")
        for line in whole:
            self._put(line + b"\n")
        return len(data)

    def close(self) -> None:
        """Flush the last line, also without a line feed."""
        if not self.closed and self._rest:
            self._put(self._rest)
            self._rest = b""
        super().close()

    def _put(self, line: bytes) -> None:
        self._sink.write(_json_escaped(line.decode("utf-8", "backslashreplace")).encode())
