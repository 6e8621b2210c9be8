"""`Lake`: reads the lake's tables, and runs SQL over them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from cryptoviz.errors import EngineUnavailable, QueryError, UnknownColumn
from cryptoviz.lake import sql as lake_sql
from cryptoviz.lake.candle_check_reader import CANDLE_CHECKS, check_rows, checked_from, checked_range
from cryptoviz.lake.candle_choice import CandleSource, chosen_sql
from cryptoviz.lake.candle_reader import CandleReader
from cryptoviz.lake.conditions import Condition, Names, all_of, in_range, one_of
from cryptoviz.lake.files import DataFile, FileIndex, Snapshot
from cryptoviz.lake.identity import identities, last_part
from cryptoviz.lake.objects import S3Access, table_address
from cryptoviz.lake.ohlcv import INTERVALS, whole_buckets
from cryptoviz.lake.rows import Rows
from cryptoviz.lake.scan import Scanner
from cryptoviz.lake.schema import IDENTITY_COLUMNS
from cryptoviz.lake.sql import Parameters
from cryptoviz.lake.store_errors import store_error
from cryptoviz.lake.table_specs import TABLE_SPECS
from cryptoviz.lake.trade_candle_reader import TradeCandleReader
from cryptoviz.lake.trade_ohlcv import TRADE_INTERVALS, check_trade_interval
from cryptoviz.settings import Settings
from cryptoviz.times import When, check_range, moment

__all__ = ["Lake", "Rows", "When", "check_columns"]

_TRIES = 3  # maintenance may delete a file during a query; the next version has its rows
_STREAM_ROWS = 65_536
Columns = Sequence[str] | None
T = TypeVar("T")


class Lake:
    """Reads the lake's tables; caches file lists, footers and small files between calls. Thread-safe.

    A read returns `Rows`: `.arrow()`, `.pandas()`, `.polars()`, `.duckdb()`. Times are `timestamp[us, UTC]`. `version` and
    `as_of` read an earlier version of the table, as far back as the Delta log reaches (a day); the column `ingest_ts` has the time at which each
    value was received, for any age.

    Raises `EngineUnavailable` if the object store does not answer, and a `QueryError` for invalid arguments: `InvalidTime` (no time zone, or start
    not before end), `UnknownColumn`, `VersionNotKept`; `UnknownAsset` for an unknown coin.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = settings.s3.endpoint
        access, options = S3Access.of(settings.s3), settings.s3.storage_options()
        places = {name: table_address(settings.s3, name) for name in TABLE_SPECS}
        self._indexes = {name: FileIndex(places[name], access, options, table) for name, table in TABLE_SPECS.items()}
        self._scanners = {name: Scanner(places[name], access) for name in TABLE_SPECS}
        self._candles = CandleReader(settings)
        self._trade_candles = TradeCandleReader(settings)
        self._indexes |= {"candles": self._candles.index, "trade_candles": self._trade_candles.index}

    def prices(
        self, assets: Names = None, start: When = None, end: When = None, columns: Columns = None, version: int | None = None, as_of: When = None
    ) -> Rows:
        """Unified records, ordered by `tick_ts` and asset. `assets`: ids, symbols or aliases; None means all."""
        return self._read("prices", start, end, columns, version, as_of, self._of_assets(assets))

    def raw(self, start: When = None, end: When = None, columns: Columns = None, version: int | None = None, as_of: When = None) -> Rows:
        """Raw HTTP exchanges, ordered by `tick_ts` and provider."""
        return self._read("raw", start, end, columns, version, as_of)

    def dead_letters(self, start: When = None, end: When = None, columns: Columns = None, version: int | None = None, as_of: When = None) -> Rows:
        """Kafka records that did not decode or validate, ordered by Kafka timestamp and offset."""
        return self._read("dead_letters", start, end, columns, version, as_of)

    def gaps(self, start: When = None, end: When = None, columns: Columns = None, version: int | None = None, as_of: When = None) -> Rows:
        """The gap ledger (expected but missing ticks), ordered by `from_ts` and subject. `start` and `end` bound `from_ts`. See docs/gaps.md."""
        return self._read("gaps", start, end, columns, version, as_of)

    def trades(
        self,
        assets: Names = None,
        start: When = None,
        end: When = None,
        columns: Columns = None,
        version: int | None = None,
        as_of: When = None,
        venues: Names = None,
        symbols: Names = None,
    ) -> Rows:
        """Trades of exchanges, ordered by `ts`, venue, symbol and number; `start` and `end` bound `ts`. See docs/streams.md.

        `price` and `size` are exact decimals, `price_double` and `size_double` the same as doubles. `assets` as in `prices`; `venues` and `symbols`
        (the venue's own, such as `BTCUSDT`): None means all.
        """
        condition = self._of_instruments(assets, venues, symbols)
        return self._read("trades", start, end, columns, version, as_of, condition)

    def quotes(
        self,
        assets: Names = None,
        start: When = None,
        end: When = None,
        columns: Columns = None,
        version: int | None = None,
        as_of: When = None,
        venues: Names = None,
        symbols: Names = None,
    ) -> Rows:
        """Best bids and asks of exchanges, sampled, ordered by `ts`, venue and symbol; `start` and `end` bound `ts`. See docs/streams.md.

        A quote is valid until the next row of its symbol. `bid`, `bid_size`, `ask` and `ask_size` are exact decimals. Arguments as of `trades`.
        """
        condition = self._of_instruments(assets, venues, symbols)
        return self._read("quotes", start, end, columns, version, as_of, condition)

    def trade_gaps(
        self,
        assets: Names = None,
        start: When = None,
        end: When = None,
        columns: Columns = None,
        version: int | None = None,
        as_of: When = None,
        changes: bool = False,
    ) -> Rows:
        """Gaps in the ids of trades, each with its newest state, ordered by `opened_ts`, venue and symbol; `start` and `end` bound `opened_ts`.

        `changes`: all changes of their states instead, as in the table.
        """
        found = self._read("trade_gaps", start, end, None, version, as_of, self._of_assets(assets)).arrow()
        rows = found if changes else newest_changes(found)
        return Rows(rows if columns is None else rows.select(check_columns("trade_gaps", columns, rows.column_names)))

    def candles(
        self,
        assets: Names = None,
        interval: str = "1h",
        start: When = None,
        end: When = None,
        columns: Columns = None,
        version: int | None = None,
        as_of: When = None,
        source: str | None = None,
    ) -> Rows:
        """Candles, ordered by `ts` and asset: complete ones from trades where there are any, else those of polled prices. `assets` as in `prices`.

        The column `source` says which: `trades:<venue>`, `polled`, `backfilled` or `mixed`. Candles from trades have `volume` and the columns after
        `source`. Candles are never cut: the first contains `start`, the last begins before `end`. The newest candle may be incomplete.

        `interval`: 1m, 5m, 1h, 1d; of trades also 1s, 15m, 4h. `source`: `polled`, `trades` or `trades:<venue>` alone; None chooses, with trades
        only while streams are on. `version`: of the table of prices; then without trades.
        """
        length = check_trade_interval(interval)
        low, high = whole_buckets(length, *check_range(start, end))
        when = _one_version(version, as_of)
        wanted = CandleSource.of(source, interval, streams=self._settings.streams.on and version is None)
        condition = all_of(ds.field("asset_id").is_valid(), self._of_assets(assets))

        def read(used: dict[str, int]) -> pa.Table:
            connection = lake_sql.connect()
            polled = traded = None
            if wanted.polled:
                polled = self._candles_sql(connection, interval, self._snapshot("prices", version, when, used), used, low, high, condition)
            if wanted.trades:
                of_venue = all_of(condition, one_of("venue", wanted.venue or None))
                traded = self._trade_candles_sql(connection, interval, when, used, low, high, of_venue)
            sql = chosen_sql(polled, traded, self._settings.streams.venues)
            return connection.sql(sql).order("ts, asset_id, quote_currency").to_arrow_table()

        rows = self._with_retry(read)
        return Rows(rows if columns is None else rows.select(check_columns("candles", columns, rows.column_names)))

    def trade_candles(
        self,
        assets: Names = None,
        interval: str = "1h",
        start: When = None,
        end: When = None,
        columns: Columns = None,
        as_of: When = None,
        venues: Names = None,
        symbols: Names = None,
    ) -> Rows:
        """Candles of each venue from its trades, ordered by `ts`, venue and symbol, with exact decimals. See docs/streams.md.

        `complete`: no trade is missing between the trade before the candle and the one after it. `start` and `end` as in `candles`; `assets`,
        `venues` and `symbols` as in `trades`. `interval`: 1s, 1m, 5m, 15m, 1h, 4h, 1d.
        """
        length = check_trade_interval(interval)
        low, high = whole_buckets(length, *check_range(start, end))
        when = moment(as_of, "as_of")
        condition = all_of(ds.field("venue").is_valid(), self._of_instruments(assets, venues, symbols))

        def read(used: dict[str, int]) -> pa.Table:
            connection = lake_sql.connect()
            sql = self._trade_candles_sql(connection, interval, when, used, low, high, condition)
            return connection.sql(sql).order("ts, venue, venue_symbol").to_arrow_table()

        rows = self._with_retry(read)
        return Rows(rows if columns is None else rows.select(check_columns("trade_candles", columns, rows.column_names)))

    def candle_checks(self, assets: Names = None, start: When = None, end: When = None, venues: Names = None, symbols: Names = None) -> Rows:
        """Closed candles of a minute that venues gave, compared with ours from trades: `equal`, or `differences`. See docs/streams.md.

        Ordered by `ts`, venue and symbol. A difference of a candle that is `complete` is a fault; of another one it is the trades that are missing.
        Without `start`: of the last week before `end`, or before the newest of them.
        """
        low, high = check_range(start, end)
        low = low or checked_from(self.files("venue_candles"), high)
        condition = self._of_instruments(assets, venues, symbols)
        theirs = self._read("venue_candles", low, high, None, None, None, condition).arrow()
        if (covered := checked_range(theirs)) is None:
            return Rows(CANDLE_CHECKS.empty_table())
        return Rows(check_rows(theirs, self.trade_candles(assets, "1m", *covered, venues=venues, symbols=symbols).arrow()))

    def query(self, sql: str, as_of: When = None, parameters: Parameters = None) -> Rows:
        """Run one SELECT in DuckDB's dialect over the tables, the polled candles_1m, candles_5m, candles_1h, candles_1d, and
        trade_candles_1s, _1m, _5m, _15m, _1h, _4h, _1d, and candle_checks (always of the newest versions).

        Read-only: the SQL has no access to files, settings or Python objects. `parameters`: values of `$name` in the SQL.

        Raises:
            QueryError: not a single read-only statement, or an error of DuckDB, with its message and the position in `line` and `column`.
        """
        when = moment(as_of, "as_of")
        return Rows(self._with_retry(lambda used: lake_sql.run(sql, self._sources(when, used), parameters, self._store).fetch()))

    def stream(
        self, sql: str, as_of: When = None, parameters: Parameters = None, rows: int = _STREAM_ROWS, memory_bytes: int | None = None
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """As `query`, for results larger than memory: the schema, and an iterator of record batches of about `rows` rows.

        `memory_bytes`: of DuckDB, which then writes no temporary files.
        """
        when = moment(as_of, "as_of")
        return self._with_retry(lambda used: lake_sql.run(sql, self._sources(when, used), parameters, self._store, memory_bytes).stream(rows))

    def present(self, table: str, wanted: Sequence[str], start: When, end: When) -> set[str]:
        """The subset of the identities `wanted` that rows of `[start, end)` have."""
        columns = IDENTITY_COLUMNS[table]
        condition = ds.field(columns[-1]).isin([last_part(one) for one in wanted])
        return set(identities(self._read(table, start, end, columns, None, None, condition).arrow(), table)) & set(wanted)

    def files(self, table: str = "prices") -> Mapping[date, tuple[DataFile, ...]]:
        """The data files of a table's newest version, by UTC day, oldest first; empty before its first commit. `candles` too."""
        return self._indexes[table].newest().by_day

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns, without those of its folders."""
        return [name for name in self._indexes[table].newest().schema.names if name not in TABLE_SPECS[table].hidden]

    def version(self, table: str = "prices") -> int:
        """The table's newest version, -1 before its first commit. Increases with each commit."""
        return self._indexes[table].newest().version

    def _of_assets(self, assets: Names) -> Condition:
        if assets is None:
            return None
        names = [assets] if isinstance(assets, str) else list(assets)
        ids = [asset.asset_id for asset in self._settings.find_assets(names)] if names else []
        return ds.field("asset_id").isin(ids)

    def _of_instruments(self, assets: Names, venues: Names, symbols: Names) -> Condition:
        return all_of(self._of_assets(assets), one_of("venue", venues), one_of("venue_symbol", symbols))

    def _sources(self, as_of: datetime | None, used: dict[str, int]) -> lake_sql.Sources:
        """Relations that a query may use; each is looked up only if the query names it."""

        def dataset(table: str) -> ds.Dataset:
            return self._scanners[table].dataset(self._snapshot(table, None, as_of, used))

        def candles(connection: duckdb.DuckDBPyConnection, interval: str) -> None:
            sql = self._candles_sql(connection, interval, self._snapshot("prices", None, as_of, used), used)
            connection.execute(f"CREATE TEMP VIEW candles_{interval} AS {sql}")

        def trade_candles(connection: duckdb.DuckDBPyConnection, interval: str) -> None:
            sql = self._trade_candles_sql(connection, interval, as_of, used)
            connection.execute(f"CREATE TEMP VIEW trade_candles_{interval} AS {sql}")

        def checks(connection: duckdb.DuckDBPyConnection) -> None:
            connection.register("candle_checks", self.candle_checks().arrow())

        tables = {table: partial(_register, table=table, dataset=dataset) for table in TABLE_SPECS}
        polled = {f"candles_{interval}": partial(candles, interval=interval) for interval in INTERVALS}
        traded = {f"trade_candles_{interval}": partial(trade_candles, interval=interval) for interval in TRADE_INTERVALS}
        return tables | polled | traded | {"candle_checks": checks}

    def _candles_sql(
        self,
        connection: duckdb.DuckDBPyConnection,
        interval: str,
        prices: Snapshot,
        used: dict[str, int],
        low: datetime | None = None,
        high: datetime | None = None,
        condition: ds.Expression | None = None,
    ) -> str:
        used["candles"] = self._indexes["candles"].newest().version
        ticks = self._scanners["prices"]
        return self._candles.define(connection, interval, prices, lambda days: ticks.dataset(days, low, high), low, high, condition)

    def _trade_candles_sql(
        self,
        connection: duckdb.DuckDBPyConnection,
        interval: str,
        as_of: datetime | None,
        used: dict[str, int],
        low: datetime | None = None,
        high: datetime | None = None,
        condition: ds.Expression | None = None,
    ) -> str:
        used["trade_candles"] = self._indexes["trade_candles"].newest().version
        trades = self._snapshot("trades", None, as_of, used)
        every = ds.scalar(True) if condition is None else condition
        return self._trade_candles.define(connection, interval, trades, low, high, every, newest=as_of is None)

    def _snapshot(self, table: str, version: int | None, as_of: datetime | None, used: dict[str, int]) -> Snapshot:
        used[table] = self._indexes[table].newest().version
        return self._indexes[table].at(version, as_of)

    def _read(self, table: str, start: When, end: When, columns: Columns, version: int | None, as_of: When, condition: Condition = None) -> Rows:
        low, high = check_range(start, end)
        when = _one_version(version, as_of)
        order = TABLE_SPECS[table].order
        condition = all_of(condition, in_range(order[0], low, high))

        def read(used: dict[str, int]) -> pa.Table:
            snapshot = self._snapshot(table, version, when, used)
            chosen = self._columns(table, columns, snapshot)
            dataset = self._scanners[table].dataset(snapshot, low, high)
            rows = dataset.to_table(columns=list(dict.fromkeys([*chosen, *order])), filter=condition)
            return rows.sort_by([(name, "ascending") for name in order]).select(chosen)

        return Rows(self._with_retry(read))

    def _columns(self, table: str, columns: Columns, snapshot: Snapshot) -> list[str]:
        known = snapshot.schema.names
        if columns is not None:
            return check_columns(table, columns, known)
        hidden = TABLE_SPECS[table].hidden
        return [name for name in known if name not in hidden]

    def _with_retry(self, read: Callable[[dict[str, int]], T]) -> T:
        """Call `read` and return its result. `read` records the versions of the tables that it uses; on failure, retry if any has a newer version."""
        for last in (*(False,) * (_TRIES - 1), True):
            used: dict[str, int] = {}
            try:
                return read(used)
            except (EngineUnavailable, QueryError, OSError) as error:
                moved = not last and any(self._indexes[table].newest(refresh=True).version != version for table, version in used.items())
                if isinstance(error, OSError) and not moved:
                    raise store_error(self._store, "return a file of the lake", error) from error
                if not moved:
                    raise
        raise AssertionError("the last try returns or raises")  # pragma: no cover


def newest_changes(rows: pa.Table) -> pa.Table:
    """The last change of each gap, in the order of the rows."""
    order = pc.sort_indices(rows, [("changed_ts", "ascending"), ("kafka_offset", "ascending")]).to_pylist()
    gaps = rows.column("gap_id").to_pylist()
    newest = {gaps[index]: index for index in order}
    return rows.take(pa.array(sorted(newest.values()), pa.int64()))


def _one_version(version: int | None, as_of: When) -> datetime | None:
    if version is not None and as_of is not None:
        raise QueryError("version and as_of are mutually exclusive", argument="version")
    return moment(as_of, "as_of")


def _register(connection: duckdb.DuckDBPyConnection, table: str, dataset: Callable[[str], ds.Dataset]) -> None:
    connection.register(table, dataset(table))


def check_columns(table: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """`wanted` as a list.

    Raises:
        UnknownColumn: a name is not in `known`.
        QueryError: `wanted` is empty.
    """
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UnknownColumn(f"{table} has no column {name!r}{meant}: valid are {', '.join(known)}", column=name, table=table, argument="columns")
    if not chosen:
        raise QueryError("columns is empty: name at least one column, or omit the argument for all", argument="columns")
    return chosen
