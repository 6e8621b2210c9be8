"""Replay: runs the recorded exchanges of a time range through the present parsers and collector, and compares the rows with the lake.

Reads only the lake. The time range is read in windows, which bounds memory; a tick is never split between two windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.collecting.tick_recorder import RecordedRules, RecordedTick, rules_from, tick_from
from actors.replay.row_diff import COLUMNS, Comparison, unified_row
from actors.replay.tick import Replayer
from cryptoviz.audit import RECORDER, TICK
from cryptoviz.errors import RecordError
from cryptoviz.lake.rows import Rows
from cryptoviz.lake.schema import PRICES
from cryptoviz.records import Kind, RawExchange, UnifiedRecord
from cryptoviz.times import epoch_ms, utc

__all__ = ["WINDOW", "LakeRows", "Replay", "RowsFile"]

WINDOW = timedelta(minutes=5)
"""About 60 MB for the bodies of six providers with 17 coins every 2 s."""
_RAW_COLUMNS = (*(field.name for field in fields(RawExchange)), "kafka_offset")
_RULES_SQL = """
SELECT fetch_id, endpoint, body FROM raw
WHERE year = {day.year} AND month = {day.month} AND day = {day.day} AND provider = '{provider}' AND endpoint <> '{tick}'
"""


class LakeRows(Protocol):
    """The part of `cryptoviz.lake.reader.Lake` that a replay uses."""

    def raw(self, *, start: datetime, end: datetime, columns: Sequence[str]) -> Rows:
        """Raw rows of [start, end)."""

    def prices(self, *, start: datetime, end: datetime, columns: Sequence[str]) -> Rows:
        """Unified records of [start, end), sorted by tick and asset."""

    def query(self, sql: str) -> Rows:
        """The result of a SELECT."""


@dataclass(slots=True)
class _Tick:
    """A tick in the lake: the body of the collector's record and the rows."""

    body: str | None
    rows: list[dict[str, Any]]


class Replay:
    """Replays ticks from `start` (inclusive) to `end` (exclusive): iterate over `windows` and call `window` for each."""

    def __init__(self, lake: LakeRows, start: datetime, end: datetime, out: RowsFile | None = None) -> None:
        self._lake = lake
        self._start, self._end = start.astimezone(UTC), end.astimezone(UTC)
        self._out = out
        self._replayer = Replayer()
        self._rules: dict[str, RecordedRules] = {}
        self._rules_day: date | None = None
        self.comparison = Comparison()

    @property
    def windows(self) -> list[tuple[datetime, datetime]]:
        """The time ranges to read one after the other; none crosses midnight (UTC)."""
        return list(_windows(self._start, self._end))

    async def window(self, start: datetime, end: datetime) -> None:
        """Replay and compare the ticks of one window.

        Raises:
            EngineUnavailable: the object store does not answer.
        """
        ticks, exchanges = await asyncio.to_thread(self._read, start, end)
        for tick_ts in sorted(ticks):
            # A replayed poll never waits: yield to other tasks.
            await asyncio.sleep(0)
            # Skip ticks with exchanges only: from a backfill, or of a dropped tick, which is in the gap ledger.
            if ticks[tick_ts].body is not None or ticks[tick_ts].rows:
                await self._tick(tick_ts, ticks[tick_ts], exchanges)

    def _read(self, start: datetime, end: datetime) -> tuple[dict[int, _Tick], dict[str, RawExchange]]:
        ticks, exchanges = _recorded(self._lake.raw(start=start, end=end, columns=_RAW_COLUMNS).arrow().to_pylist())
        for row in _rows(self._lake.prices(start=start, end=end, columns=COLUMNS).arrow()):
            ticks.setdefault(row["tick_ts"], _Tick(None, [])).rows.append(row)
        return ticks, exchanges

    async def _tick(self, tick_ts: int, found: _Tick, exchanges: Mapping[str, RawExchange]) -> None:
        try:
            tick = _tick_of(tick_ts, found)
            rules = self._rules.get(tick.rules_id)
            if rules is None:
                rules = await asyncio.to_thread(self._rules_of, tick)
            records = await self._replayer.records(tick, rules, exchanges)
        except RecordError as error:
            self.comparison.not_replayed(tick_ts, len(found.rows), error.reason or "unreadable", error.message)
            return
        states = self.comparison.tick(found.rows, records)
        if self._out is not None:
            self._out.write(records, states)

    def _rules_of(self, tick: RecordedTick) -> RecordedRules:
        day = utc(tick.closed.tick_ts).date()
        if self._rules_day != day:
            self._rules_day = day
            rows = self._lake.query(_RULES_SQL.format(provider=RECORDER, tick=TICK, day=day)).arrow()
            self._rules |= rules_from(rows.to_pylist())
        found = self._rules.get(tick.rules_id)
        if found is None:
            raise RecordError(f"the rules {tick.rules_id} of the tick are not in the recording of {day}", reason="rules")
        return found


class RowsFile:
    """Writes replayed rows to a Parquet file: columns of the prices table and `replay` (`equal`, `different`, `extra`). Must be closed."""

    def __init__(self, path: Path) -> None:
        self._schema = pa.schema([*(PRICES.field(name) for name in COLUMNS), pa.field("replay", pa.string(), nullable=False)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="snappy")

    def write(self, records: Sequence[UnifiedRecord], states: Sequence[str]) -> None:
        rows = [unified_row(record) | {"replay": state} for record, state in zip(records, states, strict=True)]
        columns = {column.name: [_arrow(row[column.name], column.type) for row in rows] for column in self._schema}
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _arrow(value: Any, kind: pa.DataType) -> Any:
    return value * 1000 if value is not None and pa.types.is_timestamp(kind) else value


def _windows(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        stop = min(start + WINDOW, midnight, end)
        yield start, stop
        start = stop


def _recorded(rows: list[dict[str, Any]]) -> tuple[dict[int, _Tick], dict[str, RawExchange]]:
    """Ticks by time, exchanges by id. If a tick was recorded twice, the later record counts: the earlier one had no rows."""
    ticks: dict[int, _Tick] = {}
    exchanges: dict[str, RawExchange] = {}
    for row in sorted(rows, key=lambda row: row["kafka_offset"]):
        tick_ts = epoch_ms(row["tick_ts"])
        tick = ticks.setdefault(tick_ts, _Tick(None, []))
        if row["provider"] != RECORDER:
            exchanges[row["fetch_id"]] = RawExchange(
                row["fetch_id"], row["provider"], row["endpoint"], tick_ts, epoch_ms(row["started_ts"]), epoch_ms(row["finished_ts"]), row["status"],
                row["outcome"], row["error"], orjson.loads(row["rate_limit_headers"] or "{}"), row["attempt"], row["body"],
            )  # fmt: skip
        elif row["endpoint"] == TICK:
            tick.body = row["body"] or ""
    return ticks, exchanges


def _rows(prices: pa.Table) -> Iterator[dict[str, Any]]:
    live = prices.filter(pc.equal(prices.column("kind"), Kind.LIVE.value))
    for row in live.to_pylist():
        yield {name: epoch_ms(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _tick_of(tick_ts: int, found: _Tick) -> RecordedTick:
    if found.body is None:
        raise RecordError("no record of the collector: the tick was not published, or by a version without recordings", reason="unrecorded")
    return tick_from(tick_ts, found.body)
