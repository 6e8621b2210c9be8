"""Readable tables: columns, time column and row order."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cryptoviz.lake.schema import DEAD_LETTERS, DEAD_TABLE, GAPS, PARTITION_BY, PRICES, QUOTES, RAW, TRADE_GAPS, TRADES, VENUE_CANDLES
from cryptoviz.settings import Settings

__all__ = ["STREAM_TABLES", "TABLE_SPECS", "TableSpec", "topic_tables"]

STREAM_TABLES = ("trades", "trade_gaps", "venue_candles", "quotes")
"""Tables of the trade streams. They exist once streams, and quotes, have been switched on."""


@dataclass(frozen=True, slots=True)
class TableSpec:
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


TABLE_SPECS: dict[str, TableSpec] = {
    table.name: table
    for table in (
        TableSpec("prices", PRICES, ("tick_ts", "asset_id")),
        TableSpec("raw", RAW, ("tick_ts", "provider")),
        TableSpec(DEAD_TABLE, DEAD_LETTERS, ("kafka_ts", "kafka_offset")),
        TableSpec("gaps", GAPS, ("from_ts", "scope", "asset_id", "provider")),
        TableSpec("trades", TRADES, ("ts", "venue", "venue_symbol", "trade_number")),
        TableSpec("trade_gaps", TRADE_GAPS, ("opened_ts", "venue", "venue_symbol", "kafka_offset")),
        TableSpec("venue_candles", VENUE_CANDLES, ("ts", "venue", "venue_symbol", "kafka_offset")),
        TableSpec("quotes", QUOTES, ("ts", "venue", "venue_symbol", "kafka_offset")),
    )
}


def topic_tables(settings: Settings) -> dict[str, str]:
    """The topics that the lake job reads, with the table of each. Those of trades and quotes only while they are on."""
    kafka = settings.kafka
    tables = {kafka.stream_topic: "prices", kafka.raw_topic: "raw"}
    of_streams = {kafka.trades_topic: "trades", kafka.trade_gaps_topic: "trade_gaps", kafka.venue_candles_topic: "venue_candles"}
    if settings.streams.quotes:
        of_streams[kafka.quotes_topic] = "quotes"
    return tables | of_streams if settings.streams.on else tables
