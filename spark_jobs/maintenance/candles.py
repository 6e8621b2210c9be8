"""Makes the table `candles` from the prices table, a step of maintenance: only days whose ticks have changed are read, the year never again.

The candles of a day are replaced in one Delta commit, all four intervals together.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, TableAddress, table_address
from cryptoviz.lake.ohlcv import CANDLES, INTERVALS, TICK_COLUMNS, CandleFile, candle_sql, coarser_sql, day_end_ms, parse_candle_file
from cryptoviz.lake.parts import Part, day_start
from cryptoviz.lake.schema import PARTITION_BY, PRICES, file_schema
from cryptoviz.settings import Settings
from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.maintenance.days import days_of
from spark_jobs.tables.orphans import remove_objects
from spark_jobs.tables.parquet import encode, statistics
from spark_jobs.tables.replace_files import NewFile, Replaced, epoch_of, paths_of, raise_epoch, replace_files
from spark_jobs.tables.table_log import CONFIGURATION

__all__ = ["CandleBuilder", "days_to_make", "make_candles"]

_SETTLE_MS = 30_000
"""A bucket's last ticks are in the lake a second or two after its end; those that come later make its day be made again."""
_MINUTE_MS = 60_000
_STATS = ("interval", "ts", "asset_id")
_BATCH_ROWS = 32_768
_FRAGMENTS_AHEAD = 8


@dataclass(frozen=True, slots=True)
class DayToMake:
    """A day, the files that hold its ticks, and the moment (UTC ms) up to which its buckets are closed."""

    day: date
    files: tuple[DayFile, ...]
    until_ms: int


def days_to_make(prices: Mapping[date, Sequence[DayFile]], candles: Mapping[date, Sequence[DayFile]], now: datetime) -> list[DayToMake]:
    """The days whose candles are missing, or were made from other ticks than there are now. A pure function."""
    now_ms = round(now.timestamp() * 1000)
    settled_ms = (now_ms - _SETTLE_MS) // _MINUTE_MS * _MINUTE_MS
    found = []
    for day, files in prices.items():
        until_ms = min(day_end_ms(day), settled_ms)
        made = [file for one in candles.get(day, ()) if (file := parse_candle_file(one.path))]
        if until_ms <= round(day_start(day).timestamp() * 1000) or _is_current(made, candles.get(day, ()), files, until_ms, now_ms):
            continue
        found.append(DayToMake(day, tuple(files), until_ms))
    return found


def _is_current(made: Sequence[CandleFile], stored: Sequence[DayFile], ticks: Sequence[DayFile], until_ms: int, now_ms: int) -> bool:
    if {file.interval for file in made} != set(INTERVALS):
        return False
    if until_ms == day_end_ms(made[0].day):
        rows = sum(file.rows for file in ticks)
        return all(file.whole(rows) for file in made)
    # The day goes on: whether there is anything new since shows in when its files were written.
    # Candles of a time to come were written under a clock that was ahead, and say nothing of that.
    made_ms = min(file.modified_ms for file in stored)
    new = made_ms > now_ms or max(file.modified_ms for file in ticks) > made_ms
    return not new or all(file.until_ms >= until_ms for file in made)


def make_candles(prices: str, connection: duckdb.DuckDBPyConnection, until_ms: int) -> tuple[int, dict[str, pa.Table]]:
    """From the relation `prices` of a day's ticks, read once: how many lie before `until_ms`, and by interval the candles that end by then."""
    limit = f"TIMESTAMPTZ '{datetime.fromtimestamp(until_ms / 1000, UTC).isoformat()}'"
    finest, *others = INTERVALS
    connection.execute(" ".join(("CREATE TEMP TABLE minutes AS SELECT * FROM (", candle_sql(finest, prices), ") WHERE ts <", limit)))
    ticks = int(connection.execute("SELECT coalesce(sum(ticks), 0) FROM minutes").fetchall()[0][0])
    made = {}
    for interval in (finest, *others):
        rows = "minutes" if interval == finest else f"({coarser_sql(interval, 'minutes')})"
        width = f"INTERVAL '{INTERVALS[interval]}'"
        chosen = connection.sql(" ".join(("SELECT", f"'{interval}' AS interval, *", "FROM", rows, "WHERE ts +", width, "<=", limit)))
        made[interval] = chosen.order("asset_id, quote_currency, ts").to_arrow_table().cast(file_schema(CANDLES))
    connection.execute("DROP TABLE minutes")
    return ticks, made


class CandleBuilder:
    """Brings the table up to date. Beside another one neither loses anything: the later commit of a day is refused."""

    def __init__(self, settings: Settings, client: Minio, check: Callable[[], None] = lambda: None) -> None:
        """Nothing is read yet. `check` is called before each commit and deletion and may raise."""
        self._check = check
        self._settings = settings
        self._client = client
        self._address = table_address(settings.s3, "candles")
        self._prices = table_address(settings.s3, "prices")
        self._options = settings.s3.storage_options()

    def build(self, prices: DeltaTable, now: datetime) -> tuple[int, int]:
        """Make what is missing; returns how many days were made, and from how many ticks.

        Raises:
            EngineUnavailable, LakeError, DeltaError, S3Error, OSError: as the store and the log say; the days made so far stay.
        """
        table = DeltaTable.create(
            self._address.uri, CANDLES, mode="ignore", partition_by=list(PARTITION_BY), name="candles", configuration=CONFIGURATION,
            storage_options=self._options,
        )  # fmt: skip
        self._remove_leftovers(table)
        epoch = epoch_of(table)
        stored = days_of(table)
        days = ticks = 0
        for todo in days_to_make(days_of(prices), stored, now):
            self._check()
            ticks += self._make_day(table, todo, stored.get(todo.day, []), epoch)
            days += 1
        return days, ticks

    def _make_day(self, table: DeltaTable, todo: DayToMake, before: Sequence[DayFile], epoch: int) -> int:
        with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("ticks_of_day", self._reader(todo.files))
            ticks, made = make_candles("ticks_of_day", connection, todo.until_ms)
        attempt = uuid.uuid4().hex[:8]
        new = [self._put(CandleFile(todo.day, interval, ticks, todo.until_ms, attempt), rows) for interval, rows in made.items()]
        values = Part("", 0, 0, 0, todo.day).partition_values
        old = [Replaced(file.path, file.size, values) for file in before]
        replace_files(table, new, old, data_change=True, epoch=epoch)
        remove_objects(self._client, self._address, [file.path for file in old])
        return ticks

    def _reader(self, files: Sequence[DayFile]) -> pa.RecordBatchReader:
        filesystem = S3Access.of(self._settings.s3).filesystem()
        kind = ds.ParquetFileFormat()
        fragments = [kind.make_fragment(f"{self._prices.root}/{file.path}", filesystem=filesystem, file_size=file.size) for file in files]
        dataset = ds.FileSystemDataset(fragments, file_schema(PRICES), kind, filesystem)
        return dataset.scanner(
            columns=list(TICK_COLUMNS), batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=_FRAGMENTS_AHEAD
        ).to_reader()  # fmt: skip

    def _put(self, file: CandleFile, rows: pa.Table) -> NewFile:
        data = encode(rows, _STATS)
        self._client.put_object(self._address.bucket, self._address.key(file.path), io.BytesIO(data), data.size)
        return NewFile(file.path, data.size, statistics(rows, _STATS), Part("", 0, 0, 0, file.day).partition_values)

    def _remove_leftovers(self, table: DeltaTable) -> None:
        """Files of a day that was being replaced when a round was cut off."""
        listed = list(_stored_paths(self._client, self._address))
        table.update_incremental()
        if set(listed) <= paths_of(table):
            return
        self._check()
        raise_epoch(table)
        known = paths_of(table)
        self._check()
        remove_objects(self._client, self._address, [path for path in listed if path not in known])


def _stored_paths(client: Minio, address: TableAddress) -> Iterator[str]:
    for item in client.list_objects(address.bucket, prefix=f"{address.prefix}year=", recursive=True):
        path = item.object_name.removeprefix(address.prefix)
        if parse_candle_file(path) is not None:
            yield path
