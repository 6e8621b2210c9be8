"""The tables that a reader may ask for: their columns, the column that time ranges mean, and the order of their rows."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cryptoviz.lake.schema import DEAD_LETTERS, GAPS, PARTITION_BY, PRICES, RAW

__all__ = ["READABLE", "Readable"]


@dataclass(frozen=True, slots=True)
class Readable:
    """One table for readers. `schema` is what this version of the code writes; an older or newer table may have fewer or more columns."""

    name: str
    schema: pa.Schema
    order: tuple[str, ...]

    @property
    def time(self) -> str:
        """The column that `start` and `end` are compared with, and whose UTC date is the day folder."""
        return self.order[0]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Columns that are given only to those who name them: the folder's."""
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
