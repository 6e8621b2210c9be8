"""Candles from trades, in SQL: exact sums, and the proof by ids that nothing is missing in a candle. `cryptoviz.trades.candles` is the same logic
for trades in memory.

The table `trade_candles` has the sums of minutes and hours of each day; longer intervals are sums of those, and the sums of disjoint sets of trades
can be merged in any order. A row's `upto` names the trades that it has: those of its day with smaller Kafka offsets. So sums and the trades at or
above those offsets are all trades, however late some arrived.

A candle is complete if the trade ids rise by 1 from the trade before it to the trade after it. That is the same as saying that no gap touches it,
needs no second table that would be read at another moment, and finds a hole that nobody recorded as a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from cryptoviz.errors import QueryError
from cryptoviz.lake.schema import AMOUNT, KAFKA_COLUMNS, PARTITION_COLUMNS, TIME, TRADES
from cryptoviz.trades.candle import INTERVALS_US, TOO_LARGE
from cryptoviz.trades.gap_tracker import HALT_AFTER_US

__all__ = [
    "KEYS", "STORED", "SUMS", "SUM_ROWS", "TRADE_CANDLES", "TRADE_CANDLE_COLUMNS", "TRADE_COLUMNS", "TRADE_INTERVALS", "TRADE_ROWS", "Upto",
    "base_of", "check_trade_interval", "merged_sql", "read_upto", "sums_sql", "trade_candle_sql", "upto_text", "with_quote", "without_upto",
]  # fmt: skip

TRADE_INTERVALS: dict[str, timedelta] = {name: timedelta(microseconds=length_us) for name, length_us in INTERVALS_US.items()}
STORED = ("1m", "1h")
"""Intervals in the table. Single seconds would have as many rows as the trades."""
_QUIET = ("1m", "5m")
"""Intervals in which a venue's quiet rows exist: a silence of ten minutes is a halt, and single seconds have no rows without trades."""
Upto = Mapping[tuple[str, int], int]
"""By topic id and partition, the offset below which all trades of a day are in its sums."""

KEYS = ("venue", "venue_symbol", "asset_id", "quote_currency")
_AMOUNTS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
SUMS = ("ts", *KEYS, *_AMOUNTS, "trades", "first_trade", "last_trade")
"""Columns of the sums."""
TRADE_CANDLES = pa.schema(
    [
        pa.field("interval", pa.string(), nullable=False),
        pa.field("ts", TIME, nullable=False),  # start of the bucket
        *(pa.field(name, pa.string(), nullable=False) for name in KEYS),
        *(pa.field(name, AMOUNT, nullable=False) for name in _AMOUNTS),
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("first_trade", pa.int64(), nullable=False),
        pa.field("last_trade", pa.int64(), nullable=False),
        pa.field("upto", pa.string(), nullable=False),
        *PARTITION_COLUMNS,
    ]
)
SUM_ROWS = pa.schema([TRADE_CANDLES.field(name).with_nullable(True) for name in SUMS])
TRADE_CANDLE_COLUMNS = ("ts", *KEYS, *_AMOUNTS, "vwap", "trades", "first_trade", "last_trade", "complete", "source")
"""Columns for readers."""
TRADE_COLUMNS = ("venue_ts", *KEYS, "trade_number", "price", "size", "side")
"""Columns of the table of trades that candles are computed from."""

TRADE_ROWS = pa.schema([*(TRADES.field(name).with_nullable(True) for name in TRADE_COLUMNS), pa.field("quote", AMOUNT)])
"""The rows that `sums_sql` is made from."""

_FAST = (pa.decimal128(18, 10), pa.decimal128(18, 8))
"""Of price and size: their product fits `AMOUNT` exactly. All three venues' amounts fit."""
_EXACT = Context(prec=80)
_UNIT = Decimal("1E-18")


def check_trade_interval(interval: str) -> timedelta:
    """Its length.

    Raises:
        QueryError: `interval` is not in `TRADE_INTERVALS`.
    """
    if interval not in TRADE_INTERVALS:
        raise QueryError(f"interval is {interval!r}: valid are {', '.join(TRADE_INTERVALS)}", argument="interval")
    return TRADE_INTERVALS[interval]


def base_of(interval: str) -> str | None:
    """The stored interval whose sums it is made from; None for one that is shorter."""
    return next((name for name in reversed(STORED) if TRADE_INTERVALS[name] <= TRADE_INTERVALS[interval]), None)


def with_quote(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with the column `quote`, price times size: exact if both have 18 decimals together at most, else rounded to 18.

    It may be null if it is `TOO_LARGE`.
    """
    price, size = rows.column("price"), rows.column("size")
    try:
        quote = pc.multiply(price.cast(_FAST[0]), size.cast(_FAST[1])).cast(AMOUNT)
    except pa.ArrowInvalid:
        products = [_EXACT.multiply(one, other) for one, other in zip(price.to_pylist(), size.to_pylist(), strict=True)]
        quote = pa.array([one.quantize(_UNIT, ROUND_HALF_EVEN, _EXACT) if one < TOO_LARGE else None for one in products], AMOUNT)
    return rows.append_column(pa.field("quote", AMOUNT), quote)


def sums_sql(interval: str, source: str) -> str:
    """A SELECT of `SUMS` over a relation with `TRADE_COLUMNS` and `quote`.

    A trade without a number or a valid venue time, or that is `TOO_LARGE` for the sums, is in no candle.
    """
    columns = (
        _bucket(interval, "venue_ts"), *KEYS, "arg_min(price, trade_number) AS open", "max(price) AS high", "min(price) AS low",
        "arg_max(price, trade_number) AS close", _total("size", "volume"), _total("quote", "quote_volume"),
        _total("CASE WHEN side = 'buy' THEN size ELSE 0 END", "taker_buy_volume"),
        _total("CASE WHEN side = 'buy' THEN quote ELSE 0 END", "taker_buy_quote_volume"),
        "count(*) AS trades", "min(trade_number) AS first_trade", "max(trade_number) AS last_trade",
    )  # fmt: skip
    small = f"size < {TOO_LARGE} AND quote < {TOO_LARGE}"
    chosen = f"FROM {source} WHERE venue_ts IS NOT NULL AND trade_number IS NOT NULL AND {small}"
    return _grouped(columns, chosen)


def merged_sql(interval: str, source: str) -> str:
    """The sums of an interval over a relation of sums of disjoint sets of trades, of the same or shorter intervals."""
    columns = (
        _bucket(interval, "ts"), *KEYS, "arg_min(open, first_trade) AS open", "max(high) AS high", "min(low) AS low",
        "arg_max(close, last_trade) AS close", *(_total(name, name) for name in _AMOUNTS[4:]),
        "CAST(sum(trades) AS BIGINT) AS trades", "min(first_trade) AS first_trade", "max(last_trade) AS last_trade",
    )  # fmt: skip
    return _grouped(columns, f"FROM {source}")


def trade_candle_sql(interval: str, sums: str, quiet_venues: tuple[str, ...]) -> str:
    """A SELECT of `TRADE_CANDLE_COLUMNS` over the relation `sums` of the interval, which has the candles before and after those that are wanted.

    `quiet_venues`: those whose own candles have a row for an interval without trades.

    Of neighbours whose ids overlap, as the venue's clock may be behind its ids, each has ids that the other lacks: they are judged together.
    """
    length = TRADE_INTERVALS[interval]
    # `next_...` is the candle after this one. Both edges of a candle are judged as the later edge of the earlier one.
    following = ", ".join(f"lead({name}) OVER later AS next_{name}" for name in ("ts", "first_trade", "last_trade", "trades"))
    joined = (
        "CASE WHEN next_first_trade > last_trade THEN next_first_trade = last_trade + 1 "
        "ELSE greatest(last_trade, next_last_trade) - least(first_trade, next_first_trade) + 1 = trades + next_trades END"
    )
    own = "last_trade - first_trade + 1 = trades"
    shared = "joined AND next_first_trade < last_trade"
    later = "WINDOW later AS (PARTITION BY venue, venue_symbol ORDER BY ts)"
    before = "coalesce(lag(joined) OVER later, false) AS before, coalesce(lag(shared) OVER later, false) AS shared_before"
    steps = (
        f"edges AS (SELECT *, {following} FROM {sums} {later})",
        f"judged AS (SELECT *, coalesce({joined}, false) AS joined FROM edges)",
        f"shares AS (SELECT *, {shared} AS shared FROM judged)",
        f"candles AS (SELECT *, {before} FROM shares {later})",
    )
    names = ", ".join(("ts", *KEYS, *_AMOUNTS))
    end = "CAST(quote_volume AS DOUBLE) / CAST(volume AS DOUBLE) AS vwap, trades, first_trade, last_trade"
    complete = f"joined AND before AND ({own} OR shared OR shared_before) AS complete"
    found = f"WITH {', '.join(steps)} SELECT {names}, {end}, {complete}, 'trades:' || venue AS source FROM candles"
    if interval not in _QUIET or not quiet_venues:
        return found
    width, last = _width(interval), (timedelta(microseconds=HALT_AFTER_US) - timedelta(microseconds=1)) // length
    venues = ", ".join(f"'{name}'" for name in quiet_venues)
    zeros = ", ".join(f"CAST(0 AS DECIMAL(38, 18)) AS {name}" for name in _AMOUNTS[4:])
    # Rows between two candles whose ids meet; none in a halt.
    quiet = (
        f"SELECT ts + {width} * step AS ts, {', '.join(KEYS)}, close AS open, close AS high, close AS low, close, {zeros}, NULL AS vwap, "
        f"0 AS trades, NULL AS first_trade, NULL AS last_trade, true AS complete, 'trades:' || venue AS source "
        f"FROM candles, range(1, {last + 1}) steps(step) WHERE joined AND venue IN ({venues}) "
        f"AND ts + {width} * step < next_ts AND next_ts <= ts + {width} * {last + 1}"
    )
    return f"{found} UNION ALL {quiet}"


def upto_text(upto: Upto) -> str:
    """The value of the column `upto`."""
    return ",".join(f"{topic}:{partition}:{offset}" for (topic, partition), offset in sorted(upto.items()))


def read_upto(text: str) -> dict[tuple[str, int], int]:
    """Parse the output of `upto_text`."""
    parts = (one.split(":") for one in text.split(",") if one)
    return {(topic, int(partition)): int(offset) for topic, partition, offset in parts}


def without_upto(rows: pa.RecordBatch, upto: Upto) -> pa.RecordBatch:
    """The rows that sums up to there do not have. They have Kafka's columns."""
    if not upto or not rows.num_rows:
        return rows
    topics, partitions, offsets = (rows.column(column.name) for column in KAFKA_COLUMNS)
    known: pa.Array = pa.repeat(pa.scalar(False), rows.num_rows)
    for (topic, partition), end in upto.items():
        own = pc.and_(pc.equal(topics, topic), pc.equal(partitions, pa.scalar(partition, pa.int32())))
        known = pc.or_(known, pc.and_(own, pc.less(offsets, pa.scalar(end, pa.int64()))))
    return rows.filter(pc.invert(known))


def _bucket(interval: str, column: str) -> str:
    return f"time_bucket({_width(interval)}, {column}) AS bucket"


def _width(interval: str) -> str:
    return f"INTERVAL '{round(TRADE_INTERVALS[interval].total_seconds())} seconds'"


def _total(column: str, name: str) -> str:
    return f"CAST(sum({column}) AS DECIMAL(38, 18)) AS {name}"


def _grouped(columns: tuple[str, ...], chosen: str) -> str:
    inner = f"SELECT {', '.join(columns)} {chosen} GROUP BY bucket, {', '.join(KEYS)}"
    return f"SELECT bucket AS ts, * EXCLUDE (bucket) FROM ({inner})"
