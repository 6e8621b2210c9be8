"""Where a price of the lake comes from: its row, the HTTP exchange that brought it, their records in Kafka and their files in the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptoviz.lake.files import DataFile
from cryptoviz.lake.parts import date_of_ms, parse_part, short_topic_id
from cryptoviz.lake.reader import Lake
from cryptoviz.times import epoch_ms, utc

__all__ = ["Provenance", "StoredRow", "trace_price"]

_RAW_WINDOW = timedelta(hours=1)
"""An exchange has the tick of the poll that sent it; a poll takes seconds."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of a table: its values by column, its Kafka record, and the lake's file with it, if the log names one.

    `maybe`: a compacted file of the day whose time range contains the row; its name does not tell its records.
    """

    table: str
    values: dict[str, Any]
    topic: str
    partition: int
    offset: int
    file: str | None
    maybe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """A price and its exchange; `exchange` is None until the lake has it."""

    price: StoredRow
    exchange: StoredRow | None


def trace_price(lake: Lake, topics: dict[str, str], asset_id: str, tick_ms: int) -> Provenance | None:
    """Trace the price of an asset at a tick (UTC epoch ms). `topics`: name of the topic by table. None if the lake has no such row (yet).

    Raises:
        EngineUnavailable: the object store does not answer.
    """
    tick = utc(tick_ms)
    end = tick + timedelta(milliseconds=1)
    every = [*lake.columns("prices")]
    rows = lake.prices(asset_id, start=tick, end=end, columns=every).arrow().to_pylist()
    if not rows:
        return None
    price = _stored(lake, "prices", topics, rows[-1], tick_ms)
    start, end = tick - _RAW_WINDOW, tick + _RAW_WINDOW
    found = lake.query(
        "SELECT * FROM raw WHERE fetch_id = $fetch_id AND tick_ts >= $start AND tick_ts < $end LIMIT 1",
        parameters={"fetch_id": price.values["fetch_id"], "start": start, "end": end},
    ).arrow()
    exchanges = found.to_pylist()
    return Provenance(price, _stored(lake, "raw", topics, exchanges[0], epoch_ms(exchanges[0]["tick_ts"])) if exchanges else None)


def _stored(lake: Lake, table: str, topics: dict[str, str], row: dict[str, Any], tick_ms: int) -> StoredRow:
    topic_id, partition, offset = row["kafka_topic_id"], row["kafka_partition"], row["kafka_offset"]
    files = lake.files(table).get(date_of_ms(tick_ms), ())
    exact = next((file.path for file in files if _has(file, topic_id, partition, offset)), None)
    maybe = () if exact else tuple(file.path for file in files if _may_have(file, row["tick_ts"]))
    return StoredRow(table, row, topics.get(table, table), partition, offset, exact or (maybe[0] if len(maybe) == 1 else None), maybe)


def _has(file: DataFile, topic_id: str, partition: int, offset: int) -> bool:
    part = parse_part(file.path)
    return part is not None and part.topic == short_topic_id(topic_id) and part.partition == partition and part.start <= offset <= part.end


def _may_have(file: DataFile, when: Any) -> bool:
    return parse_part(file.path) is None and (file.first is None or file.last is None or file.first <= when <= file.last)
