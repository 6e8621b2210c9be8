"""Maintenance step that builds the table `candles` from the prices table. Reads only days whose ticks have changed.

The candles of a day are replaced in one Delta commit, all four intervals together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.ohlcv import (
    CANDLES,
    COLUMNS,
    INTERVALS,
    INTERVALS_MS,
    TICK_COLUMNS,
    CandleFile,
    candle_sql,
    coarser_sql,
    day_end_ms,
    parse_candle_file,
    stored_sql,
)  # fmt: skip
from cryptoviz.lake.parts import day_start
from cryptoviz.lake.schema import PRICES, file_schema
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms, utc
from spark_jobs.maintenance.candle_table import CandleTable, new_attempt
from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.maintenance.days import days_of
from spark_jobs.tables.parquet import parquet_file
from spark_jobs.tables.replace_files import epoch_of

__all__ = ["CandleBuilder", "days_to_make", "make_candles"]

_SETTLE_MS = 30_000
"""A bucket's last ticks are in the lake 1-2 s after its end; later ticks cause a rebuild of their day."""
_MINUTE_MS = 60_000
_BATCH_ROWS = 32_768
_FRAGMENTS_AHEAD = 8


@dataclass(frozen=True, slots=True)
class DayToMake:
    """A day, the files with its ticks, and the time (UTC ms) up to which its buckets are closed."""

    day: date
    files: tuple[DayFile, ...]
    until_ms: int


def days_to_make(prices: Mapping[date, Sequence[DayFile]], candles: Mapping[date, Sequence[DayFile]], now: datetime) -> list[DayToMake]:
    """Days whose candles are missing or were built from other ticks than the table has now. Pure."""
    now_ms = epoch_ms(now)
    settled_ms = (now_ms - _SETTLE_MS) // _MINUTE_MS * _MINUTE_MS
    found = []
    for day, files in prices.items():
        until_ms = min(day_end_ms(day), settled_ms)
        made = [file for one in candles.get(day, ()) if (file := parse_candle_file(one.path))]
        if until_ms <= epoch_ms(day_start(day)) or _is_current(made, files, until_ms):
            continue
        found.append(DayToMake(day, tuple(files), until_ms))
    return found


def _is_current(made: Sequence[CandleFile], ticks: Sequence[DayFile], until_ms: int) -> bool:
    if {file.interval for file in made} != set(INTERVALS):
        return False
    rows = sum(file.rows for file in ticks)
    if until_ms == day_end_ms(made[0].day):
        return all(file.whole(rows) for file in made)
    # The day has not ended. Late ticks of a bucket that the files have wait for the next bucket.
    last = [file.last_ms for file in ticks]
    return all(file.until_ms == until_ms or (file.ticks == rows and not _has_ended(file, last, until_ms)) for file in made)


def _has_ended(file: CandleFile, last: Sequence[int | None], until_ms: int) -> bool:
    """Whether the bucket of the last tick, all ticks being before the file's end, has ended since that end. `last`: of each file of ticks."""
    known = [one for one in last if one is not None]
    newest_ms = max(known) if len(known) == len(last) else file.until_ms - 1
    width_ms = INTERVALS_MS[file.interval]
    return file.until_ms < (newest_ms // width_ms + 1) * width_ms <= until_ms


def make_candles(prices: str, connection: duckdb.DuckDBPyConnection, until_ms: int, known: str = "") -> tuple[int, dict[str, pa.Table]]:
    """Aggregate the relation `prices` of a day's ticks, reading it once. Returns the number of ticks before `until_ms`, and the candles that end by
    then, by interval. `known`: a relation of candles of the finest interval that are complete already; then `prices` has the ticks after them.
    """
    limit = f"TIMESTAMPTZ '{utc(until_ms).isoformat()}'"
    finest, *others = INTERVALS
    complete = ("UNION ALL", stored_sql(known)) if known else ()
    connection.execute(" ".join(("CREATE TEMP TABLE minutes AS SELECT * FROM (", candle_sql(finest, prices), ") WHERE ts <", limit, *complete)))
    ticks = int(connection.execute("SELECT coalesce(sum(ticks), 0) FROM minutes").fetchall()[0][0])
    made = {}
    for interval in (finest, *others):
        rows = "minutes" if interval == finest else f"({coarser_sql(interval, 'minutes')})"
        width = f"INTERVAL '{INTERVALS[interval]}'"
        chosen = connection.sql(" ".join(("SELECT", f"'{interval}' AS interval, *", "FROM", rows, "WHERE ts +", width, "<=", limit)))
        made[interval] = chosen.order("asset_id, quote_currency, ts").to_arrow_table().cast(file_schema(CANDLES))
    connection.execute("DROP TABLE minutes")
    return ticks, made


@dataclass(frozen=True, slots=True)
class KnownMinutes:
    """The stored candles of the finest interval of a day that has not ended."""

    stored: DayFile
    file: CandleFile


def complete_minutes(before: Sequence[DayFile], todo: DayToMake) -> KnownMinutes | None:
    """The day's stored candles, if new ticks can be added to them. Pure."""
    for stored in before:
        file = parse_candle_file(stored.path)
        if file is not None and file.interval == next(iter(INTERVALS)) and file.until_ms < todo.until_ms:
            return KnownMinutes(stored, file)
    return None


def ticks_after(prices: DeltaTable, files: Sequence[DayFile], known: KnownMinutes) -> pa.Table | None:
    """The day's ticks after the known candles; None if there are late ticks before their end, so that they must be built from all ticks.

    Ticks are only ever added to a day, so the same number of ticks before that time means the same ticks. Only files with later ticks are read.
    """
    until = utc(known.file.until_ms)
    rows, earlier = [], 0
    for file in files:
        if file.last_ms is not None and file.last_ms < known.file.until_ms:
            earlier += file.rows
            continue
        read = parquet_file(prices, file.path, file.size).read(columns=list(TICK_COLUMNS), use_threads=False)
        new = read.filter(pc.greater_equal(read.column("tick_ts"), pa.scalar(until, read.schema.field("tick_ts").type)))
        earlier += read.num_rows - new.num_rows
        rows.append(new)
    return pa.concat_tables([file_schema(PRICES).empty_table().select(list(TICK_COLUMNS)), *rows]) if earlier == known.file.ticks else None


class CandleBuilder:
    """Updates the table. Safe beside another builder: the later commit for a day is refused."""

    def __init__(self, settings: Settings, client: Minio, check: Callable[[], None] = lambda: None) -> None:
        """No request is made yet. `check` is called before each commit and deletion and may raise."""
        self._check = check
        self._settings = settings
        self._stored = CandleTable(settings, client, "candles", CANDLES, check)
        self._prices = table_address(settings.s3, "prices")

    def build(self, prices: DeltaTable, now: datetime, newest: Callable[[], DeltaTable | None]) -> tuple[int, int]:
        """Build missing and outdated days. Returns the number of days built and of ticks read. `newest` opens the candles table.

        Raises:
            EngineUnavailable, LakeError, DeltaError, S3Error, OSError: from the store and the log; days already built stay.
        """
        table = self._stored.open(newest)
        stored = days_of(table)
        to_make = days_to_make(days_of(prices), stored, now)
        epoch = epoch_of(table) if to_make else 0
        days = ticks = 0
        for todo in to_make:
            self._check()
            ticks += self._make_day(prices, table, todo, stored.get(todo.day, []), epoch)
            days += 1
        return days, ticks

    def _make_day(self, prices: DeltaTable, table: DeltaTable, todo: DayToMake, before: Sequence[DayFile], epoch: int) -> int:
        with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            known = complete_minutes(before, todo)
            new = ticks_after(prices, todo.files, known) if known else None
            if known and new is not None:
                connection.register("new_ticks", new)
                connection.register("known_minutes", parquet_file(table, known.stored.path, known.stored.size).read(columns=list(COLUMNS)))
                ticks, made = make_candles("new_ticks", connection, todo.until_ms, "known_minutes")
                read = int(new.num_rows)
            else:
                connection.register("ticks_of_day", self._reader(todo.files))
                ticks, made = make_candles("ticks_of_day", connection, todo.until_ms)
                read = ticks
        new = [(CandleFile(todo.day, interval, ticks, todo.until_ms, new_attempt()), rows) for interval, rows in made.items()]
        self._stored.replace_day(table, new, before, epoch)
        return read

    def _reader(self, files: Sequence[DayFile]) -> pa.RecordBatchReader:
        filesystem = S3Access.of(self._settings.s3).filesystem()
        kind = ds.ParquetFileFormat()
        fragments = [kind.make_fragment(f"{self._prices.root}/{file.path}", filesystem=filesystem, file_size=file.size) for file in files]
        dataset = ds.FileSystemDataset(fragments, file_schema(PRICES), kind, filesystem)
        return dataset.scanner(
            columns=list(TICK_COLUMNS), batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=_FRAGMENTS_AHEAD
        ).to_reader()  # fmt: skip
