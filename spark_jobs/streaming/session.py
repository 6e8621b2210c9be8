"""Spark session on Ray (RayDP): configuration, start, executor count, stop.

docs/lake.md lists what happens without each option.
"""

from __future__ import annotations

import math
import shlex
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, TypeVar

from cryptoviz.engines.class_archive import archive_options
from cryptoviz.engines.java import java_executable
from cryptoviz.errors import CryptoVizError, EngineUnavailable
from cryptoviz.log import get_logger
from cryptoviz.settings import LAKE_RUN_VARIABLE, Settings
from spark_jobs.streaming.cluster import DriverCluster, ray_java_options
from spark_jobs.streaming.driver_jvm import JvmStart, end_driver
from spark_jobs.streaming.executor_places import ExecutorPlaces
from spark_jobs.streaming.gateways import AUTHENTICATION, spark_secret

__all__ = [
    "ExecutorAddresses",
    "spark_configs",
    "start_session",
    "stop_session",
    "task_slots",
]

_MAX_SLOTS = 8

# Spark and Ray's Java worker reflect into packages that Java 17 closes.
_OPENS = " ".join(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
        "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
    )
)  # fmt: skip
# Three JVMs run on one laptop: one collector thread, one compiler tier, small code and class space.
_SMALL = (
    "-XX:+UseSerialGC -XX:ReservedCodeCacheSize=64m -XX:MaxMetaspaceSize=192m -Xss512k -XX:-UsePerfData "
    # Ray's Java library may crash at the exit of a worker; the crash report must not land in the user's working directory. Java ignores TMPDIR, our
    # private folder: native libraries are unpacked there, not in a folder that every user can write to.
    f"-XX:ErrorFile={tempfile.gettempdir()}/hs_err_pid%p.log -Djava.io.tmpdir={tempfile.gettempdir()} "
    # Ray's Java library logs through a thread that otherwise wakes a hundred times a second.
    "-Dlog4j2.asyncLoggerConfigWaitStrategy=Block"
)
_QUICK = "-XX:TieredStopAtLevel=1"
# The executor's loops are worth optimizing only in a backlog: at the default thresholds, a tenth of these, compilation takes half of the CPU time of
# a start (7.3 s instead of 3.8 s).
_PATIENT = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 -XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
# By default a heap grows to its limit before it is collected; a small young generation and a tight old one keep it near the memory in use.
_TIGHT = "-XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=25"
# RayDP starts the executor with its whole heap; the JVM's default initial heap is a 64th of the machine's memory. The records are in Python.
_SMALL_HEAP = "-Xms96m -Xmn24m"
# Hadoop runs `chmod` for each checkpoint file. Java's default is to start a program of its own first, which then starts `chmod`.
_CHEAP_FORK = "-Djdk.lang.Process.launchMechanism=VFORK"
_STREAMING = "org.apache.spark.sql.execution.streaming"

log = get_logger("lake")

_T = TypeVar("_T")


def spark_configs(settings: Settings, run: str) -> dict[str, str]:
    """Spark's options. They show in the process list, so they contain no secret."""
    lake = settings.lake
    java = f"{_OPENS} {_SMALL} {_TIGHT}"
    return AUTHENTICATION | {
        "spark.ray.raydp_spark_executor.actor.resource.cpu": str(lake.executor_cores),
        "spark.driver.extraJavaOptions": f"{java} {_QUICK} {_SMALL_HEAP} {_CHEAP_FORK}",
        "spark.executor.extraJavaOptions": f"{java} {_PATIENT} {_SMALL_HEAP}",
        "spark.driver.memory": f"{lake.driver_memory_mb}m",
        "spark.python.daemon.module": "spark_jobs.streaming.daemon",
        "spark.python.worker.reuse": "true",
        f"spark.executorEnv.{LAKE_RUN_VARIABLE}": run,
        "spark.ui.enabled": "true",
        "spark.ui.port": str(lake.ui_port),
        # The UI is readable without login, and pages of other sites can send it a GET: these options keep both from stopping jobs or loading the
        # JVMs.
        "spark.ui.killEnabled": "false",
        "spark.ui.threadDumpsEnabled": "false",
        "spark.ui.heapHistogramEnabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.ui.retainedJobs": "50",
        "spark.ui.retainedStages": "50",
        "spark.ui.retainedTasks": "200",
        "spark.sql.ui.retainedExecutions": "20",
        "spark.sql.streaming.ui.retainedProgressUpdates": "50",
        "spark.eventLog.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.locality.wait": "0s",
        "spark.task.maxFailures": "4",
        # Tasks start when there is news; this is for tasks that wait for a place by `locality`, of which there are none.
        "spark.scheduler.revive.interval": "10s",
        "spark.sql.streaming.minBatchesToRetain": "5",
        "spark.sql.streaming.noDataProgressEventInterval": "1000",
        "spark.sql.streaming.stopTimeout": "15s",
        "spark.sql.streaming.checkpointFileManagerClass": f"{_STREAMING}.FileSystemBasedCheckpointFileManager",
        "spark.sql.streaming.pollingDelay": f"{lake.trigger_ms}ms",
        "spark.sql.streaming.kafka.useDeprecatedOffsetFetching": "false",
        "spark.cleaner.periodicGC.interval": "10min",
    }


def task_slots(settings: Settings) -> int:
    """Tasks that each executor runs in parallel. All together have one for each topic-partition, since a small batch's task mostly waits, and a task
    without a slot doubles the time of the batch. At most 8, to bound the memory of the Python workers.
    """
    partitions = settings.kafka.stream_partitions + settings.kafka.raw_partitions
    return max(settings.lake.executor_cores, min(_MAX_SLOTS, math.ceil(partitions / settings.lake.executors)))


def start_session(settings: Settings, jars: str, run: str, start: JvmStart) -> DriverCluster:
    """Start Spark on Ray, with the class path `jars`. Blocks for 5-10 s, or until `start` is abandoned; call it in a thread.

    Raises:
        PreflightError: the cluster has too few free CPUs for the executors, or Ray has no secret for Spark's processes.
        EngineUnavailable: Spark did not start in time, or no node for the executors is there.
    """
    spark_secret()
    java = java_executable()
    archive = archive_options(settings, "spark", java, jars)
    configs = spark_configs(settings, run)
    configs["spark.driver.extraJavaOptions"] += f" {shlex.join([*ray_java_options(), *archive])}"
    configs["spark.executor.extraJavaOptions"] += f" {shlex.join(archive)}"
    timeout_s = settings.lake.spark_timeout_s
    try:
        return _bounded(lambda: _start(settings, java, jars, configs, start), timeout_s)
    except FutureTimeout:
        raise EngineUnavailable(f"Spark on Ray did not start within {timeout_s:.0f} s (CRYPTOVIZ_LAKE__SPARK_TIMEOUT_S)", engine="spark") from None
    except CryptoVizError:
        raise
    except Exception as error:  # Py4J, RayDP and Ray raise arbitrary errors
        raise EngineUnavailable(f"Spark on Ray did not start: {_summary(error)}", engine="spark") from error


def _start(settings: Settings, java: Path, jars: str, configs: dict[str, str], start: JvmStart) -> DriverCluster:
    end_driver()  # of an earlier start that failed
    lake, places = settings.lake, ExecutorPlaces(settings)
    name = f"cryptoviz-lake-{uuid.uuid4().hex[:8]}"
    cluster = DriverCluster(name, lake.executors, task_slots(settings), lake.executor_memory_mb, java, jars, configs | places.configs, start)
    places.wait()  # after the start of the JVM: a killed predecessor's executor may take as long to end
    cluster.get_spark_session().sparkContext.setLogLevel("WARN")
    return cluster


class ExecutorAddresses:
    """Addresses of the nodes of the executors that are known to Spark's block manager, one for each executor.

    The driver's own is read once, and from the JVM: PySpark copies the whole configuration, entry by entry, for each look at it.
    """

    def __init__(self, session: Any) -> None:
        self._context = session.sparkContext._jsc.sc()
        self._driver = self._context.getConf().get("spark.driver.host")

    def now(self) -> list[str]:
        """The present ones, sorted. Raises Py4JError, OSError without an answer of the JVM."""
        listed: str = self._context.getExecutorMemoryStatus().keys().mkString(",")
        addresses = sorted(one.rpartition(":")[0].strip("[]") for one in listed.split(","))
        if self._driver in addresses:  # also a block manager
            addresses.remove(self._driver)
        return addresses


def stop_session(cluster: DriverCluster, grace_s: float) -> None:
    """Stop Spark and its executors, and end the driver's JVM. Kills the JVM after `grace_s`."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="spark")
    stopped = pool.submit(cluster.stop)
    pool.shutdown(wait=False)
    if wait([stopped], timeout=grace_s).not_done:
        log.warning("spark_did_not_stop_in_time", grace_s=grace_s)
        cluster.kill()
    elif (error := stopped.exception()) is not None:  # a broken Spark raises arbitrary errors; the JVM ends with it
        log.warning("spark_did_not_stop_cleanly", error=_summary(error))
        cluster.kill()
    ExecutorPlaces.release()


def _bounded(work: Callable[[], _T], timeout_s: float) -> _T:
    pool = ThreadPoolExecutor(1, thread_name_prefix="spark")
    try:
        return pool.submit(work).result(timeout=timeout_s)
    finally:
        pool.shutdown(wait=False)


def _summary(error: BaseException) -> str:
    """The error in one line: the last line of a remote traceback, the first of any other text."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1 if 'Traceback' in str(error) or 'ray::' in lines[0] else 0].strip()[:300]}"
