"""Micro-batch processing: executors write data files, the driver commits them. Called by Spark's foreachBatch, one batch at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from cryptoviz.errors import CryptoVizError, LakeError, TransientError
from cryptoviz.lake.objects import S3Access
from cryptoviz.lake.progress import merge
from cryptoviz.lake.schema import DEAD_TABLE
from cryptoviz.log import get_logger, log_context
from cryptoviz.telemetry.tracing import span, tracing
from spark_jobs.streaming.batch_plan import Ranges
from spark_jobs.streaming.kafka_admin import KafkaTopics
from spark_jobs.streaming.kafka_range_reader import OffsetRange
from spark_jobs.streaming.tasks import Tasks
from spark_jobs.streaming.traced_ticks import TracedRecords, write_spans
from spark_jobs.streaming.write import TopicSpec, WriteSpec
from spark_jobs.tables.engine_retry import EngineRetry
from spark_jobs.tables.parquet import TablePart, WrittenPart
from spark_jobs.tables.table_log import TableLog

__all__ = ["BatchStats", "BatchWriter"]

_ORDER = (DEAD_TABLE, "raw", "trade_gaps", "trades", "venue_candles", "quotes", "prices")
"""Of the tables' commits."""

log = get_logger("lake")

Position = Mapping[tuple[str, int], int]
"""(topic name, partition) to an offset."""


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Totals of this run. `batch_records` and `batch_ms`: of the last batch. `commit_s`: monotonic time of the last commit, None before the first."""

    rows: int = 0
    dead_letters: int = 0
    files: int = 0
    batches: int = 0
    batch_records: int = 0
    batch_ms: float = 0.0
    commit_s: float | None = None


class BatchWriter:
    """Commits Spark's batches. `position` and `stats` may be read from other threads."""

    def __init__(
        self, topics: Mapping[str, TopicSpec], logs: Mapping[str, TableLog], kafka: KafkaTopics, tasks: Tasks, access: S3Access, max_bytes: int
    ) -> None:
        """`topics` by name; `logs` by table, already opened."""
        self.stats = BatchStats()
        self.position: Position = {}
        self.failure: CryptoVizError | None = None
        self._topics = topics
        self._logs = logs
        self._kafka = kafka
        self.tasks = tasks
        self._access = access
        self._max_bytes = max_bytes
        self._stopping = threading.Event()
        self.engine_retry = EngineRetry(self._stopping)
        self.check_owner: Callable[[], None] = lambda: None
        """Called before each batch and before its commits; raises when this job must stop."""
        self.write_plan: Callable[[Ranges], None] = lambda _: None
        """Records the offset ranges of a batch (`BatchPlan.write`) before its first file is written."""
        self.avoid: Mapping[str, frozenset[str]] = {}
        """See `WriteSpec`."""
        self._idle = threading.Event()
        self._idle.set()

    def set_position(self, position: Position) -> None:
        """Set the offsets at which the query starts."""
        self.position = dict(position)

    def drain(self, timeout_s: float) -> bool:
        """Refuse further batches and wait for the current one. Returns False if it did not end in time."""
        self._stopping.set()
        return self._idle.wait(timeout_s)

    def run(self, ends: Position, *, again: bool = False) -> None:
        """Write and commit one batch that ends at `ends`. `again`: an earlier run may have written files of this batch to any table.

        Raises:
            CryptoVizError: the batch failed without loss or duplicates; the query ends and a new run resumes from the last commits.
        """
        self._idle.clear()
        try:
            if self._stopping.is_set():
                raise LakeError("the lake job is stopping")
            self.check_owner()
            self._run(ends, again=again)
        except CryptoVizError as error:
            if not self._stopping.is_set():
                self.failure = error
            raise
        finally:
            self.engine_retry.reset()
            self._idle.set()

    def _run(self, ends: Position, *, again: bool) -> None:
        begun = time.monotonic()
        moved = {key for key, end in ends.items() if end > self.position.get(key, 0)}
        ranges = [
            OffsetRange(topic, partition, self.position.get((topic, partition), 0), ends[topic, partition]) for topic, partition in sorted(moved)
        ]
        with log_context(ranges=",".join(f"{each.topic}[{each.partition}]={each.start}-{each.end}" for each in ranges)):
            parts, committed = self._traced_batch(ranges, ends, moved, again=again)
            self._batch_done(parts, ends, begun, committed=committed)

    def _traced_batch(self, ranges: list[OffsetRange], ends: Position, moved: set[tuple[str, int]], *, again: bool) -> tuple[list[TablePart], bool]:
        """Write and commit in a span. Returns the files, and whether a table was committed."""
        begun_ns = time.time_ns()
        with span("lake batch", {}, parent="") as batch:
            if ranges:
                planned = {(self._topics[each.topic].topic_id, each.partition): (each.start, each.end) for each in ranges}
                self.engine_retry.run(lambda: self.write_plan(planned))
            with span("write files", {"cryptoviz.ranges": len(ranges)}):
                found = self.engine_retry.run(lambda: self._write(ranges)) if ranges else []
            parts = [one for one in found if isinstance(one, TablePart)]
            self.engine_retry.run(self._check_topics)
            self.check_owner()
            committed = self._commit(parts, ends, moved, again=again)
            if batch.context:
                traced = [one for one in found if isinstance(one, TracedRecords)]
                batch.link(dict.fromkeys(one.context for one in traced))
                batch.set({"cryptoviz.files": len(parts), "cryptoviz.rows": sum(part.part.rows for part in parts)})
                versions = {topic: (of.spec.table, self._logs[of.spec.table].version) for topic, of in self._topics.items()}
                write_spans(traced, versions, batch.context, begun_ns)
        return parts, committed

    def _batch_done(self, parts: list[TablePart], ends: Position, begun: float, *, committed: bool) -> None:
        now = time.monotonic()
        rows = {table: sum(part.part.rows for part in parts if part.table == table) for table in self._logs}
        self.stats = replace(
            self.stats,
            rows=self.stats.rows + sum(count for table, count in rows.items() if table != DEAD_TABLE),
            dead_letters=self.stats.dead_letters + rows[DEAD_TABLE],
            files=self.stats.files + len(parts),
            batches=self.stats.batches + 1,
            batch_records=sum(rows.values()),
            batch_ms=(now - begun) * 1000,
            commit_s=now if committed else self.stats.commit_s,
        )
        self.position = merge(self.position, ends)
        ticks = sorted({tick for part in parts for tick in part.ticks})
        log.debug("batch", files=len(parts), ms=round(self.stats.batch_ms), ticks=",".join(map(str, ticks)), **rows)

    def _write(self, ranges: list[OffsetRange]) -> list[TablePart | TracedRecords]:
        plan = WriteSpec(
            topics=self._topics,
            tables={table: log_.address for table, log_ in self._logs.items()},
            access=self._access,
            max_bytes=self._max_bytes,
            skip_below={table: log_.progress.offsets for table, log_ in self._logs.items()},
            avoid=self.avoid,
            traced=tracing(),
        )
        found = self.tasks.write(plan, ranges)
        errors = [one for one in found if isinstance(one, CryptoVizError)]
        if errors:
            self._check_topics()  # a re-created topic explains the tasks' errors, and a retry would not help
            raise min(errors, key=lambda error: isinstance(error, TransientError))
        return [one for one in found if not isinstance(one, CryptoVizError)]

    def _check_topics(self) -> None:
        """Compare topic ids: a topic re-created during the batch has the same name and other records, so its offsets must not be committed."""
        for topic, (topic_id, _) in self._kafka.describe().items():
            if topic_id != self._topics[topic].topic_id:
                raise LakeError(
                    f"topic {topic} was re-created (id {self._topics[topic].topic_id} is now {topic_id}): this run ends and the next one starts at "
                    "the new topic's beginning",
                    topic=topic,
                )

    def _commit(self, parts: Iterable[TablePart], ends: Position, moved: set[tuple[str, int]], *, again: bool) -> bool:
        """Commit dead letters first, prices last. A table whose topic moved commits even without files, so that its progress keeps up. When a
        batch is repeated (`again`), all tables commit, so that leftovers of the first attempt lie below their progress.
        """
        by_table: dict[str, list[WrittenPart]] = {}
        for part in parts:
            by_table.setdefault(part.table, []).append(part.part)
        committed = False
        for table in sorted(self._logs, key=_ORDER.index):
            own = {
                (plan.topic_id, partition): ends[topic, partition]
                for topic, partition in moved
                if (plan := self._topics[topic]) and table in (DEAD_TABLE, plan.spec.table)
            }
            files = by_table.get(table, [])
            if files or (own and (again or table != DEAD_TABLE)):
                with span("commit", {"cryptoviz.table": table, "cryptoviz.files": len(files)}) as commit:
                    self.engine_retry.run(partial(self._logs[table].commit, files, own))
                    if commit.context:
                        commit.set({"cryptoviz.table_version": self._logs[table].version})
                committed = True
        return committed
