"""The request log: numbered responses of the market, in an append-only file of JSON lines that continues after a restart.

One line per response: `{"seq", "provider", "endpoint", "ts_ms", "status", "fault", "prices"}`; `ts_ms` is wall-clock UTC epoch ms, `status` is null
without a response (hang, reset), `prices` maps the provider's asset id to the price exactly as in the body. NaN and infinities, which JSON lacks, are
the strings "NaN", "Infinity" and "-Infinity".

Segments of `segment_bytes` are kept up to a total of `max_bytes`; then the oldest is deleted. Pages are located by bisecting the files, without an
index in memory.
"""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import BinaryIO

__all__ = ["RequestLog"]

_CURRENT = "ledger.jsonl"
_CHUNK_BYTES = 64 * 1024


class RequestLog:
    """The request log in `folder`. `append` from one thread; `page` from any thread.

    Args:
        folder: created if missing.
        max_bytes: minimum kept on disk; 0 keeps everything.
        segment_bytes: size at which the current file is renamed to `ledger-<first seq>.jsonl`.
    """

    def __init__(self, folder: Path, max_bytes: int = 256 * 1024 * 1024, segment_bytes: int = 32 * 1024 * 1024) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._moving = threading.Lock()  # a page must not miss a segment that is renamed under it
        self.last_seq = 0
        """Sequence number of the newest entry; 0 if empty."""

    def open(self) -> None:
        """Find the last entry, truncate an incomplete line of a killed process, and append from there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / _CURRENT
        self._file = path.open("ab", buffering=0)
        self._size = _whole_lines(path)
        os.truncate(path, self._size)
        self.last_seq = _last_seq(path, self._size) or max((_last_seq(old, old.stat().st_size) for old in self._closed()), default=0)

    def close(self) -> None:
        """Close the file; all entries are already written to the kernel."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, provider: str, endpoint: str, ts_ms: int, status: int | None, fault: str | None, prices: dict[str, object]) -> int:
        """Write an entry and return its sequence number. The entry survives a crash of the process, but not of the machine."""
        if self._file is None:
            raise RuntimeError("the request log is not open")
        seq = self.last_seq + 1
        shown = {key: _plain(price) for key, price in prices.items()}
        entry = {"seq": seq, "provider": provider, "endpoint": endpoint, "ts_ms": ts_ms, "status": status, "fault": fault, "prices": shown}
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if self._size and self._size + len(line) > self._segment_bytes:
            self._rotate()
        self._file.write(line)
        self._size += len(line)
        self.last_seq = seq
        return seq

    def page(self, since: int, limit: int) -> bytes:
        """JSON with `entries` (seq > since, at most `limit`, ascending), `next_since`, `first_seq` (oldest kept) and `last_seq`."""
        lines: list[bytes] = []
        with self._moving:
            begins = [(path, seq) for path in [*self._closed(), self._folder / _CURRENT] if (seq := _first_seq(path)) is not None]
            for number, (path, _) in enumerate(begins, start=1):
                last = begins[number][1] - 1 if number < len(begins) else self.last_seq
                if last > since and len(lines) < limit:
                    lines.extend(_lines_after(path, since, limit - len(lines)))
        first = begins[0][1] if begins else None
        head = {"first_seq": first, "last_seq": self.last_seq, "next_since": _seq(lines[-1]) if lines else since}
        return json.dumps(head)[:-1].encode() + b', "entries": [' + b",".join(lines) + b"]}"

    def _closed(self) -> list[Path]:
        return sorted(self._folder.glob("ledger-*.jsonl"))

    def _rotate(self) -> None:
        """Rename the current segment by its first number, delete the oldest segments beyond the limit, start a new segment."""
        with self._moving:
            path = self._folder / _CURRENT
            path.rename(self._folder / f"ledger-{_first_seq(path) or 0:015d}.jsonl")
            self.close()
            self._file = path.open("ab", buffering=0)
            self._size = 0
            closed = self._closed()
            kept = sum(old.stat().st_size for old in closed)
            while self._max_bytes and closed and kept > self._max_bytes:
                oldest = closed.pop(0)
                kept -= oldest.stat().st_size
                oldest.unlink()


def _plain(price: object) -> object:
    if isinstance(price, float) and not math.isfinite(price):
        return json.dumps(price)
    return price


def _seq(line: bytes) -> int:
    # every line begins with {"seq":N, so that bisecting needs no JSON parser
    return int(line[7 : line.index(b",")])


def _first_seq(path: Path) -> int | None:
    with path.open("rb") as file:
        line = file.readline()
    return _seq(line) if line.endswith(b"\n") else None


def _whole_lines(path: Path) -> int:
    """Number of bytes up to the last newline."""
    with path.open("rb") as file:
        return _line_start(file, file.seek(0, os.SEEK_END))


def _last_seq(path: Path, size: int) -> int:
    with path.open("rb") as file:
        file.seek(_line_start(file, size - 1) if size else 0)
        line = file.readline()
    return _seq(line) if line.endswith(b"\n") else 0


def _line_start(file: BinaryIO, position: int) -> int:
    """Offset of the line that contains the byte at `position`: behind the last newline before it."""
    end = position
    while end > 0:
        start = max(0, end - _CHUNK_BYTES)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _lines_after(path: Path, since: int, limit: int) -> list[bytes]:
    with path.open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)
        while low < high:
            start = _line_start(file, (low + high) // 2)
            file.seek(start)
            line = file.readline()
            if line.endswith(b"\n") and _seq(line) <= since:
                low = start + len(line)
            else:
                high = start
        file.seek(low)
        lines: list[bytes] = []
        while len(lines) < limit and (line := file.readline()).endswith(b"\n"):
            lines.append(line[:-1])
        return lines
