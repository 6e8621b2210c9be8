"""Maintenance step that keeps the table `trade_candles`: the sums of minutes and hours of each day's trades.

New trades of a day are added to its stored sums, so only files with such trades are read. A day is made of all its trades if the sums do not account
for the rest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.ohlcv import CandleFile, day_end_ms, parse_candle_file
from cryptoviz.lake.parts import day_start
from cryptoviz.lake.schema import KAFKA_POSITION, TRADES, file_schema
from cryptoviz.lake.trade_candle_reader import has_news, trade_batches
from cryptoviz.lake.trade_ohlcv import STORED, SUM_ROWS, SUMS, TRADE_CANDLES, TRADE_ROWS, Upto, merged_sql, read_upto, sums_sql, upto_text
from cryptoviz.settings import Settings
from spark_jobs.maintenance.candle_table import CandleTable, new_attempt
from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.maintenance.days import days_of
from spark_jobs.tables.parquet import parquet_file
from spark_jobs.tables.replace_files import epoch_of

__all__ = ["NEW_TRADES", "TradeCandleBuilder", "days_to_sum"]

NEW_TRADES = 5_000
"""A day that is not over is stored again after so many new trades: readers compute them in milliseconds."""
_SETTLE = timedelta(seconds=30)


def days_to_sum(trades: Mapping[date, Sequence[DayFile]], sums: Mapping[date, Sequence[DayFile]], now: datetime) -> list[date]:
    """Days with trades that are not in their sums. Pure.

    Trades are only added to a day until it is removed. Sums of more trades than it has are all that is left of it: they stay as they are, and readers
    add the late trades.
    """
    found = []
    for day, files in trades.items():
        stored = {name.interval: name.ticks for file in sums.get(day, ()) if (name := parse_candle_file(file.path))}
        rows = sum(file.rows for file in files)
        over = now >= day_start(day) + timedelta(days=1) + _SETTLE
        if any(stored.get(interval, 0) < rows for interval in STORED) and (over or abs(rows - stored.get(STORED[0], 0)) >= NEW_TRADES):
            found.append(day)
    return found


class TradeCandleBuilder:
    """Updates the table."""

    def __init__(self, settings: Settings, client: Minio, check: Callable[[], None] = lambda: None) -> None:
        """No request is made yet. `check` is called before each commit and deletion and may raise."""
        self._check = check
        self._settings = settings
        self._table = CandleTable(settings, client, "trade_candles", TRADE_CANDLES, check)
        self._trades = table_address(settings.s3, "trades")

    def build(self, trades: DeltaTable, now: datetime, newest: Callable[[], DeltaTable | None]) -> tuple[int, int]:
        """Update outdated days. Returns the number of days and of trades read. `newest` opens the table of candles.

        Raises:
            EngineUnavailable, LakeError, DeltaError, S3Error, OSError: from the store and the log; days already stored stay.
        """
        table = self._table.open(newest)
        files, stored = days_of(trades), days_of(table)
        days, epoch, read = days_to_sum(files, stored, now), epoch_of(table), 0
        for day in days:
            self._check()
            read += self._sum_day(day, files[day], table, stored.get(day, []), epoch)
        return len(days), read

    def _sum_day(self, day: date, files: Sequence[DayFile], table: DeltaTable, before: Sequence[DayFile], epoch: int) -> int:
        rows = sum(file.rows for file in files)
        with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            known = _known_sums(table, before)
            seen = self._sum(connection, files, known)
            read = seen.rows
            if known.trades + read != rows:
                seen = self._sum(connection, files, _NONE)
                read += seen.rows
            upto = upto_text(seen.upto)
            new = []
            for interval in STORED:
                sums = merged_sql(interval, "minutes")
                made = connection.sql(f"SELECT '{interval}' AS interval, *, '{upto}' AS upto FROM ({sums})")
                stored = made.order("asset_id, venue, venue_symbol, ts").to_arrow_table().cast(file_schema(TRADE_CANDLES))
                new.append((CandleFile(day, interval, rows, day_end_ms(day), new_attempt()), stored))
        self._table.replace_day(table, new, before, epoch)
        return read

    def _sum(self, connection: duckdb.DuckDBPyConnection, files: Sequence[DayFile], known: _Known) -> _Seen:
        """Make the table `minutes` of the known sums and the trades that they do not have."""
        new = [file for file in files if has_news(file.path, known.upto)]
        filesystem, kind = S3Access.of(self._settings.s3).filesystem(), ds.ParquetFileFormat()
        fragments = [kind.make_fragment(f"{self._trades.root}/{file.path}", filesystem=filesystem, file_size=file.size) for file in new]
        dataset = ds.FileSystemDataset(fragments, file_schema(TRADES), kind, filesystem)
        seen = _Seen(dict(known.upto))
        batches = trade_batches(dataset, None, known.upto, seen.add)
        connection.register("known", known.sums)
        connection.register("fresh", pa.RecordBatchReader.from_batches(TRADE_ROWS, batches))
        names = ", ".join(SUMS)
        both = f"(SELECT {names} FROM known UNION ALL SELECT {names} FROM ({sums_sql(STORED[0], 'fresh')}))"
        connection.execute(f"CREATE OR REPLACE TABLE minutes AS {merged_sql(STORED[0], both)}")
        return seen


@dataclass(frozen=True, slots=True)
class _Known:
    """Stored sums of the shortest interval, of `trades` trades: those below `upto`."""

    sums: pa.Table
    trades: int
    upto: Upto


_NONE = _Known(SUM_ROWS.empty_table(), 0, {})


@dataclass(slots=True)
class _Seen:
    """Trades that were read, and the offsets after them by topic id and partition."""

    upto: dict[tuple[str, int], int]
    rows: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        last = pa.table([batch.column(name) for name in KAFKA_POSITION], names=list(KAFKA_POSITION)).group_by(list(KAFKA_POSITION[:2]))
        for row in last.aggregate([(KAFKA_POSITION[2], "max")]).to_pylist():
            key = (row[KAFKA_POSITION[0]], row[KAFKA_POSITION[1]])
            self.upto[key] = max(self.upto.get(key, 0), row[f"{KAFKA_POSITION[2]}_max"] + 1)


def _known_sums(table: DeltaTable, before: Sequence[DayFile]) -> _Known:
    for file in before:
        name = parse_candle_file(file.path)
        if name is not None and name.interval == STORED[0]:
            rows = parquet_file(table, file.path, file.size).read(columns=[*SUMS, "upto"], use_threads=False)
            if rows.num_rows:
                return _Known(rows.select(SUMS), name.ticks, read_upto(rows.column("upto")[0].as_py()))
    return _NONE
