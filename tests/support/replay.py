"""Shared by the tests of replay: rows of raw exchanges and unified records, as the lake returns them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from actors.replay.row_diff import Comparison
from actors.replay.run import Replay, RowsFile
from cryptoviz.lake.rows import Rows
from cryptoviz.lake.schema import PRICES, RAW


class RowsOfTopics:
    """Committed values of both topics as tables like those of the lake job. A test may change them."""

    def __init__(self, raw: Iterable[bytes], stream: Iterable[bytes]) -> None:
        self.raw_rows: list[dict[str, Any]] = [
            orjson.loads(value) | {"kafka_offset": offset} for offset, value in enumerate(raw)
        ]  # fmt: skip
        self.price_rows: list[dict[str, Any]] = [orjson.loads(value) for value in stream]

    def raw(self, *, start: datetime, end: datetime, columns: Sequence[str]) -> Rows:
        rows = [row | {"rate_limit_headers": orjson.dumps(row["rate_limit_headers"]).decode()} for row in self.raw_rows]
        return Rows(_within(_table(RAW, rows), start, end).select(columns))

    def prices(self, *, start: datetime, end: datetime, columns: Sequence[str]) -> Rows:
        rows = _within(_table(PRICES, self.price_rows), start, end)
        return Rows(rows.sort_by([("tick_ts", "ascending"), ("asset_id", "ascending")]).select(columns))

    def query(self, sql: str) -> Rows:
        connection = duckdb.connect(":memory:")
        connection.register("raw", self.raw(start=datetime(2009, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC), columns=RAW.names).arrow())
        return Rows(connection.sql(sql).to_arrow_table())

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From the first tick until after the last."""
        ticks = [row["tick_ts"] for row in (*self.raw_rows, *self.price_rows)]
        return _moment(min(ticks)), _moment(max(ticks) + 1)


async def replayed(rows: RowsOfTopics, out: RowsFile | None = None) -> Comparison:
    """All rows."""
    replay = Replay(rows, *rows.span, out)
    for start, end in replay.windows:
        await replay.window(start, end)
    return replay.comparison


def _table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    columns: dict[str, list[Any]] = {column.name: [] for column in schema}
    for row in rows:
        day = _moment(row["tick_ts"])
        known = row | {"year": day.year, "month": day.month, "day": day.day, "kafka_topic_id": "t", "kafka_partition": 0}
        for column in schema:
            value = known.get(column.name, 0)
            columns[column.name].append(value * 1000 if value is not None and pa.types.is_timestamp(column.type) else value)
    return pa.table(columns, schema=schema)


def _within(table: pa.Table, start: datetime, end: datetime) -> pa.Table:
    ticks = table.column("tick_ts")
    low, high = (pa.scalar(moment, pa.timestamp("us", tz="UTC")) for moment in (start, end))
    return table.filter(pc.and_(pc.greater_equal(ticks, low), pc.less(ticks, high)))


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
