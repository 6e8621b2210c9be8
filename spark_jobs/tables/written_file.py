"""Metadata of an uploaded data file, returned by a task to the driver."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TablePart", "WrittenPart"]


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A data file: path in the table, bytes, rows, and its Delta statistics as JSON."""

    path: str
    size: int
    rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class TablePart:
    """A written file and its table."""

    table: str
    part: WrittenPart
