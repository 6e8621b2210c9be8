"""Batches while Spark starts: the lake actor's own process runs the tasks, so that the lake is back before Spark is
([ADR 27](docs/adr/0027-bridge-while-spark-starts.md)).

They are batches like all others: planned, written and committed by the same `BatchWriter`, with the function that Spark's workers run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.progress import offsets_between
from cryptoviz.log import get_logger
from cryptoviz.settings import KafkaSettings, LakeSettings
from spark_jobs.streaming.batch import BatchWriter
from spark_jobs.streaming.kafka_admin import KafkaTopics
from spark_jobs.streaming.kafka_range_reader import OffsetRange, disconnect
from spark_jobs.streaming.tasks import Outcome, Tasks, write_ranges
from spark_jobs.streaming.write import WriteSpec
from spark_jobs.tables.engine_retry import EngineRetry

__all__ = ["Bridge", "OwnTasks"]

_REDO_S = 60.0  # a longer outage of an engine fails the start, which the controller repeats
_CLOSE_S = 5.0
_INTERVAL_S = 0.1

log = get_logger("lake")


class OwnTasks:
    """`spark_jobs.streaming.tasks.Tasks` in this process, one after the other."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    def write(self, plan: WriteSpec, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        """Write all ranges."""
        return list(write_ranges(plan, self._kafka, ranges))

    def close(self) -> None:
        """End the connection to Kafka."""
        disconnect(self._kafka)


class Bridge:
    """Runs batches of `writer` in a thread until Spark takes over. Between `start` and the return of `hand_over` nothing else may run the writer."""

    def __init__(self, writer: BatchWriter, kafka: KafkaTopics, own_tasks: OwnTasks, lake: LakeSettings) -> None:
        """`writer` has `own_tasks`. A backlog of more than `lake.bridge_records` waits for Spark, which is several times as fast with it, and
        whose start it would delay.
        """
        self._writer = writer
        self._kafka = kafka
        self._own_tasks = own_tasks
        self._most = lake.bridge_records
        self._interval_s = max(_INTERVAL_S, lake.trigger_ms / 1000)
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def redo(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Repeat the batch of an earlier run that ends at `ends`. Returns False, without having done it, if it is one for Spark.

        Raises:
            CryptoVizError: as `BatchWriter.run`.
        """
        if offsets_between(self._writer.position, ends) > self._most:
            return False
        self._batch(ends, EngineRetry(self._closed, _REDO_S), again=True)
        return True

    def start(self) -> None:
        """Begin to write new records."""
        self._thread = threading.Thread(target=self._run, name="lake-bridge", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise the error that has ended the thread, if any."""
        if self._error is not None:
            raise self._error

    def ready(self) -> None:
        """Spark can run tasks. From any thread."""
        self._ready.set()

    def hand_over(self, tasks: Tasks) -> None:
        """Wait until Spark is ready, end the thread after its batch, and give the writer `tasks`. Does nothing when repeated. A batch that waits for
        an engine is waited for, as Spark's own batches wait.

        Raises:
            CryptoVizError: the error that has ended the thread.
        """
        if self._writer.tasks is tasks:
            return
        self._ready.wait()
        self._ended.set()
        if self._thread is not None and not self._error:
            self._thread.join()
        self.check()
        self._own_tasks.close()
        self._writer.tasks = tasks

    def close(self) -> None:
        """End the thread and a waiting `hand_over`. A batch that does not end within 5 s is left to the fence of the next run."""
        self._error = self._error or LakeError("the lake job is stopping")
        self._ended.set()
        self._closed.set()
        self._ready.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        batches = records = 0
        try:
            while not self._ended.is_set():
                ends = self._ends()
                count = offsets_between(self._writer.position, ends)
                if 0 < count <= self._most:
                    self._batch(ends, EngineRetry(self._closed))
                    batches, records = batches + 1, records + count
                self._ended.wait(self._interval_s)
        except Exception as error:  # noqa: BLE001 (whatever it is, Spark must not continue after it)
            self._error = error
        log.info("spark_took_over", batches=batches, records=records)

    def _ends(self) -> Mapping[tuple[str, int], int]:
        """Kafka's end offsets; the writer's position, so that nothing is written, while Kafka does not answer."""
        try:
            return self._kafka.ends(list(self._writer.position))
        except EngineUnavailable as error:
            log.debug("ends_unknown", error=str(error))
            return self._writer.position

    def _batch(self, ends: Mapping[tuple[str, int], int], retry: EngineRetry, *, again: bool = False) -> None:
        whole, self._writer.engine_retry = self._writer.engine_retry, retry
        try:
            self._writer.run(ends, again=again)
        finally:
            self._writer.engine_retry = whole
