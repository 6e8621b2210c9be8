"""Tail and follow of log files, in bounded memory, with control characters escaped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from cryptoviz.telemetry.log_rotation import earlier

__all__ = ["LogPosition", "Run", "follow", "last_lines", "safe_line"]

Run = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments where the log is: in a thread, or on another node."""
_BLOCK_BYTES = 64 * 1024
_MAX_LINE_BYTES = 8 * 1024
"""Longer lines are cut, so that a page of lines fits a message."""
_MAX_JSON_BYTES = 1024 * 1024
"""Longer lines are not parsed."""
_LEAST_VALUE = 64
_HEAD = ("timestamp", "level", "event", "component")
"""What is kept of a line with thousands of values."""
_MAX_READ_BYTES = 16 * 1024 * 1024
"""Limit of the backward search for line ends."""
_POLL_S = 0.25
_PAGE_LINES = 200
"""Lines per page: even with the longest lines a page stays below the response limit of 4 MiB."""

_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,18}-[0-9]{1,20}")  # file offsets are below 2**63
# All control characters but the tab: a log line must not move the cursor, clear the terminal or fake a second line.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Read position: the file, the offset, and the identity of the previous log file, which changes with a rotation."""

    inode: int = 0
    offset: int = 0
    earlier_inode: int = 0

    def __str__(self) -> str:
        return f"{self.inode}-{self.offset}-{self.earlier_inode}"

    @classmethod
    def parse(cls, text: str) -> LogPosition:
        """Inverse of `str`. Raises ValueError."""
        if not _POSITION.fullmatch(text):
            raise ValueError("not a position of a log")
        return cls(*(int(number) for number in text.split("-")))


def safe_line(raw: bytes) -> str:
    """A line as text: invalid bytes and control characters escaped, long lines cut; of a JSON object long values are cut, so that it stays one."""
    if len(raw) > _MAX_LINE_BYTES and (whole := _json_object(raw)):
        return _shortened(whole)
    cut = raw[:_MAX_LINE_BYTES].rstrip(b"\r")
    text = cut.decode("utf-8", "backslashreplace").translate(_CONTROL)
    return text if len(raw) <= _MAX_LINE_BYTES else f"{text} … ({len(raw)} bytes)"


def _json_object(raw: bytes) -> dict[str, Any]:
    """The object of a line of a log in JSON; empty if the line is none. A line that is longer than any of ours is not parsed."""
    if len(raw) > _MAX_JSON_BYTES or not raw.startswith(b"{"):
        return {}
    with contextlib.suppress(ValueError):
        found = orjson.loads(raw)
        return found if isinstance(found, dict) else {}
    return {}


def _shortened(line: dict[str, Any]) -> str:
    room = _MAX_LINE_BYTES // 2
    while len(text := _ascii({key: _cut(value, room) for key, value in line.items()})) > _MAX_LINE_BYTES and room > _LEAST_VALUE:
        room //= 2
    if len(text) <= _MAX_LINE_BYTES:
        return text
    return _ascii({key: _cut(line[key], _LEAST_VALUE) for key in _HEAD if key in line} | {"cut": f"{len(line)} values"})


def _ascii(line: dict[str, Any]) -> str:
    return json.dumps(line).replace("\x7f", "\\u007f")


def _cut(value: object, room: int) -> object:
    text = value if isinstance(value, str) else _ascii({"": value})[5:-1]
    return value if len(text) <= room else f"{text[:room]} … ({len(text)} characters)"


async def last_lines(path: Path, count: int, run: Run = asyncio.to_thread) -> list[str]:
    """At most the last `count` lines; none when the file is missing."""
    lines, _ = await run(_read_end, path, count)
    return list(lines)


async def follow(
    path: Path, count: int, after: LogPosition | None = None, run: Run = asyncio.to_thread
) -> AsyncGenerator[tuple[list[str], LogPosition | None], None]:
    """The last `count` lines, or none with `after`; then pages of new lines. Handles rotation, truncation and a missing file.

    Each page with the position after it; None as long as not all of the last `count` lines are sent.
    """
    lines, place = ([], after) if after is not None else await run(_read_end, path, count)
    *first, last = pages(lines) or [[]]
    for page in first:
        yield page, None
    yield last, place
    while True:
        lines, place = await run(_read_on, path, place)
        if lines:
            yield lines, place
        else:
            await asyncio.sleep(_POLL_S)


def pages(lines: list[str]) -> list[list[str]]:
    """Split lines into pages that fit a response."""
    return [lines[start : start + _PAGE_LINES] for start in range(0, len(lines), _PAGE_LINES)]


def _read_end(path: Path, count: int) -> tuple[list[str], LogPosition]:
    try:
        with path.open("rb") as file:
            before = _inode(earlier(path))
            lines, place = _last(file.fileno(), count)
            place = replace(place, earlier_inode=before)
    except FileNotFoundError:
        return [], LogPosition()
    if len(lines) < count:
        # Recently rotated: the previous file has the earlier lines.
        with contextlib.suppress(OSError), earlier(path).open("rb") as file:
            lines = [*_last(file.fileno(), count - len(lines))[0], *lines]
    return lines, place


def _last(descriptor: int, count: int) -> tuple[list[str], LogPosition]:
    facts = os.fstat(descriptor)
    start, tail = facts.st_size, b""
    # One more line end than lines: the line end before the first line.
    while start > 0 and tail.count(b"\n") <= count and len(tail) < _MAX_READ_BYTES:
        size = min(_BLOCK_BYTES, start)
        start -= size
        tail = os.pread(descriptor, size, start) + tail
    whole, _, _ = tail.rpartition(b"\n")  # an incomplete last line is read later, when it has its line end
    if not whole:
        return [], LogPosition(facts.st_ino, facts.st_size - len(tail))
    lines = whole.split(b"\n")[-count:]
    return [safe_line(line) for line in lines], LogPosition(facts.st_ino, facts.st_size - len(tail) + len(whole) + 1)


def _read_on(path: Path, place: LogPosition) -> tuple[list[str], LogPosition]:
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            before = _inode(earlier(path))
            if facts.st_ino == place.inode and before != place.earlier_inode:
                return _rest(path, place.offset), LogPosition(facts.st_ino, 0, before)
            offset = place.offset if facts.st_ino == place.inode and facts.st_size >= place.offset else 0
            block = os.pread(file.fileno(), _BLOCK_BYTES, offset)
    except FileNotFoundError:
        return [], place
    whole, ending, _ = block.rpartition(b"\n")
    if not ending and len(block) < _BLOCK_BYTES:
        return [], LogPosition(facts.st_ino, offset, before)
    if not ending:
        whole = block  # a line longer than a block is split
    lines = whole.split(b"\n")[-_PAGE_LINES * 10 :]
    return [safe_line(line) for line in lines], LogPosition(facts.st_ino, offset + len(whole) + len(ending), before)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _rest(path: Path, offset: int) -> list[str]:
    """Lines written after `offset` before the rotation; empty when the previous file is gone."""
    try:
        with earlier(path).open("rb") as file:
            block = os.pread(file.fileno(), _MAX_READ_BYTES, offset)
    except OSError:
        return []
    return [safe_line(line) for line in block.removesuffix(b"\n").split(b"\n")[-_PAGE_LINES * 10 :]] if block else []
