"""Monitors the running query: activity, executors and lag.

Spark reports a query without executors as active and without error. So activity is derived from completed batches, idle triggers
and the number of executors.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql.streaming import StreamingQueryListener

from cryptoviz.components import Probe
from cryptoviz.errors import CryptoVizError
from cryptoviz.lake.progress import offsets_between
from cryptoviz.log import get_logger
from cryptoviz.masking import clip
from spark_jobs.streaming.batch import BatchWriter
from spark_jobs.streaming.dead_letter_counts import DeadLetterCounter
from spark_jobs.streaming.health import HealthInputs, assess
from spark_jobs.streaming.kafka_admin import KafkaTopics
from spark_jobs.streaming.record_watch import RecordWatch
from spark_jobs.streaming.session import ExecutorAddresses
from spark_jobs.tables.lease import Lease

__all__ = ["QueryMonitor"]

log = get_logger("lake")

_EVERY_S = 1.0
_LAG_TIMEOUT_S = 2.0
_PARTITIONS_EVERY_S = 5.0
_ERROR_LINE = re.compile(r"[\w.$]*(Error|Exception|Unavailable)\b: \S")


class _Alive(StreamingQueryListener):
    """Time of the last completed batch or idle trigger (Spark reports at most one a second).

    It is Spark's listener itself: PySpark's wrapper would read each event, field by field, from the JVM.
    """

    class Java:
        implements = ("org.apache.spark.sql.streaming.PythonStreamingQueryListener",)

    def __init__(self, jvm: Any) -> None:
        self.last_s = time.monotonic()
        self.idle = False
        self._jlistenerobj = jvm.org.apache.spark.sql.streaming.PythonStreamingQueryListenerWrapper(self)

    def onQueryStarted(self, event: Any) -> None:
        """Ignored."""

    def onQueryProgress(self, event: Any) -> None:
        del event
        self.last_s = time.monotonic()

    def onQueryIdle(self, event: Any) -> None:
        del event
        self.idle = True
        self.last_s = time.monotonic()

    def onQueryTerminated(self, event: Any) -> None:
        """Ignored: `QueryMonitor` polls the query itself."""


class QueryMonitor:
    """Polls in its own thread, since Spark's driver may answer late or never. `probe` returns the last state."""

    def __init__(
        self,
        session: Any,
        writer: BatchWriter,
        kafka: KafkaTopics,
        lease: Lease,
        dead_letters: DeadLetterCounter,
        watch: RecordWatch,
        lost: Callable[[Sequence[str]], Sequence[str]] = lambda _: (),
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        """`lost`: those of the executors' addresses whose node has left the cluster. `abort` ends Spark at once: it would wait for them."""
        self._session = session
        self._writer = writer
        self._kafka = kafka
        self._lease = lease
        self._dead_letters = dead_letters
        self._records = watch
        self._lost = lost
        self._abort = abort
        self._alive = _Alive(session._jvm)
        self._addresses = ExecutorAddresses(session)
        self._query: Any = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lake-watch", daemon=True)
        self._active = True
        self._failure = ""
        self._executors: list[str] = []
        self._executors_seen_s = time.monotonic()
        self._looked_s = time.monotonic()
        self._lag = 0
        self._started_s = self._measured_s = self._described_s = time.monotonic()
        self._partitions = 0

    def watch(self, query: Any) -> None:
        self._query = query
        self._session.streams.addListener(self._alive)
        self._thread.start()
        self._dead_letters.start()

    def end(self, reason: str) -> None:
        """Report the query as ended, because Spark has; nothing after `close`."""
        if not self._closed.is_set():
            log.warning("spark_ended", reason=reason)
            self._failure = self._failure or reason
            self._active = False
            self.close()

    def close(self) -> None:
        """Stop; the last state stays readable."""
        self._closed.set()
        self._dead_letters.close()

    @property
    def ended(self) -> bool:
        """Whether the query had ended at the last poll."""
        return not self._active

    def probe(self, trigger_s: float, url: str) -> Probe:
        """State and metrics of the job for the controller."""
        now = time.monotonic()
        stats = self._writer.stats
        failure = self._writer.failure
        problem = self._writer.engine_retry.problem or self._lease.problem
        inputs = HealthInputs(
            active=self._active,
            failure=str(failure) if failure is not None else self._failure or self._lease.lost,
            alive_age_s=now - max(self._alive.last_s, stats.commit_s or 0.0, self._measured_s if self._records.waiting else 0.0),
            executors=len(self._executors),
            no_executor_s=now - self._executors_seen_s,
            watch_age_s=now - self._looked_s,
            lag_records=self._lag,
            problem=problem.message if problem else "",
            problem_s=now - problem.since_s if problem else 0.0,
        )
        healthy, message = assess(inputs, trigger_s)
        metrics = {
            "rows_total": float(stats.rows),
            **self._dead_letters.metrics(),
            "files_total": float(stats.files),
            "batches_total": float(stats.batches),
            "batch_ms": round(stats.batch_ms, 1),
            "lag_records": float(self._lag),
            "executors": float(len(self._executors)),
            "last_batch_age_s": round(inputs.alive_age_s, 1),
        }
        metrics["last_commit_age_s"] = round(now - (self._started_s if stats.commit_s is None else stats.commit_s), 1)
        # A run counts as delivering if an earlier run has already committed everything in Kafka.
        settled = self._alive.idle and not self._lag and any(self._writer.position.values())
        delivered = stats.batches > 0 or settled
        if healthy and not delivered and problem is None:
            message = f"no batch yet; {message}" if self._lag else "no batch yet: Kafka holds no record"
        return Probe(
            running=True,
            healthy=healthy,
            message=message,
            metrics=metrics,
            pid=os.getpid(),
            url=url,
            degraded=healthy and problem is not None and delivered,
            delivered=delivered,
            nodes=tuple(self._executors),
        )

    def _loop(self) -> None:
        had_news = False
        while not self._closed.wait(_EVERY_S):
            try:
                self._look()
            except (Py4JError, OSError) as error:  # the driver JVM has ended or hangs; `watch_age_s` shows it
                log.warning("spark_probe_failed", error=clip(f"{type(error).__name__}: {error}".splitlines()[0], 200))
            try:
                news = self._measure_lag()
            except CryptoVizError as error:
                log.debug("lag_unknown", error=str(error))
                self._records.wake()
                continue
            # Raw exchanges alone wait for the records of their tick, which follow at once: a batch for both costs half.
            if news and had_news:
                self._records.wake()
            had_news = news

    def _look(self) -> None:
        executors = self._addresses.now()
        now = time.monotonic()
        if executors:
            self._executors_seen_s = now
        self._executors = executors
        active = bool(self._query.isActive)
        if self._closed.is_set():
            return  # `end` knows better
        self._active = active
        self._looked_s = now
        if not self._active and not self._failure:
            error = self._query.exception()
            self._failure = "" if error is None else "the query failed: " + _cause(str(error))
        if lost := self._lost(executors):
            # Before the end of Spark, which `end` is called for too.
            self._failure = self._failure or f"the node of an executor has left the cluster: {', '.join(lost)}"
            self._abort()
            self.end(self._failure)

    def _measure_lag(self) -> bool:
        """Returns whether Kafka's end offsets or partitions differ from those of the last batch."""
        position = self._writer.position
        ends = self._kafka.ends(list(position), _LAG_TIMEOUT_S)
        self._lag = offsets_between(position, ends)
        self._measured_s = time.monotonic()
        if self._measured_s - self._described_s >= _PARTITIONS_EVERY_S:
            self._partitions = sum(count for _, count in self._kafka.describe(_LAG_TIMEOUT_S).values())
            self._described_s = self._measured_s
        return ends != position or self._partitions > len(position)


def _cause(text: str) -> str:
    """The error line of a Spark or Python stack trace."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line) and "Py4J" not in line]
    return clip((errors or lines or ["unknown"])[0], 400)
