"""Candles from trades for readers: the stored sums of each day, and the trades that they do not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from cryptoviz.errors import SettingsError
from cryptoviz.lake.files import FileIndex, Snapshot
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.ohlcv import parse_candle_file
from cryptoviz.lake.parts import day_start, parse_part, short_topic_id
from cryptoviz.lake.scan import Scanner
from cryptoviz.lake.schema import KAFKA_POSITION
from cryptoviz.lake.table_specs import TableSpec
from cryptoviz.lake.trade_ohlcv import (
    STORED,
    SUM_ROWS,
    SUMS,
    TRADE_CANDLES,
    TRADE_COLUMNS,
    TRADE_ROWS,
    Upto,
    base_of,
    merged_sql,
    read_upto,
    sums_sql,
    trade_candle_sql,
    with_quote,
    without_upto,
)
from cryptoviz.settings import Settings
from cryptoviz.venues.registry import venue_of
from cryptoviz.venues.spec import QuietRule

__all__ = ["TradeCandleReader", "has_news", "trade_batches"]

_TABLE_SPEC = TableSpec("trade_candles", TRADE_CANDLES, ("ts", "venue", "venue_symbol"))
_NEIGHBOURS = timedelta(days=1)
_NEIGHBOURS_OF_SECONDS = timedelta(minutes=10)
"""The candles before and after a range are looked for in this time: without any, the first and the last one of the range count as incomplete."""
_BATCH_ROWS = 65_536
Window = tuple[datetime | None, datetime | None]


class TradeCandleReader:
    """Thread-safe. Caches file lists and small files; the caller has the table of trades."""

    def __init__(self, settings: Settings) -> None:
        access, address = S3Access.of(settings.s3), table_address(settings.s3, "trade_candles")
        self.index = FileIndex(address, access, settings.s3.storage_options(), _TABLE_SPEC)
        self._scanners = {interval: Scanner(address, access) for interval in STORED}
        # One of its own: it keeps the newest files of a day, those of `Lake.trades` all of them.
        self._trades = Scanner(table_address(settings.s3, "trades"), access)

    def define(
        self,
        connection: duckdb.DuckDBPyConnection,
        interval: str,
        trades: Snapshot,
        low: datetime | None,
        high: datetime | None,
        condition: ds.Expression,
        *,
        newest: bool,
    ) -> str:
        """Make the table `_sums_<interval>` in `connection`, and return a SELECT of the candles of `[low, high)`, whole buckets, over it.

        `condition`: on the columns of `KEYS`. `newest`: `trades` is the newest version; of an earlier one all candles are computed from trades.
        """
        around = _NEIGHBOURS if base_of(interval) else _NEIGHBOURS_OF_SECONDS
        window = (low - around if low else None, high + around if high else None)
        stored = self._stored(interval, window, condition) if newest else {}
        known = [SUM_ROWS.empty_table(), *(sums.rows for sums in stored.values())]
        fresh = pa.RecordBatchReader.from_batches(TRADE_ROWS, self._rest(trades, stored, window, condition))
        with _registered(connection, {"_known": pa.concat_tables(known), "_fresh": fresh}):
            both = f"(SELECT {', '.join(SUMS)} FROM _known UNION ALL SELECT {', '.join(SUMS)} FROM ({sums_sql(interval, '_fresh')}))"
            connection.execute(f"CREATE TEMP TABLE _sums_{interval} AS {merged_sql(interval, both)}")
        venues = [row[0] for row in connection.execute(f"SELECT DISTINCT venue FROM _sums_{interval}").fetchall()]
        found = trade_candle_sql(interval, f"_sums_{interval}", tuple(name for name in venues if _has_quiet_rows(name)))
        bounds = [f"ts >= TIMESTAMPTZ '{low.isoformat()}'"] if low else []
        bounds += [f"ts < TIMESTAMPTZ '{high.isoformat()}'"] if high else []
        return f"SELECT * FROM ({found}) WHERE {' AND '.join(bounds)}" if bounds else found

    def _stored(self, interval: str, window: Window, condition: ds.Expression) -> dict[date, _Sums]:
        base = base_of(interval)
        if base is None:
            return {}
        snapshot = self.index.newest()
        found = {}
        for day, files in snapshot.by_day.items():
            chosen = [(file, name) for file in files if (name := parse_candle_file(file.path)) and name.interval == base]
            if chosen and _overlaps(day, window):
                file, name = chosen[0]
                dataset = self._scanners[base].dataset(replace(snapshot, by_day={day: (file,)}))
                rows = dataset.to_table(columns=[*SUMS, "upto"], filter=condition)
                if rows.num_rows:  # otherwise these few are made of all trades
                    found[day] = _Sums(rows.select(SUMS).cast(SUM_ROWS), name.ticks, read_upto(rows.column("upto")[0].as_py()))
        return found

    def _rest(self, trades: Snapshot, stored: Mapping[date, _Sums], window: Window, condition: ds.Expression) -> Iterator[pa.RecordBatch]:
        """The trades of the window that are not in the stored sums."""
        low, high = window
        condition = condition & ds.field("venue_ts").is_valid()
        if low:
            condition = condition & (ds.field("venue_ts") >= low)
        if high:
            condition = condition & (ds.field("venue_ts") < high)
        days = {day: files for day, files in trades.by_day.items() if _overlaps(day, window)}
        whole = {day: files for day, files in days.items() if day not in stored}
        if whole:
            yield from trade_batches(self._trades.dataset(replace(trades, by_day=whole), low, high), condition, {})
        for day in days.keys() - whole.keys():
            sums, files = stored[day], days[day]
            new = tuple(file for file in files if has_news(file.path, sums.upto))
            if new and sum(file.rows for file in files) != sums.trades:
                yield from trade_batches(self._trades.dataset(replace(trades, by_day={day: new}), low, high), condition, sums.upto)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Stored sums of a day. `trades`: rows of the table of trades that they were made from; `upto`: which those are."""

    rows: pa.Table
    trades: int
    upto: Upto


def trade_batches(
    trades: ds.Dataset, condition: ds.Expression | None, upto: Upto, taken: Callable[[pa.RecordBatch], None] = lambda _: None
) -> Iterator[pa.RecordBatch]:
    """The rows that `sums_sql` needs, without those below `upto`, as `TRADE_ROWS`. `taken` gets the same rows with Kafka's columns."""
    columns = [*TRADE_COLUMNS, *KAFKA_POSITION]
    for batch in trades.to_batches(columns=columns, filter=condition, batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=4):
        rows = without_upto(batch, upto)
        if rows.num_rows:
            taken(rows)
            yield with_quote(rows.select(TRADE_COLUMNS)).cast(TRADE_ROWS)


def has_news(path: str, upto: Upto) -> bool:
    """Whether a data file of the table of trades may have rows at or above `upto`."""
    part = parse_part(path)
    if part is None:
        return True
    return not any(part.topic == short_topic_id(topic) and part.partition == partition and part.end < end for (topic, partition), end in upto.items())


def _has_quiet_rows(venue: str) -> bool:
    try:
        return venue_of(venue).spec.quiet is QuietRule.ROW
    except SettingsError:  # a venue whose package is not installed here
        return False


def _overlaps(day: date, window: Window) -> bool:
    low, high = window
    return (low is None or day >= low.date()) and (high is None or day_start(day) < high)


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, relations: Mapping[str, Any]) -> Iterator[None]:
    for name, relation in relations.items():
        connection.register(name, relation)
    yield
    for name in relations:
        connection.unregister(name)
