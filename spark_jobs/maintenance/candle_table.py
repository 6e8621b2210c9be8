"""A table of candles: one file for each UTC day and interval, all of a day replaced in one Delta commit."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence

import pyarrow as pa
from minio import Minio

from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.ohlcv import CandleFile, parse_candle_file
from cryptoviz.lake.parts import Part
from cryptoviz.lake.schema import PARTITION_BY
from cryptoviz.settings import Settings
from spark_jobs.maintenance.compaction.plan import DayFile
from spark_jobs.tables.orphans import day_objects, remove_objects
from spark_jobs.tables.parquet import encode, statistics
from spark_jobs.tables.replace_files import NewFile, ReplacedFile, paths_of, raise_epoch, replace_files
from spark_jobs.tables.table_log import CONFIGURATION

__all__ = ["CandleTable", "new_attempt"]

_STATS = ("interval", "ts", "asset_id")


class CandleTable:
    """Safe beside another builder: the later commit for a day is refused."""

    def __init__(self, settings: Settings, client: Minio, table: str, schema: pa.Schema, check: Callable[[], None]) -> None:
        """No request is made yet. `check` is called before each commit and deletion and may raise."""
        self._check = check
        self._client = client
        self._schema = schema
        self._address = table_address(settings.s3, table)
        self._options = settings.s3.storage_options()

    def open(self, newest: Callable[[], DeltaTable | None]) -> DeltaTable:
        """The table, created if it does not exist, without files of a day whose replacement was interrupted. `newest` opens it."""
        listed = [path for path, _ in day_objects(self._client, self._address) if parse_candle_file(path) is not None]
        # Read after the listing, so that a file that is committed meanwhile is in it.
        table = newest() or DeltaTable.create(
            self._address.uri, self._schema, mode="ignore", partition_by=list(PARTITION_BY), name=self._address.table, configuration=CONFIGURATION,
            storage_options=self._options,
        )  # fmt: skip
        if not set(listed) <= paths_of(table):
            self._check()
            raise_epoch(table, with_progress=False)
            known = paths_of(table)
            self._check()
            remove_objects(self._client, self._address, [path for path in listed if path not in known])
        return table

    def replace_day(self, table: DeltaTable, new: Sequence[tuple[CandleFile, pa.Table]], before: Sequence[DayFile], epoch: int) -> None:
        """Write the files of a day and remove those from before. `epoch`: of the table before this work began."""
        values = Part("", 0, 0, 0, new[0][0].day).partition_values
        added = [NewFile(file.path, self._put(file, rows), statistics(rows, _STATS), values) for file, rows in new]
        old = [ReplacedFile(file.path, file.size, values) for file in before]
        replace_files(table, added, old, data_change=True, epoch=epoch, with_progress=False)
        remove_objects(self._client, self._address, [file.path for file in old])

    def _put(self, file: CandleFile, rows: pa.Table) -> int:
        data = encode(rows, _STATS)
        self._client.put_object(self._address.bucket, self._address.key(file.path), io.BytesIO(data), data.size)
        return int(data.size)


def new_attempt() -> str:
    """The unique part of a file's name."""
    return uuid.uuid4().hex[:8]
