"""Candles: open, high, low and close of the ticks seen in a bucket of time, not of trades. A high between two polls is not in them.

Open is the first tick's price and close the last one's, by `tick_ts`; of ticks of the same time the one that we had first is first (`ingest_ts`, then
Kafka's offset). `volume` is null: price APIs do not say what was traded in a bucket. `volume_24h` is the provider's rolling figure as last reported
in the bucket. `source` is `polled` for live ticks, `backfilled` where a backfill brought them all, else `mixed`. Coins quoted in two currencies have
two candles a bucket.

Buckets lie within a UTC day, so a day's candles are a function of that day's ticks. Maintenance keeps them in the table `candles`, one file for each
day and interval, whose name says how many ticks it was made from: ticks are only ever added to a day, so a file is right exactly when the prices
table has as many for that day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from cryptoviz.errors import QueryError
from cryptoviz.lake.parts import day_of_path, day_start, folder
from cryptoviz.lake.schema import PARTITION_COLUMNS, TIME

__all__ = [
    "CANDLES", "COLUMNS", "INTERVALS", "TICK_COLUMNS", "CandleFile", "candle_sql", "check_interval", "coarser_sql", "day_end_ms", "parse_candle_file",
    "stored_sql", "whole_buckets", "whole_days",
]  # fmt: skip

INTERVALS: dict[str, str] = {"1m": "1 minute", "5m": "5 minutes", "1h": "1 hour", "1d": "1 day"}
"""By name, as DuckDB writes them."""
_WIDTHS: dict[str, timedelta] = {"1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TICK_COLUMNS = ("tick_ts", "asset_id", "quote_currency", "price", "volume_24h", "kind", "ingest_ts", "kafka_offset")
"""What candles are made of."""

CANDLES = pa.schema(
    [
        pa.field("interval", pa.string(), nullable=False),
        pa.field("ts", TIME, nullable=False),  # where the bucket begins
        pa.field("asset_id", pa.string(), nullable=False),
        pa.field("quote_currency", pa.string(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64()),
        pa.field("volume_24h", pa.float64()),
        pa.field("ticks", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        *PARTITION_COLUMNS,
    ]
)

COLUMNS = ("ts", "asset_id", "quote_currency", "open", "high", "low", "close", "volume", "volume_24h", "ticks", "source")
"""What readers get."""
_NAME = re.compile(r"part-candles-(?P<interval>1m|5m|1h|1d)-(?P<ticks>\d{1,15})-(?P<until>\d{1,15})(?:-(?P<attempt>[0-9a-f]{8}))?\.snappy\.parquet")
_ORDER = "(tick_ts, ingest_ts, kafka_offset)"


def check_interval(interval: str) -> str:
    """DuckDB's name of an interval.

    Raises:
        QueryError: not one of `INTERVALS`.
    """
    if interval not in INTERVALS:
        raise QueryError(f"interval is {interval!r}: valid are {', '.join(INTERVALS)}", argument="interval")
    return INTERVALS[interval]


def candle_sql(interval: str, source: str = "prices") -> str:
    """A SELECT of candles over a relation that has `TICK_COLUMNS`: ts (bucket start, UTC), asset_id, quote_currency, open, high, low, close, volume,
    volume_24h, ticks, source.
    """
    width = check_interval(interval)
    columns = (
        f"time_bucket(INTERVAL '{width}', tick_ts) AS ts", "asset_id", "quote_currency",
        f"arg_min(price, {_ORDER}) AS open", "max(price) AS high", "min(price) AS low", f"arg_max(price, {_ORDER}) AS close",
        "CAST(NULL AS DOUBLE) AS volume", f"arg_max(volume_24h, {_ORDER}) AS volume_24h", "count(*) AS ticks",
        "CASE WHEN bool_and(kind = 'live') THEN 'polled' WHEN bool_and(kind = 'backfill') THEN 'backfilled' ELSE 'mixed' END AS source",
    )  # fmt: skip
    return " ".join(("SELECT", ", ".join(columns), "FROM", source, "GROUP BY ts, asset_id, quote_currency"))


def coarser_sql(interval: str, source: str) -> str:
    """As `candle_sql`, over candles of a shorter interval: the same result."""
    width = check_interval(interval)
    columns = (
        f"time_bucket(INTERVAL '{width}', ts) AS bucket", "asset_id", "quote_currency",
        "arg_min(open, ts) AS open", "max(high) AS high", "min(low) AS low", "arg_max(close, ts) AS close",
        "CAST(NULL AS DOUBLE) AS volume", "arg_max(volume_24h, ts) AS volume_24h", "CAST(sum(ticks) AS BIGINT) AS ticks",
        "CASE WHEN min(source) = max(source) THEN min(source) ELSE 'mixed' END AS source",
    )  # fmt: skip
    inner = " ".join(("SELECT", ", ".join(columns), "FROM", source, "GROUP BY bucket, asset_id, quote_currency"))
    return f"FROM ({inner}) SELECT bucket AS ts, * EXCLUDE (bucket)"


def stored_sql(source: str) -> str:
    """The columns of `candle_sql` from rows of the table `candles`."""
    return " ".join(("SELECT", ", ".join(COLUMNS), "FROM", source))


@dataclass(frozen=True, slots=True)
class CandleFile:
    """A file of the table: candles of one interval and day, of the buckets that end by `until_ms` (UTC), made from `ticks` ticks before it.

    `attempt` is used once, so that no other maintenance makes a file of the same name; files of earlier versions have none.
    """

    day: date
    interval: str
    ticks: int
    until_ms: int
    attempt: str = ""

    @property
    def path(self) -> str:
        """Relative to the table's root."""
        attempt = f"-{self.attempt}" if self.attempt else ""
        return f"{folder(self.day)}/part-candles-{self.interval}-{self.ticks}-{self.until_ms}{attempt}.snappy.parquet"

    def whole(self, ticks: int | None) -> bool:
        """Whether it holds the day as it is, when the prices table has `ticks` rows for it (None: it has no such day any more)."""
        return self.until_ms == day_end_ms(self.day) and ticks in (None, self.ticks)


def parse_candle_file(path: str) -> CandleFile | None:
    """The file that a path relative to the table's root names, or None."""
    day = day_of_path(path)
    found = _NAME.fullmatch(path.rpartition("/")[2])
    if day is None or found is None:
        return None
    return CandleFile(day, found["interval"], int(found["ticks"]), int(found["until"]), found["attempt"] or "")


def whole_days(paths: Iterable[str], interval: str, ticks: Mapping[date, int]) -> dict[date, str]:
    """The days whose candles of `interval` are right in the table, and in which of its files; `ticks` are the rows of the prices table by day."""
    files = ((path, parse_candle_file(path)) for path in paths)
    return {file.day: path for path, file in files if file is not None and file.interval == interval and file.whole(ticks.get(file.day))}


def whole_buckets(interval: str, low: datetime | None, high: datetime | None) -> tuple[datetime | None, datetime | None]:
    """`[low, high)` widened to the bucket that `low` lies in and to the end of the last bucket that begins before `high`: no candle is cut."""
    width = _WIDTHS[interval]
    first = low - (low - _EPOCH) % width if low else None
    last = high + (_EPOCH - high) % width if high else None
    return first, last


def day_end_ms(day: date) -> int:
    """UTC ms of the midnight that ends `day`."""
    return round((day_start(day) + timedelta(days=1)).timestamp() * 1000)
