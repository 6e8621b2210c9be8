"""Steps of a maintenance round. Each step receives the round's context and adds to its figures. A failed step does not stop the others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from minio import Minio

from cryptoviz.errors import LakeError
from cryptoviz.lake.delta import DeltaTable, open_table
from cryptoviz.lake.objects import S3Access, TableAddress, minio_client, table_address
from cryptoviz.lake.schema import DEAD_LETTERS, DEAD_TABLE, file_schema
from cryptoviz.lake.table_specs import STREAM_TABLES
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms
from spark_jobs.gaps.ledger_update import find_gaps
from spark_jobs.maintenance.candles import CandleBuilder
from spark_jobs.maintenance.compaction.merge import Compactor
from spark_jobs.maintenance.compaction.plan import next_merge
from spark_jobs.maintenance.compaction.sorted_merge import Layout
from spark_jobs.maintenance.days import DayRule, days_of, drop_old_days, mark_days
from spark_jobs.maintenance.log_cleanup import remove_leftovers, shorten_log
from spark_jobs.maintenance.result import MAINTAINED
from spark_jobs.maintenance.trade_candles import TradeCandleBuilder
from spark_jobs.tables.orphans import day_objects
from spark_jobs.tables.record_spec import PRICES_SPEC, QUOTES_SPEC, RAW_SPEC, TRADE_GAPS_SPEC, TRADES_SPEC, VENUE_CANDLES_SPEC
from spark_jobs.tables.schema_evolution import stored_schema

__all__ = ["LAYOUTS", "STEPS", "RoundContext", "Step"]

LAYOUTS: dict[str, Layout] = {
    "prices": Layout(PRICES_SPEC.schema, "asset_id", "tick_ts", PRICES_SPEC.stats_columns),
    "raw": Layout(RAW_SPEC.schema, "provider", "tick_ts", RAW_SPEC.stats_columns),
    DEAD_TABLE: Layout(file_schema(DEAD_LETTERS), "topic", "kafka_ts", ("kafka_ts", "kafka_offset")),
    "trades": Layout(TRADES_SPEC.schema, "venue_symbol", "ts", TRADES_SPEC.stats_columns),
    "trade_gaps": Layout(TRADE_GAPS_SPEC.schema, "venue_symbol", "opened_ts", TRADE_GAPS_SPEC.stats_columns),
    "venue_candles": Layout(VENUE_CANDLES_SPEC.schema, "venue_symbol", "ts", VENUE_CANDLES_SPEC.stats_columns),
    "quotes": Layout(QUOTES_SPEC.schema, "venue_symbol", "ts", QUOTES_SPEC.stats_columns),
}
"""Tables that the lake job writes, with the sort order of compaction."""

_MERGE_S = 60.0
"""Time limit for merges of a table in a round, so that the other steps also run; the rest waits for the next round."""

log = get_logger("maintenance")


@dataclass
class RoundContext:
    """State shared by the steps.

    Attributes:
        scratch: folder for this round's files.
        tables: tables to maintain; empty means all.
        now: time (UTC) used to close and remove days.
        clock_warning: warning about this machine's clock; empty if none.
        check: raises if another round has taken over; called before a table is changed or a file deleted.
        at: called with the name of each completed stage of a merge; may raise to end the step.
        say: receives the round's progress text.
        figures: counts by metric name.
        window_ms: longest time in which a plain reader could see rows twice.
        listed: by table, the last listing of its day folders: path and ETag.
    """

    settings: Settings
    scratch: Path
    tables: tuple[str, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock_warning: str = ""
    check: Callable[[], None] = lambda: None
    at: Callable[[str], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    figures: Counter[str] = field(default_factory=Counter)
    window_ms: float = 0.0
    listed: dict[str, dict[str, str]] = field(default_factory=dict)
    _opened: dict[str, DeltaTable] = field(default_factory=dict)
    _missing: set[str] = field(default_factory=set)

    @property
    def client(self) -> Minio:
        return minio_client(S3Access.of(self.settings.s3))

    @property
    def rule(self) -> DayRule:
        lake = self.settings.lake
        return DayRule(self.now(), timedelta(seconds=lake.close_after_s), timedelta(seconds=lake.quiet_s))

    def wants(self, table: str) -> bool:
        return not self.tables or table in self.tables

    def address(self, table: str) -> TableAddress:
        return table_address(self.settings.s3, table)

    def list_days(self, table: str) -> dict[str, str]:
        self.listed[table] = found = dict(day_objects(self.client, self.address(table)))
        return found

    def open(self, table: str) -> DeltaTable | None:
        """The table; None before its first commit. Opened once in a round, since that reads the log back to its last checkpoint."""
        if table in self._missing or (table == "trade_candles" and "trades" in self._missing):
            return None
        if table not in self._opened and (found := open_table(self.address(table).uri, self.settings.s3.storage_options())) is not None:
            self._opened[table] = found
        if table in STREAM_TABLES and table not in self._opened:  # a pipeline without streams must not ask for them in each step
            self._missing.add(table)
        return self._opened.get(table)

    def newest(self, table: str) -> DeltaTable | None:
        """The same at its newest version."""
        if (known := self._opened.get(table)) is not None:
            known.update_incremental()
        return known or self.open(table)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a round. If `run` raises CryptoVizError, DeltaError, S3Error or OSError, the round continues with the next step."""

    name: str
    run: Callable[[RoundContext], None]


def _for_each_table(work: Callable[[RoundContext, str, DeltaTable], None], names: Iterable[str] = LAYOUTS) -> Callable[[RoundContext], None]:
    def run(context: RoundContext) -> None:
        for name in names:
            table = context.open(name) if context.wants(name) else None
            if table is not None:
                work(context, name, table)

    return run


def _sweep(context: RoundContext) -> None:
    for name in LAYOUTS:
        if context.wants(name) and (name not in STREAM_TABLES or context.open(name) is not None):
            listed = context.list_days(name)  # before the log is read, so that a file that is committed meanwhile is in it
            table = context.newest(name)
            if table is not None:
                context.figures["leftovers_removed"] += remove_leftovers(context.client, context.address(name), listed, table, context.check)


def _retain(context: RoundContext, name: str, table: DeltaTable) -> None:
    lake = context.settings.lake
    keep = {"prices": lake.prices_keep_days, "raw": lake.raw_keep_days, DEAD_TABLE: lake.dead_letters_keep_days}.get(name, lake.trades_keep_days)
    dropped = drop_old_days(context.client, context.address(name), table, keep, context.now().date(), context.check)
    if dropped:
        context.listed.pop(name, None)
    context.figures["files_expired"] += dropped


def _compact(context: RoundContext, name: str, table: DeltaTable) -> None:
    layout = replace(LAYOUTS[name], schema=stored_schema(table, LAYOUTS[name].schema))
    compactor = Compactor(context.address(name), layout, context.client, context.scratch, context.at)
    deadline = time.monotonic() + _MERGE_S
    given_up: set[str] = set()
    failure: LakeError | None = None
    while time.monotonic() < deadline:
        group = next(
            (
                group
                for day, files in days_of(table).items()
                if (group := next_merge(files, closed=context.rule.closed(day, files), small_files=context.settings.lake.compact_files))
                and not given_up & {file.path for file in group}
            ),
            None,
        )
        if group is None:
            break
        context.say(f"merging {len(group)} files of {name}, {group[0].day}")
        try:
            done = compactor.compact(table, group)
        except LakeError as error:  # this day stays unchanged; the other days continue
            log.warning("files_not_merged", table=name, day=str(group[0].day), error=error.message)
            given_up |= {file.path for file in group}
            failure = error
            table.update_incremental()
            continue
        context.figures.update(
            merges=1, files_before=done.files, files_after=1, bytes_before=done.bytes_before, bytes_after=done.bytes_after, rows_merged=done.rows
        )
        context.window_ms = max(context.window_ms, done.window_ms)
    if failure is not None:
        raise failure


def _mark(context: RoundContext, name: str, table: DeltaTable) -> None:
    context.check()
    listed = context.listed.get(name)
    marked, unmarked = mark_days(context.client, context.address(name), table, context.rule, context.list_days(name) if listed is None else listed)
    context.figures.update(days_marked=marked, days_unmarked=unmarked)


def _candles(context: RoundContext) -> None:
    prices = context.newest("prices") if context.wants("candles") else None
    if prices is not None:
        days, ticks = CandleBuilder(context.settings, context.client, context.check).build(prices, context.now(), partial(context.newest, "candles"))
        context.figures.update(candle_days_made=days, candle_ticks_read=ticks)


def _trade_candles(context: RoundContext) -> None:
    trades = context.newest("trades") if context.wants("trade_candles") else None
    if trades is not None:
        days, read = TradeCandleBuilder(context.settings, context.client, context.check).build(
            trades, context.now(), partial(context.newest, "trade_candles")
        )
        context.figures.update(trade_candle_days_made=days, trade_candle_trades_read=read)


def _shorten(context: RoundContext, name: str, table: DeltaTable) -> None:
    context.check()
    context.figures["checkpoints"] += shorten_log(context.client, context.address(name), table, clean=not context.clock_warning)


def _gaps(context: RoundContext) -> None:
    if not context.wants("gaps"):
        return
    context.check()
    found = find_gaps(context.settings, epoch_ms(context.now()), context.newest, at_once="gaps" in context.tables)
    if found is not None:
        context.figures.update(gap_days_read=found.days_read, gap_days_changed=found.days_changed)


STEPS: tuple[Step, ...] = (
    Step("sweep", _sweep),
    Step("retention", _for_each_table(_retain)),
    Step("compact", _for_each_table(_compact)),
    Step("mark", _for_each_table(_mark)),
    Step("candles", _candles),
    Step("trade candles", _trade_candles),
    Step("gaps", _gaps),
    Step("log", _for_each_table(_shorten, MAINTAINED)),
)
"""In order of execution."""
