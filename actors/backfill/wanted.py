"""Ticks that a backfill must fill: open gaps of the gap ledger and ticks before the first live row, without rows that already exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from actors.publishing.kafka_transport import COLLECTOR
from cryptoviz.gaps import SETTLE_TICKS, Gap, open_gaps
from cryptoviz.kafka import KafkaClients, producer_id, progress_of
from cryptoviz.lake.delta import TABLE_ERRORS, DeltaTable, read_newest
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.schema import TIME
from cryptoviz.lake.store_errors import store_errors
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.operations import BackfillArguments
from cryptoviz.records import Kind
from cryptoviz.settings import Settings
from cryptoviz.times import utc

__all__ = ["UnfilledTicks", "first_live_ticks", "settled_before", "ticks_wanted"]


def ticks_wanted(
    arguments: BackfillArguments, asset_id: str, gaps: Sequence[Gap], first_live: int | None, tick_ms: int, end_ms: int
) -> Iterator[range]:
    """The asset's ticks to fill before `end_ms`, as ranges.

    Ticks of open gaps and, if `arguments.start_ms` is before the first live row, all multiples of `tick_ms` up to that row.
    """
    start_ms = arguments.start_ms
    if start_ms is not None:
        before_ms = end_ms if first_live is None else min(end_ms, first_live)
        first = start_ms + -start_ms % tick_ms
        if first < before_ms:
            yield range(first, before_ms, tick_ms)
    for gap in open_gaps(gaps, (asset_id,), start_ms, end_ms):
        skipped = 0 if start_ms is None else max(0, -(-(start_ms - gap.from_ms) // gap.tick_ms))
        yield range(gap.from_ms + skipped * gap.tick_ms, min(gap.to_ms + 1, end_ms), gap.tick_ms)


def settled_before(settings: Settings, now_ms: int, clients: KafkaClients | None = None) -> int:
    """The tick (UTC epoch ms) before which the collector publishes no more ticks: a read after this call finds all that it has published.

    The collector publishes in order, so a tick before the position of its progress is either in the topic or never will be, however long the
    collector was paused or Kafka unavailable. Without progress, at most the ticks in its queue are still to come. Raises EngineUnavailable.
    """
    collect = settings.collect
    topic = settings.kafka.stream_topic
    progress = progress_of(settings.kafka, producer_id(COLLECTOR, topic), topic, clients)
    settled_ms = now_ms - SETTLE_TICKS * collect.tick_ms
    if progress is not None and progress.position is not None:
        return min(settled_ms, progress.position + 1)
    return settled_ms - collect.queue_ticks * collect.tick_ms - round(collect.clock_skew_s * 1000)


def first_live_ticks(settings: Settings) -> dict[str, int]:
    """The first tick with a live row in the lake, by asset (UTC epoch ms). Raises EngineUnavailable."""
    found: dict[str, int] = {}

    def take(rows: pa.RecordBatch) -> None:
        firsts = pa.table(rows).group_by("asset_id").aggregate([("tick_ts", "min")])
        for asset_id, first in zip(firsts["asset_id"].to_pylist(), _ms(firsts["tick_ts_min"]), strict=True):
            found[asset_id] = min(first, found.get(asset_id, first))

    _read(settings, ds.field("kind") == Kind.LIVE.value, take)
    return found


class UnfilledTicks:
    """Ticks to fill that have no row, live or backfill, in the lake or in Kafka after the lake's offsets. Blocking; for one thread at a time.

    Attributes:
        left: ticks without a row, by asset.
    """

    def __init__(self, settings: Settings, wanted: dict[str, set[int]]) -> None:
        self._settings = settings
        # Offsets up to which each partition was read: by the lake job, then here.
        self._seen: dict[tuple[str, int], int] = {}
        self.left = wanted

    @property
    def count(self) -> int:
        return sum(map(len, self.left.values()))

    def load(self) -> None:
        """Remove ticks with rows in the lake, then those with records in Kafka after the lake's offsets. Raises EngineUnavailable."""
        ticks = [tick for of in self.left.values() for tick in of]
        if ticks:
            low, high = (pa.scalar(utc(one), TIME) for one in (min(ticks), max(ticks)))
            self._seen = _read(self._settings, (ds.field("tick_ts") >= low) & (ds.field("tick_ts") <= high), self._take)
        self.refresh()

    def _take(self, rows: pa.RecordBatch) -> None:
        for asset_id in pc.unique(rows["asset_id"]).to_pylist():
            own = rows.filter(pc.equal(rows["asset_id"], asset_id))
            self.left.get(asset_id, set()).difference_update(_ms(own["tick_ts"]))

    def refresh(self) -> None:
        """Remove ticks published since the last call, or since the lake version read by `load`. Raises EngineUnavailable."""
        kafka, topic = self._settings.kafka, self._settings.kafka.stream_topic
        topic_id, bounds = topic_ends(kafka, topic, settled=True)
        spans = {partition: (max(first, self._seen.get((topic_id, partition), first)), end) for partition, (first, end) in bounds.items()}
        for message in read_topic(kafka, topic, spans):
            try:
                record: Any = orjson.loads(message.value() or b"")
                self.left.get(record["asset_id"], set()).discard(record["tick_ts"])
            except (ValueError, KeyError, TypeError):
                continue  # the record becomes a dead letter
        self._seen |= {(topic_id, partition): end for partition, (_, end) in spans.items()}


def _read(settings: Settings, condition: Any, take: Callable[[pa.RecordBatch], None]) -> dict[tuple[str, int], int]:
    """Give the rows of the prices table to `take`, and return the table's Kafka offsets. If maintenance replaces files meanwhile, rows come again."""
    address = table_address(settings.s3, "prices")

    def read(table: DeltaTable) -> dict[tuple[str, int], int]:
        for rows in table.to_pyarrow_dataset().to_batches(columns=["asset_id", "tick_ts", "kind"], filter=condition):
            take(rows)
        progress = read_progress(table)
        return {} if progress is None else dict(progress.offsets)

    with store_errors(address.endpoint, f"return {address.uri}", TABLE_ERRORS):
        return read_newest(address.uri, settings.s3.storage_options(), read) or {}


def _ms(column: Any) -> list[int]:
    ticks: list[int] = pc.divide(column.cast(pa.int64()), 1000).to_pylist()
    return ticks
