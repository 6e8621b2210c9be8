"""Candles: open, high, low and close of the ticks in a time bucket, not of trades. A high between two polls is not included.

Open and close are the prices of the first and last tick by `tick_ts`; ticks of the same time are ordered by `ingest_ts`, then Kafka's offset.
`volume` is null: price APIs do not report the volume traded in a bucket. `volume_24h` is the provider's rolling figure as last reported in the
bucket. `source` is `polled` if all ticks are live, `backfilled` if all come from a backfill, else `mixed`. Coins quoted in two currencies have two
candles for each bucket.

Buckets lie within a UTC day, so a day's candles are a function of that day's ticks. Maintenance stores them in the table `candles`, one file for each
day and interval, with the number of its ticks in the file name. Ticks are only ever added to a day, so a file is up to date exactly if the prices
table has that number of rows for the day.
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
from cryptoviz.times import DAY_MS, epoch_ms

__all__ = [
    "CANDLES", "COLUMNS", "INTERVALS", "INTERVALS_MS", "TICK_COLUMNS", "CandleFile", "candle_sql", "check_interval", "coarser_sql", "day_end_ms",
    "parse_candle_file", "stored_sql", "whole_buckets", "whole_days",
]  # fmt: skip

INTERVALS: dict[str, str] = {"1m": "1 minute", "5m": "5 minutes", "1h": "1 hour", "1d": "1 day"}
"""Intervals by name, in DuckDB's syntax."""
INTERVALS_MS: dict[str, int] = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": DAY_MS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TICK_COLUMNS = ("tick_ts", "asset_id", "quote_currency", "price", "volume_24h", "kind", "ingest_ts", "kafka_offset")
"""Columns of the prices table that candles are computed from."""

CANDLES = pa.schema(
    [
        pa.field("interval", pa.string(), nullable=False),
        pa.field("ts", TIME, nullable=False),  # start of the bucket
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
"""Columns for readers."""
_NAME = re.compile(
    rf"part-candles-(?P<interval>{'|'.join(INTERVALS)})-(?P<ticks>\d{{1,15}})-(?P<until>\d{{1,15}})(?:-(?P<attempt>[0-9a-f]{{8}}))?\.snappy\.parquet"
)
_ORDER = "(tick_ts, ingest_ts, kafka_offset)"


def check_interval(interval: str) -> str:
    """DuckDB's syntax for an interval.

    Raises:
        QueryError: `interval` is not in `INTERVALS`.
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
    """The result of `candle_sql`, computed from candles of a shorter interval."""
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
    """A file of the table: candles of an interval and day, for the buckets that end by `until_ms` (UTC), computed from the `ticks` ticks before it.

    `attempt` is unique, so that no other maintenance round writes a file of the same name; files of earlier versions have none.
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
        """Whether it covers the whole day and is up to date, given the day's `ticks` rows in the prices table (None: the day was removed from it).

        Ticks are only added to a day until it is removed. If it has fewer than the candles were computed from, these came after the removal: the
        candles are all that is left of the others.
        """
        return self.until_ms == day_end_ms(self.day) and (ticks is None or ticks <= self.ticks)


def parse_candle_file(path: str) -> CandleFile | None:
    """Parse a path relative to the table's root; None if it is not a candle file."""
    day = day_of_path(path)
    found = _NAME.fullmatch(path.rpartition("/")[2])
    if day is None or found is None:
        return None
    return CandleFile(day, found["interval"], int(found["ticks"]), int(found["until"]), found["attempt"] or "")


def whole_days(paths: Iterable[str], interval: str, ticks: Mapping[date, int]) -> dict[date, str]:
    """Files with up-to-date candles of `interval` by day; `ticks`: row counts of the prices table by day."""
    files = ((path, parse_candle_file(path)) for path in paths)
    return {file.day: path for path, file in files if file is not None and file.interval == interval and file.whole(ticks.get(file.day))}


def whole_buckets(length: timedelta, low: datetime | None, high: datetime | None) -> tuple[datetime | None, datetime | None]:
    """`[low, high)` widened to whole buckets: from the start of `low`'s bucket to the end of the last bucket that begins before `high`."""
    first = low - (low - _EPOCH) % length if low else None
    last = high + (_EPOCH - high) % length if high else None
    return first, last


def day_end_ms(day: date) -> int:
    """UTC ms of the midnight that ends `day`."""
    return epoch_ms(day_start(day) + timedelta(days=1))
