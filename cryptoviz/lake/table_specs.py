"""Readable tables: columns, time column and row order."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cryptoviz.lake.schema import DEAD_LETTERS, GAPS, PARTITION_BY, PRICES, RAW

__all__ = ["READABLE", "Readable"]


@dataclass(frozen=True, slots=True)
class Readable:
    """A readable table. `schema`: the columns that this version of the code writes; a table of another version may have fewer or more."""

    name: str
    schema: pa.Schema
    order: tuple[str, ...]

    @property
    def time(self) -> str:
        """The column that `start` and `end` bound; its UTC date is the day folder."""
        return self.order[0]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Columns returned only on request: those of the folder."""
        return PARTITION_BY


READABLE: dict[str, Readable] = {
    table.name: table
    for table in (
        Readable("prices", PRICES, ("tick_ts", "asset_id")),
        Readable("raw", RAW, ("tick_ts", "provider")),
        Readable("dead_letters", DEAD_LETTERS, ("kafka_ts", "kafka_offset")),
        Readable("gaps", GAPS, ("from_ts", "scope", "asset_id", "provider")),
    )
}
