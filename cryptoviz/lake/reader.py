"""`Lake`: what a person or a page asks of the lake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from cryptoviz.assets import resolve_assets
from cryptoviz.errors import QueryError
from cryptoviz.lake.candles import INTERVALS, candle_sql, check_interval
from cryptoviz.lake.files import DataFile, FileIndex
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.scan import Scanner
from cryptoviz.lake.schema import DEAD_LETTERS, PARTITION_BY, PRICES, RAW
from cryptoviz.settings import Settings

__all__ = ["As", "Lake", "When"]

As = Literal["arrow", "pandas", "polars", "duckdb"]
When = datetime | str | None

_SCHEMAS = {"prices": PRICES, "raw": RAW, "dead_letters": DEAD_LETTERS}
_VIEWS = (*_SCHEMAS, *(f"candles_{interval}" for interval in INTERVALS))
_MENTIONED = re.compile(rf"\b({'|'.join(sorted(_VIEWS, key=len, reverse=True))})\b", re.IGNORECASE)
_READ_ONLY = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_MEMORY_LIMIT = "1GB"  # a page's query must not take the laptop's memory


class Lake:
    """Reads the newest version of the lake's tables; keeps file lists and small files between calls. Thread-safe.

    Times: `start` is inclusive, `end` exclusive; aware datetimes or ISO 8601 texts with an offset or `Z`. Results are `timestamp[us, UTC]`.
    Raises `EngineUnavailable` when the object store does not answer, `QueryError` for an argument that is not valid.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is read yet."""
        self._settings = settings
        access, options = S3Access.of(settings.s3), settings.s3.storage_options()
        self._indexes = {table: FileIndex(table_address(settings.s3, table), options) for table in _SCHEMAS}
        self._scanners = {table: Scanner(table_address(settings.s3, table), schema, access) for table, schema in _SCHEMAS.items()}

    def prices(
        self,
        assets: str | Sequence[str] | None = None,
        start: When = None,
        end: When = None,
        columns: Sequence[str] | None = None,
        as_: As = "arrow",
    ) -> Any:
        """Unified records by `tick_ts`, then asset. `assets` are ids, symbols or aliases; None means all.

        Raises:
            UnknownAsset: a name that no asset has.
        """
        condition = None
        if assets is not None:
            names = [assets] if isinstance(assets, str) else list(assets)
            ids = [asset.asset_id for asset in resolve_assets(names, self._settings.extra_assets)] if names else []
            condition = ds.field("asset_id").isin(ids)
        return self._read("prices", start, end, columns, as_, condition, ("tick_ts", "asset_id"))

    def raw(self, start: When = None, end: When = None, columns: Sequence[str] | None = None, as_: As = "arrow") -> Any:
        """HTTP exchanges by `tick_ts`, then provider."""
        return self._read("raw", start, end, columns, as_, None, ("tick_ts", "provider"))

    def dead_letters(self, start: When = None, end: When = None, columns: Sequence[str] | None = None, as_: As = "arrow") -> Any:
        """Records that did not decode or validate, by Kafka's time and offset."""
        return self._read("dead_letters", start, end, columns, as_, None, ("kafka_ts", "kafka_offset"))

    def candles(self, asset: str, interval: str = "1h", start: When = None, end: When = None, as_: As = "arrow") -> Any:
        """Candles of one asset by `ts`, made from polled prices: see `cryptoviz.lake.candles` for what that means.

        Raises:
            UnknownAsset: no such asset.
        """
        check_interval(interval)
        ticks = self.prices([asset], start, end, columns=("tick_ts", "asset_id", "quote_currency", "price", "volume_24h"))
        connection = _connection()
        connection.register("prices", ticks)
        return _as(connection.sql(candle_sql(interval) + " ORDER BY ts").to_arrow_table(), as_)

    def query(self, sql: str, as_: As = "arrow") -> Any:
        """One SELECT in DuckDB's dialect over prices, raw, dead_letters, candles_1m, candles_5m, candles_1h, candles_1d.

        Only reads: files, settings and Python objects are out of reach of the SQL.

        Raises:
            QueryError: not one read-only statement, or DuckDB refuses it; the message is DuckDB's.
        """
        connection = _connection()
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in _READ_ONLY:
                raise QueryError("a query is one SELECT (or EXPLAIN) statement", sql=sql)
            for view in {found.lower() for found in _MENTIONED.findall(sql)}:
                self._define(connection, view)
            return _as(connection.sql(sql).to_arrow_table(), as_)
        except duckdb.Error as error:
            raise QueryError(str(error), sql=sql) from None

    def version(self, table: str = "prices") -> int:
        """The table's newest version, -1 before its first commit: changes when there is something new to read."""
        return self._indexes[table].by_day()[0]

    def _define(self, connection: duckdb.DuckDBPyConnection, view: str) -> None:
        if view in _SCHEMAS:
            _, files = self._indexes[view].by_day()
            connection.register(view, self._scanners[view].dataset(files))
            return
        # Under a name of its own, so that `prices` itself may be asked for in the same query.
        _, files = self._indexes["prices"].by_day()
        connection.register("_ticks", self._scanners["prices"].dataset(files))
        connection.execute(f"CREATE TEMP VIEW {view} AS {candle_sql(view.removeprefix('candles_'), '_ticks')}")

    def _read(self, table: str, start: When, end: When, columns: Sequence[str] | None, as_: As, condition: Any, order: tuple[str, str]) -> Any:
        schema = _SCHEMAS[table]
        chosen = list(columns) if columns is not None else [name for name in schema.names if name not in PARTITION_BY]
        unknown = [name for name in chosen if name not in schema.names]
        if unknown:
            raise QueryError(f"{table} has no column {unknown[0]!r}: it has {', '.join(schema.names)}", argument="columns")
        low, high = _moment(start, "start"), _moment(end, "end")
        time = ds.field(order[0])
        for bound in (time >= _scalar(low) if low else None, time < _scalar(high) if high else None):
            if bound is not None:
                condition = bound if condition is None else condition & bound
        _, by_day = self._indexes[table].by_day()
        rows = self._scanners[table].dataset(_within(by_day, low, high)).to_table(columns=list(dict.fromkeys([*chosen, *order])), filter=condition)
        return _as(rows.sort_by([(name, "ascending") for name in order]).select(chosen), as_)


def _within(by_day: dict[date, tuple[DataFile, ...]], low: datetime | None, high: datetime | None) -> dict[date, tuple[DataFile, ...]]:
    first = low.date() if low else date.min
    last = (high - timedelta(microseconds=1)).date() if high else date.max
    return {day: files for day, files in by_day.items() if first <= day <= last}


def _scalar(moment: datetime) -> Any:
    return pa.scalar(moment, pa.timestamp("us", tz="UTC"))


def _moment(when: When, argument: str) -> datetime | None:
    if when is None:
        return None
    try:
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        raise QueryError(f"{argument} is {when!r}: valid is ISO 8601 with an offset, as 2026-01-31T12:00:00Z", argument=argument) from None
    if moment.tzinfo is None:
        raise QueryError(f"{argument} is {when!r} without a time zone: say which, as 2026-01-31T12:00:00Z", argument=argument)
    return moment.astimezone(UTC)


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"enable_external_access": "false", "python_enable_replacements": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
    connection.execute("SET lock_configuration = true")
    return connection


def _as(rows: pa.Table, as_: As) -> Any:
    match as_:
        case "arrow":
            return rows
        case "pandas":
            return rows.to_pandas()
        case "polars":
            import polars as pl

            return pl.from_arrow(rows)
        case "duckdb":
            return duckdb.from_arrow(rows, connection=_connection())
    raise QueryError(f"as_ is {as_!r}: valid are arrow, pandas, polars, duckdb", argument="as_")
