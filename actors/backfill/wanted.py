"""Which ticks a backfill has to bring: those of the ledger's open gaps, those before recording began, without what is there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake.exceptions import DeltaError, TableNotFoundError

from actors.producer_ids import COLLECTOR
from cryptoviz.errors import EngineUnavailable
from cryptoviz.gaps import Gap, open_gaps
from cryptoviz.kafka import KafkaClients, progress_of
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import table_address
from cryptoviz.lake.progress import read_progress
from cryptoviz.lake.schema import TIME
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.operations import BackfillArguments
from cryptoviz.records import Kind
from cryptoviz.settings import Settings

__all__ = ["Missing", "first_live_ticks", "settled_before", "ticks_wanted"]

_SETTLE_TICKS = 3
"""Ticks so young are being collected."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks_wanted(
    arguments: BackfillArguments, asset_id: str, gaps: Sequence[Gap], first_live: int | None, tick_ms: int, end_ms: int
) -> Iterator[range]:
    """The asset's ticks to bring, before `end_ms`, in runs.

    Those of the ledger's gaps that are not filled; and, when the arguments name a start before the first live row, the grid of `tick_ms` up to it.
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
    """Ticks before this one (UTC epoch ms) come from the collector no more: a look after this call finds all of them that it brought.

    It publishes in order: a tick up to its newest published one, which its progress names, is there or will never be, however long it was paused
    or Kafka away. A collector that has published nothing to the topic yet holds at most what its queue takes. Raises EngineUnavailable.
    """
    collect = settings.collect
    progress = progress_of(settings.kafka, COLLECTOR, settings.kafka.stream_topic, clients)
    settled_ms = now_ms - _SETTLE_TICKS * collect.tick_ms
    if progress is not None and progress.position is not None:
        return min(settled_ms, progress.position + 1)
    return settled_ms - collect.queue_ticks * collect.tick_ms - round(collect.clock_skew_s * 1000)


def first_live_ticks(settings: Settings) -> dict[str, int]:
    """By asset, the first tick with a live row in the lake (UTC epoch ms). Raises EngineUnavailable."""
    found: dict[str, int] = {}
    for rows in _rows(settings, ds.field("kind") == Kind.LIVE.value)[1]:
        firsts = pa.table(rows).group_by("asset_id").aggregate([("tick_ts", "min")])
        for asset_id, first in zip(firsts["asset_id"].to_pylist(), _ms(firsts["tick_ts_min"]), strict=True):
            found[asset_id] = min(first, found.get(asset_id, first))
    return found


class Missing:
    """Wanted ticks that have no row of either kind, in the lake or in Kafka on its way there. Blocking; for one thread at a time.

    Attributes:
        left: by asset.
    """

    def __init__(self, settings: Settings, wanted: dict[str, set[int]]) -> None:
        self._settings = settings
        # How far each partition was looked at: by the lake's progress, then by us.
        self._seen: dict[tuple[str, int], int] = {}
        self.left = wanted

    @property
    def count(self) -> int:
        """Ticks of all assets."""
        return sum(map(len, self.left.values()))

    def load(self) -> None:
        """Leave out what the lake holds, then what Kafka holds past it. Raises EngineUnavailable."""
        ticks = [tick for of in self.left.values() for tick in of]
        if ticks:
            low, high = (pa.scalar(_EPOCH + timedelta(milliseconds=one), TIME) for one in (min(ticks), max(ticks)))
            self._seen, batches = _rows(self._settings, (ds.field("tick_ts") >= low) & (ds.field("tick_ts") <= high))
            for rows in batches:
                for asset_id in pc.unique(rows["asset_id"]).to_pylist():
                    own = rows.filter(pc.equal(rows["asset_id"], asset_id))
                    self.left.get(asset_id, set()).difference_update(_ms(own["tick_ts"]))
        self.refresh()

    def refresh(self) -> None:
        """Leave out what was published since the last look, or since the lake's version that `load` read. Raises EngineUnavailable."""
        kafka, topic = self._settings.kafka, self._settings.kafka.stream_topic
        topic_id, bounds = topic_ends(kafka, topic, settled=True)
        spans = {partition: (max(first, self._seen.get((topic_id, partition), first)), end) for partition, (first, end) in bounds.items()}
        for message in read_topic(kafka, topic, spans):
            try:
                record: Any = orjson.loads(message.value() or b"")
                self.left.get(record["asset_id"], set()).discard(record["tick_ts"])
            except (ValueError, KeyError, TypeError):
                continue  # it becomes a dead letter
        self._seen |= {(topic_id, partition): end for partition, (_, end) in spans.items()}


def _rows(settings: Settings, condition: Any) -> tuple[dict[tuple[str, int], int], Iterator[pa.RecordBatch]]:
    """How far the prices table is, and its rows in batches."""
    address = table_address(settings.s3, "prices")
    try:
        table = DeltaTable(address.uri, storage_options=settings.s3.storage_options())
        progress = read_progress(table)
        batches = table.to_pyarrow_dataset().to_batches(columns=["asset_id", "tick_ts", "kind"], filter=condition)
        return ({} if progress is None else dict(progress.offsets)), batches
    except TableNotFoundError:
        return {}, iter(())
    except (DeltaError, OSError) as error:
        raise EngineUnavailable(f"the object store did not return {address.uri}: {error}", engine="object-store") from error


def _ms(column: Any) -> list[int]:
    ticks: list[int] = pc.divide(column.cast(pa.int64()), 1000).to_pylist()
    return ticks
