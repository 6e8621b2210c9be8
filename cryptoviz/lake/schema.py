"""Arrow schemas of the lake's tables. `year`, `month`, `day` are partition columns: UTC date of `tick_ts`, in the folder names, not in the files."""

from __future__ import annotations

import pyarrow as pa

__all__ = [
    "AMOUNT", "DEAD_LETTERS", "DEAD_TABLE", "DOUBLES", "GAPS", "IDENTITY", "IDENTITY_COLUMNS", "KAFKA_COLUMNS", "KAFKA_POSITION", "PARTITION_BY",
    "PARTITION_COLUMNS", "PRICES", "RAW", "TIME", "TRADES", "TRADE_GAPS", "VENUE_CANDLES", "file_schema",
]  # fmt: skip

TIME = pa.timestamp("us", tz="UTC")

# Kafka position of a row: unique, and the key of verification.
KAFKA_COLUMNS: tuple[pa.Field, ...] = (
    pa.field("kafka_topic_id", pa.string(), nullable=False),
    pa.field("kafka_partition", pa.int32(), nullable=False),
    pa.field("kafka_offset", pa.int64(), nullable=False),
)
KAFKA_POSITION: tuple[str, ...] = tuple(column.name for column in KAFKA_COLUMNS)

PARTITION_COLUMNS: tuple[pa.Field, ...] = (pa.field("year", pa.int32()), pa.field("month", pa.int32()), pa.field("day", pa.int32()))
PARTITION_BY: tuple[str, ...] = tuple(column.name for column in PARTITION_COLUMNS)

PRICES = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("tick_ts", TIME, nullable=False),
        pa.field("source_ts", TIME),
        pa.field("ingest_ts", TIME, nullable=False),
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        *(
            pa.field(name, pa.float64())
            for name in (
                "market_cap", "volume_24h", "high_24h", "low_24h", "change_1h_pct", "change_24h_pct", "change_7d_pct",
                "circulating_supply", "total_supply", "max_supply",
            )
        ),
        pa.field("rank", pa.int32()),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("provider_asset_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("fallback_reason", pa.string()),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("fetch_id", pa.string(), nullable=False),
        pa.field("consensus_price", pa.float64()),
        pa.field("consensus_sources", pa.int32(), nullable=False),
        pa.field("spread_bps", pa.float64()),
        pa.field("disagrees", pa.bool_(), nullable=False),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)  # fmt: skip

RAW = pa.schema(
    [
        pa.field("fetch_id", pa.string(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("endpoint", pa.string(), nullable=False),
        pa.field("tick_ts", TIME, nullable=False),
        pa.field("started_ts", TIME, nullable=False),
        pa.field("finished_ts", TIME, nullable=False),
        pa.field("status", pa.int32()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("rate_limit_headers", pa.string()),  # the JSON object as text
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("body", pa.string()),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)

DEAD_TABLE = "dead_letters"
# Partitioned by the UTC date of the Kafka timestamp, since the record's own time may be invalid.
DEAD_LETTERS = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("kafka_ts", TIME, nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("reason", pa.string(), nullable=False),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)


# A row is a gap, partitioned by the UTC date of `from_ts`: see `cryptoviz.gaps`.
GAPS = pa.schema(
    [
        pa.field("gap_id", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("asset_id", pa.string()),  # of scope asset
        pa.field("provider", pa.string()),  # of scope provider
        pa.field("from_ts", TIME, nullable=False),  # the first missing tick
        pa.field("to_ts", TIME, nullable=False),  # the last one, included
        pa.field("tick_ms", pa.int64(), nullable=False),  # the grid's step
        pa.field("missing", pa.int64(), nullable=False),  # ticks, filled ones too
        pa.field("reason", pa.string(), nullable=False),
        pa.field("found_ts", TIME, nullable=False),  # when it was first found
        pa.field("state", pa.string(), nullable=False),
        pa.field("filled", pa.int64(), nullable=False),  # ticks that a backfill brought
        pa.field("filled_by", pa.string()),  # providers, comma-separated
        pa.field("filled_ts", TIME),  # ingest time of the newest of those rows
        *PARTITION_COLUMNS,
    ]
)


# Exact: 20 digits before and 18 after the point.
AMOUNT = pa.decimal128(38, 18)
DOUBLES = {"price_double": "price", "size_double": "size"}
"""Columns that repeat a decimal as the nearest double."""

# A row is a trade on an exchange, partitioned by the UTC date of `ts`: see `cryptoviz.trades.record`. Without the record's `trade_key`, a hash of
# three of the columns, which was two fifths of the bytes of a compacted file.
TRADES = pa.schema(
    [
        pa.field("venue", pa.string(), nullable=False),
        pa.field("venue_symbol", pa.string(), nullable=False),
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        pa.field("trade_id", pa.string(), nullable=False),
        pa.field("trade_number", pa.int64()),
        pa.field("price", AMOUNT, nullable=False),
        pa.field("size", AMOUNT, nullable=False),
        pa.field("side", pa.string(), nullable=False),
        pa.field("venue_ts", TIME),
        pa.field("ingest_ts", TIME, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("connection", pa.string(), nullable=False),
        pa.field("sequence", pa.int64()),
        pa.field("ts", TIME, nullable=False),  # `venue_ts`, or `ingest_ts` if the venue gave an impossible time
        pa.field("price_double", pa.float64(), nullable=False),
        pa.field("size_double", pa.float64(), nullable=False),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)

# A row is a change of a gap in the ids of an instrument's trades, partitioned by the UTC date of `opened_ts`: see `cryptoviz.trades.gap_change`.
TRADE_GAPS = pa.schema(
    [
        pa.field("change_id", pa.string(), nullable=False),
        pa.field("gap_id", pa.string(), nullable=False),
        pa.field("venue", pa.string(), nullable=False),
        pa.field("venue_symbol", pa.string(), nullable=False),
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        pa.field("first_id", pa.int64(), nullable=False),  # the first missing trade id
        pa.field("last_id", pa.int64(), nullable=False),  # the last one, included
        pa.field("state", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("missing", pa.int64(), nullable=False),  # ids that are still missing, or permanently so
        pa.field("refilled", pa.int64(), nullable=False),
        pa.field("late", pa.int64(), nullable=False),
        pa.field("runs", pa.string(), nullable=False),  # that a refill still looks for: `7-9,12-12`
        pa.field("from_ts", TIME),
        pa.field("to_ts", TIME),
        pa.field("opened_ts", TIME, nullable=False),
        pa.field("closed_ts", TIME),
        pa.field("changed_ts", TIME, nullable=False),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)

# A row is a closed candle as a venue gave it, partitioned by the UTC date of `ts`, its start: see `cryptoviz.trades.venue_candle`. A value that the
# venue does not give is null.
VENUE_CANDLES = pa.schema(
    [
        pa.field("candle_id", pa.string(), nullable=False),
        pa.field("venue", pa.string(), nullable=False),
        pa.field("venue_symbol", pa.string(), nullable=False),
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("ts", TIME, nullable=False),
        *(pa.field(name, AMOUNT, nullable=False) for name in ("open", "high", "low", "close", "volume")),
        *(pa.field(name, AMOUNT) for name in ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume")),
        pa.field("trades", pa.int64()),
        pa.field("vwap", pa.string()),  # the venue's text: its digits say how far it is rounded
        pa.field("ingest_ts", TIME, nullable=False),
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)

# A row is a best bid and ask of an instrument, partitioned by the UTC date of `ts`: see `cryptoviz.trades.quote`.
QUOTES = pa.schema(
    [
        pa.field("quote_id", pa.string(), nullable=False),
        pa.field("venue", pa.string(), nullable=False),
        pa.field("venue_symbol", pa.string(), nullable=False),
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        *(pa.field(name, AMOUNT, nullable=False) for name in ("bid", "bid_size", "ask", "ask_size")),
        pa.field("venue_ts", TIME),
        pa.field("ingest_ts", TIME, nullable=False),
        pa.field("ts", TIME, nullable=False),  # `venue_ts`, or `ingest_ts` if the venue gave none or an impossible time
        *KAFKA_COLUMNS,
        *PARTITION_COLUMNS,
    ]
)

IDENTITY = {
    "prices": "event_id", "raw": "fetch_id", "trades": "trade_key", "trade_gaps": "change_id", "venue_candles": "candle_id", "quotes": "quote_id",
}  # fmt: skip
"""The field that identifies a record of a topic, by table."""
IDENTITY_COLUMNS = {table: (name,) for table, name in IDENTITY.items()} | {"trades": ("venue", "venue_symbol", "trade_id")}
"""The columns that identify a row, by table."""


def file_schema(table: pa.Schema) -> pa.Schema:
    """Columns of a data file: the table's without the partition columns."""
    return pa.schema([column for column in table if column.name not in PARTITION_BY])
