"""What a task tells the driver of a file that it has put to the store."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TablePart", "WrittenPart"]


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A data file: its path in the table, bytes, rows, and the statistics that the Delta log carries, as JSON."""

    path: str
    size: int
    rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class TablePart:
    """A written file and the table that it belongs to."""

    table: str
    part: WrittenPart
