"""The lake job: writes Kafka's topics to the lake's tables with one Spark query on RayDP. Blocking; `spark_jobs.streaming.actor` hosts it.

Start: read topic ids -> acquire the lease -> start Spark, unless `prepare` has; meanwhile fence the tables and read their progress -> take the batch
plan over -> sweep leftovers -> repeat the batch that an earlier run planned but did not commit -> write batches without Spark (`Bridge`) -> start the
query there. Progress is stored in the Delta logs only; the Spark checkpoint is scratch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from cryptoviz.components import Probe
from cryptoviz.engines.jars import spark_classpath
from cryptoviz.errors import CryptoVizError
from cryptoviz.kafka import java_config
from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.schema import DEAD_TABLE
from cryptoviz.lake.table_specs import TABLE_SPECS
from cryptoviz.log import get_logger
from cryptoviz.masking import clip
from cryptoviz.settings import LAKE_RUN_VARIABLE, Settings
from spark_jobs.streaming.batch import BatchWriter, Position
from spark_jobs.streaming.batch_plan import BatchPlan, Planned
from spark_jobs.streaming.bridge import Bridge, OwnTasks
from spark_jobs.streaming.cluster import DriverCluster
from spark_jobs.streaming.dead_letter_counts import DeadLetterCounter
from spark_jobs.streaming.driver_jvm import JvmStart
from spark_jobs.streaming.each_batch import EachBatch
from spark_jobs.streaming.earlier_writers import OnOtherNodes, end_on_all_nodes
from spark_jobs.streaming.executor_nodes import ExecutorNodes
from spark_jobs.streaming.input_rows import InputRows
from spark_jobs.streaming.kafka_admin import KafkaTopics, parse_batch_offsets
from spark_jobs.streaming.query_monitor import QueryMonitor
from spark_jobs.streaming.record_watch import RecordWatch
from spark_jobs.streaming.session import start_session, stop_session, task_slots
from spark_jobs.streaming.start_offsets import StartPoint, check_start, redo_ends
from spark_jobs.streaming.start_sweep import StartSweep
from spark_jobs.streaming.tasks import SparkTasks
from spark_jobs.streaming.write import TopicSpec
from spark_jobs.tables.engine_retry import EngineRetry
from spark_jobs.tables.lease import LEASES, lease_of
from spark_jobs.tables.orphans import remove_orphans
from spark_jobs.tables.record_spec import topic_specs
from spark_jobs.tables.table_log import TableLog

__all__ = ["PLAN", "LakeJob", "lake_id"]

log = get_logger("lake")

_DRAIN_S = 12.0
_STOP_S = 12.0
_REDO_S = 60.0  # a longer outage of the store fails the start, which the controller retries
PLAN = f"{LEASES}lake-plan.json"
# A writer on another machine, or an upload in flight, may finish after the start; a second sweep removes its file.
_LATE_SWEEP_S = 20.0


class LakeJob:
    """One run of the job. Call `start` and `stop` from one thread at a time; `probe` from any."""

    def __init__(self, settings: Settings, on_other_nodes: OnOtherNodes | None = None, spark_ended: Callable[[], None] = lambda: None) -> None:
        """`on_other_nodes`: how to reach the other nodes of the Ray cluster; without it only this node is cleaned up at the start. `spark_ended` is
        called in a thread once the Spark of the started query has ended, also by `stop`.
        """
        self._settings = settings
        self._on_other_nodes = on_other_nodes
        self._spark_ended = spark_ended
        self._run = uuid.uuid4().hex[:12]
        self._access = S3Access.of(settings.s3)
        self._lease = lease_of(settings, "lake", lake_id(settings), self._run)
        self._specs = topic_specs(settings)
        self._kafka = KafkaTopics(settings.kafka, tuple(self._specs))
        self._logs = {
            table: TableLog(table_address(settings.s3, table), TABLE_SPECS[table].schema, settings.s3.storage_options(), self._run)
            for table in (DEAD_TABLE, *(spec.table for spec in self._specs.values()))
        }
        self._plan = BatchPlan(S3ConditionalObject(self._access, settings.s3.lake_bucket, PLAN), self._run)
        self._scratch: Path | None = None
        self._writer: BatchWriter | None = None
        self._bridge: Bridge | None = None
        watched = [topic for topic, spec in self._specs.items() if spec.table in ("prices", "trades")]
        self._watch = RecordWatch(settings.kafka, watched, settings.lake.trigger_ms / 1000)
        self._monitor: QueryMonitor | None = None
        self._cluster: Future[DriverCluster] | None = None
        self._jvm_start = JvmStart()
        self._query: Any = None
        self._late_sweep: threading.Timer | None = None

    def prepare(self) -> Future[DriverCluster]:
        """Begin to start Spark, which needs neither Kafka nor the object store; `start` then continues. Optional, before `start`."""
        if self._cluster is None:
            self._cluster = self._start_spark()
        return self._cluster

    def start(self) -> None:
        """Block until the query runs.

        Raises:
            LeaseHeld: another job holds the lease of this lake; the message names its holder, start and expiry.
            LakeError: the tables' progress contradicts Kafka's offsets; the message names the range.
            EngineUnavailable: Kafka, the object store or Spark does not answer.
            PreflightError: the Ray cluster is too small.
        """
        begun = time.monotonic()
        described = self._kafka.describe()
        topics = self._topic_plans(described)
        self._lease.acquire()  # before fencing: a run that is refused here must not end the running job
        spark = self.prepare()
        planned = self._fence(described)
        points = self._start_points(described, topics)
        start = check_start(points, accept_lost=self._settings.lake.accept_lost_offsets)
        redo = redo_ends(points, start, planned.ranges)
        end_on_all_nodes(LAKE_RUN_VARIABLE, lake_id(self._settings), self._run, self._on_other_nodes)
        by_id = {(described[topic][0], partition): end for (topic, partition), end in redo.items()}
        removed = StartSweep(minio_client(self._access), self._plan, by_id, self._lease.check).run(self._logs)
        tables_ms = (time.monotonic() - begun) * 1000
        own_tasks = OwnTasks(self._settings.kafka)
        writer = self._writer = BatchWriter(topics, self._logs, self._kafka, own_tasks, self._access, self._settings.kafka.max_record_bytes)
        writer.check_owner, writer.write_plan, writer.avoid = self._lease.check, self._plan.write, self._plan.avoid
        writer.set_position({(topic, partition): offset for topic, of in start.items() for partition, offset in of.items()})
        bridge = self._bridge = Bridge(writer, self._kafka, own_tasks, self._settings.lake)
        if redo and bridge.redo(redo):
            redo = self._redone(redo)
        if not redo:
            bridge.start()
        cluster = spark.result()
        cluster.check()
        session = cluster.get_spark_session()
        spark_ms = (time.monotonic() - begun) * 1000
        tasks = SparkTasks(session, self._settings.kafka)
        slots = self._settings.lake.executors * task_slots(self._settings)
        threading.Thread(target=_warm_up, args=(tasks, slots, bridge.ready), name="lake-warm", daemon=True).start()
        if redo:
            bridge.hand_over(tasks)
            self._redo(writer, redo)
        dead_letters = DeadLetterCounter(self._settings, lambda: writer.stats.dead_letters)
        self._monitor = QueryMonitor(session, writer, self._kafka, self._lease, dead_letters, self._watch, ExecutorNodes().lost, cluster.abort)
        bridge.check()
        self._query = self._begin_query(session, writer, lambda: bridge.hand_over(tasks))
        self._monitor.watch(self._query)
        cluster.watch(self._on_spark_end)
        self._late_sweep = threading.Timer(_LATE_SWEEP_S, self._sweep_late)
        self._late_sweep.daemon = True
        self._late_sweep.start()
        start_ms = (time.monotonic() - begun) * 1000
        log.info(
            "lake_job_started", run=self._run, tables_ms=round(tables_ms), spark_ms=round(spark_ms), start_ms=round(start_ms), orphans_removed=removed
        )

    def abandon(self) -> None:
        """From any thread: let a `start` that waits for Spark raise, by the end of Spark's JVM. The job is still to be stopped."""
        self._jvm_start.abandon()

    def stop(self) -> None:
        """Stop after the current batch; takes at most about 40 s. A Spark that is starting or has ended is not waited for: fencing ends its batch."""
        if self._late_sweep is not None:
            self._late_sweep.cancel()
        if self._monitor is not None:
            self._monitor.close()
        self._watch.close()
        if self._bridge is not None:
            self._bridge.close()
        cluster = self._spark_started()
        alive = cluster is not None and cluster.alive
        if self._writer is not None and not self._writer.drain(_DRAIN_S if alive else 0.0):
            log.warning("batch_did_not_end_in_time", grace_s=_DRAIN_S if alive else 0.0)
        if self._query is not None and alive:
            stopper = threading.Thread(target=self._query.stop, name="stop-query", daemon=True)
            stopper.start()
            stopper.join(_STOP_S)
        if cluster is not None:
            stop_session(cluster, _STOP_S)
        self._lease.release()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        log.info("lake_job_stopped", run=self._run)

    def _start_spark(self) -> Future[DriverCluster]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="lake-spark")
        run = f"{lake_id(self._settings)}/{self._run}"
        started = pool.submit(start_session, self._settings, spark_classpath(self._settings), run, self._jvm_start)
        pool.shutdown(wait=False)
        return started

    def _spark_started(self) -> DriverCluster | None:
        """Spark; None if it was not started, or did not start: a start that has not ended is abandoned."""
        if self._cluster is not None and not self._cluster.done():
            self._jvm_start.abandon()
        if self._cluster is None or wait([self._cluster]).not_done or self._cluster.exception() is not None:
            return None
        return self._cluster.result()

    @property
    def ended(self) -> bool:
        """Whether the query was started and has ended; `probe` gives the reason."""
        return self._monitor is not None and self._monitor.ended

    def probe(self) -> Probe:
        """The last state of the query monitor; makes no call."""
        if self._monitor is None:
            return Probe(running=False, healthy=False, message="the lake job has not started")
        return self._monitor.probe(self._settings.lake.trigger_ms / 1000, f"http://127.0.0.1:{self._settings.lake.ui_port}")

    def _on_spark_end(self, reason: str) -> None:
        if self._monitor is not None:
            self._monitor.end(reason)
        self._spark_ended()

    def _topic_plans(self, described: Mapping[str, tuple[str, int]]) -> dict[str, TopicSpec]:
        return {topic: TopicSpec(described[topic][0], spec) for topic, spec in self._specs.items()}

    def _fence(self, described: Mapping[str, tuple[str, int]]) -> Planned:
        """Keep other runs from committing or starting a batch. Returns the last batch plan.

        The tables are checked again after the batch plan was taken over: a run that fences them later also takes the batch plan over later.
        """
        partitions = [(topic_id, partition) for topic_id, count in described.values() for partition in range(count)]
        for table_log in self._logs.values():
            table_log.open(partitions)
        planned = self._plan.take_over()
        for table_log in self._logs.values():
            table_log.check_ours()
        return planned

    def _start_points(self, described: Mapping[str, tuple[str, int]], topics: Mapping[str, TopicSpec]) -> list[StartPoint]:
        owners = {topic: self._logs[plan.spec.table].progress.offsets for topic, plan in topics.items()}
        return self._kafka.start_points(described, owners)

    def _redo(self, writer: BatchWriter, ends: Mapping[tuple[str, int], int]) -> None:
        """Repeat the batch that an earlier run planned: write the same files, byte for byte, and commit them."""
        whole, writer.engine_retry = writer.engine_retry, EngineRetry(threading.Event(), _REDO_S)
        writer.run(ends, again=True)
        writer.engine_retry = whole
        self._redone(ends)

    def _redone(self, ends: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Log it. Returns what is left of it: nothing."""
        log.info("planned_batch_repeated", run=self._run, ends={f"{topic}[{partition}]": end for (topic, partition), end in sorted(ends.items())})
        return {}

    def _begin_query(self, session: Any, writer: BatchWriter, hand_over: Callable[[], None]) -> Any:
        """Start the query at the writer's position. `hand_over` is called before each batch: the bridge may have gone further meanwhile."""
        kafka, lake = self._settings.kafka, self._settings.lake
        start: dict[str, dict[int, int]] = {}
        for (topic, partition), offset in sorted(writer.position.items()):
            start.setdefault(topic, {})[partition] = offset
        scratch_root = self._settings.home / "lake-scratch"
        shutil.rmtree(scratch_root, ignore_errors=True)
        scratch_root.mkdir(parents=True, exist_ok=True)  # it stays if it is a mount point
        self._scratch = Path(tempfile.mkdtemp(dir=scratch_root))
        scratch = self._scratch

        def planned(batch_id: int) -> Position:
            return parse_batch_offsets((scratch / "offsets" / str(batch_id)).read_text())

        each_batch = EachBatch(writer, self._kafka, self._watch, planned, hand_over, InputRows(session).report, lake.max_offsets_per_trigger)
        stream = (
            session.readStream.format("kafka")
            # Reader options, because Spark's UI shows its configuration but no reader options.
            .options(**{f"kafka.{key}": value for key, value in java_config(kafka).items()})
            .option("subscribe", ",".join(start))
            .option("startingOffsets", json.dumps({topic: {str(p): offset for p, offset in of.items()} for topic, of in start.items()}))
            .option("kafka.isolation.level", "read_committed")
            .option("includeHeaders", "false")
            .option("failOnDataLoss", "true")
            .option("maxOffsetsPerTrigger", str(lake.max_offsets_per_trigger))
            .load()
            .writeStream.queryName(f"cryptoviz-lake: {', '.join(sorted(start))}")
            .trigger(processingTime="0 seconds")  # `RecordWatch` sets the pace
            .option("checkpointLocation", f"file://{scratch}")  # Hadoop does not decode a percent-encoded path
        )
        # The checkpoint is scratch and needs no checksums, which would be half of its files.
        session._jvm.org.apache.hadoop.fs.FileSystem.getLocal(session._jsc.hadoopConfiguration()).setWriteChecksum(False)
        helper = session._jvm.org.apache.spark.sql.execution.streaming.sources.PythonForeachBatchHelper
        helper.callForeachBatch(stream._jwrite, each_batch)
        return stream.start()

    def _sweep_late(self) -> None:
        """Remove files that can never be committed any more."""
        client = minio_client(self._access)
        for table_log in self._logs.values():
            try:
                self._lease.check()
                orphans = remove_orphans(client, table_log.address, table_log.log_state())
            except CryptoVizError as error:
                log.warning("late_sweep_failed", table=table_log.address.table, error=str(error))
                continue
            if orphans:
                log.info("late_leftover_files_removed", table=table_log.address.table, files=len(orphans))


def _warm_up(tasks: SparkTasks, slots: int, done: Callable[[], None]) -> None:
    """Start the executor's Python workers and connect them to Kafka while the driver still builds the query. Failures are ignored."""
    try:
        tasks.warm_up(slots)
    except (Py4JError, PySparkException, OSError) as error:
        log.debug("warm_up_failed", error=clip(str(error), 200))
    finally:
        done()


def lake_id(settings: Settings) -> str:
    """Identifies the lake that a process writes to; the same for all runs of one pipeline."""
    place = f"{settings.s3.endpoint}/{settings.s3.prices_bucket}/{settings.s3.lake_bucket}/{settings.home}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]
