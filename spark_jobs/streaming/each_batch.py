"""The function that Spark calls for each of its batches, and the batches in it.

A plan of Spark takes 50 ms and writes two files, and records that come meanwhile wait for the next. So one batch of Spark is several of ours: until
10 s are over, the next begins with Kafka's end offsets of its own moment. Progress is in the Delta logs, so Spark need not know how far they went:
its next plan may end before the writer's position. A backlog, new partitions and an end are for the next plan of Spark.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.progress import merge, offsets_between
from cryptoviz.log import get_logger
from spark_jobs.streaming.batch import BatchWriter, Position
from spark_jobs.streaming.kafka_admin import KafkaTopics
from spark_jobs.streaming.record_watch import RecordWatch

__all__ = ["EachBatch"]

_LONGEST_S = 10.0
_ENDS_TIMEOUT_S = 2.0

log = get_logger("lake")


class EachBatch:
    """Without the session and the frame that PySpark's wrapper makes for each batch: the tasks read the records from Kafka.

    Args:
        writer: runs the batches.
        kafka, watch: say how far Kafka goes, and when it goes further.
        planned: the end offsets that Spark has planned for a batch.
        hand_over: called before each batch, see `Bridge`.
        report: called with the records of a batch of Spark.
        most: records that a batch may have.
    """

    class Java:
        """What Py4J reads."""

        implements = ("org.apache.spark.sql.execution.streaming.sources.PythonForeachBatchFunction",)

    def __init__(
        self,
        writer: BatchWriter,
        kafka: KafkaTopics,
        watch: RecordWatch,
        planned: Callable[[int], Position],
        hand_over: Callable[[], None],
        report: Callable[[int], None],
        most: int,
    ) -> None:
        self._writer = writer
        self._kafka = kafka
        self._watch = watch
        self._planned = planned
        self._hand_over = hand_over
        self._report = report
        self._most = most

    def call(self, frame: Any, batch_id: int) -> None:
        """Called by Spark. Raises as `BatchWriter.run`."""
        del frame
        self._hand_over()
        begun, records = time.monotonic(), 0
        planned = self._planned(batch_id)
        ends: Position | None = self._newest() or planned
        while ends is not None:
            self._writer.run(ends)
            records += self._writer.stats.batch_records
            self._watch.wait(self._writer.position)
            ends = None if self._watch.closed or time.monotonic() - begun > _LONGEST_S else self._newest()
        self._report(records)

    def _newest(self) -> Position | None:
        """Kafka's end offsets; None if a batch cannot go there from the writer's position, or Kafka does not say."""
        position = self._writer.position
        try:
            ends = merge(position, self._kafka.ends(list(position), _ENDS_TIMEOUT_S))
        except EngineUnavailable as error:
            log.debug("ends_unknown", error=str(error))
            return None
        return ends if 0 < offsets_between(position, ends) <= self._most else None
