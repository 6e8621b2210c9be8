"""Candles for readers: from the candles table for days where it is up to date, computed from the ticks for all others, with the same result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import duckdb
import pyarrow.dataset as ds

from cryptoviz.lake.files import FileIndex, Snapshot
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.ohlcv import CANDLES, COLUMNS, INTERVALS, TICK_COLUMNS, candle_sql, stored_sql, whole_days
from cryptoviz.lake.scan import Scanner
from cryptoviz.lake.table_specs import TableSpec
from cryptoviz.settings import Settings

__all__ = ["CandleReader"]

_TABLE_SPEC = TableSpec("candles", CANDLES, ("ts", "asset_id"))


class CandleReader:
    """Thread-safe. Caches file lists and small files of the candles table; the caller supplies the ticks."""

    def __init__(self, settings: Settings) -> None:
        access, address = S3Access.of(settings.s3), table_address(settings.s3, "candles")
        self.index = FileIndex(address, access, settings.s3.storage_options(), _TABLE_SPEC)
        self._scanners = {interval: Scanner(address, access) for interval in INTERVALS}

    def define(
        self,
        connection: duckdb.DuckDBPyConnection,
        interval: str,
        prices: Snapshot,
        ticks: Callable[[Snapshot], ds.Dataset],
        low: datetime | None = None,
        high: datetime | None = None,
        condition: ds.Expression | None = None,
    ) -> str:
        """Register relations in `connection` and return a SELECT of the candles of `interval` over them.

        `prices`: the version of the prices table; `ticks` reads those of its days for which the candles table is not up to date. For an earlier
        version (with `upto`) all candles are computed from ticks. With `condition` on `asset_id`, rows are filtered while reading.
        """
        # A day whose candles do not match the number of its ticks is computed.
        candles = self.index.newest()
        days = {} if prices.upto else whole_days(
            (file.path for files in candles.by_day.values() for file in files), interval,
            {day: sum(file.rows for file in files) for day, files in prices.by_day.items()},
        )  # fmt: skip
        chosen = replace(candles, by_day={day: tuple(one for one in candles.by_day[day] if one.path == path) for day, path in days.items()})
        rest = replace(prices, by_day={day: files for day, files in prices.by_day.items() if day not in days})
        stored = self._scanners[interval].dataset(chosen, low, high)
        fresh = ticks(rest)
        if condition is not None:
            connection.register(f"_candles_{interval}", stored.to_table(columns=list(COLUMNS), filter=condition & _within("ts", low, high)))
            connection.register(f"_ticks_{interval}", fresh.to_table(columns=list(TICK_COLUMNS), filter=condition & _within("tick_ts", low, high)))
        else:
            connection.register(f"_candles_{interval}", stored)
            connection.register(f"_ticks_{interval}", fresh)
        return f"{stored_sql(f'_candles_{interval}')} UNION ALL {candle_sql(interval, f'_ticks_{interval}')}"


def _within(column: str, low: datetime | None, high: datetime | None) -> ds.Expression:
    field = ds.field(column)
    bounds = [field.is_valid(), *([field >= low] if low else []), *([field < high] if high else [])]
    found = bounds[0]
    for bound in bounds[1:]:
        found &= bound
    return found
