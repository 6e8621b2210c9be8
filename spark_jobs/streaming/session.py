"""The seam to RayDP: one small Spark on Ray, started, measured and stopped.

Every option here was paid for; docs/lake.md says what happens without it.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import ray
import raydp

from cryptoviz.errors import EngineUnavailable, PreflightError
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from spark_jobs.streaming.gateways import AUTHENTICATION, install_guards, ray_java_options, spark_secret

__all__ = ["RUN_VARIABLE", "executor_count", "spark_configs", "start_session", "stop_session", "task_slots"]

RUN_VARIABLE = "CRYPTOVIZ_LAKE_RUN"
"""Marks the executors' Python workers with the run that they belong to, so that a successor can tell that they are gone."""

_INIT_TIMEOUT_S = 120.0  # a start takes 6-14 s, and 50 s on a machine busy with ten times its cores; a cluster too small would hang for ever
_RESOURCES_TIMEOUT_S = 20.0  # Ray needs a moment to see that a killed predecessor's executors are gone
_POLL_S = 0.25
_MAX_SLOTS = 8

# Java 17 closes the packages that Spark and Ray's Java worker reflect into.
_OPENS = " ".join(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
        "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
    )
)  # fmt: skip
# Four JVMs share a laptop with everything else: one collector thread, one compiler tier, small code and class space.
_SMALL = (
    "-XX:+UseSerialGC -XX:ReservedCodeCacheSize=64m -XX:MaxMetaspaceSize=192m -Xss512k -XX:-UsePerfData "
    # Ray's Java library may crash at the exit of a worker; its report belongs not in the folder where a person typed the command. Java ignores
    # TMPDIR, which is a folder of ours: native libraries that are unpacked to be loaded lie there, not where every user writes.
    f"-XX:ErrorFile={tempfile.gettempdir()}/hs_err_pid%p.log -Djava.io.tmpdir={tempfile.gettempdir()}"
)
_QUICK = "-XX:TieredStopAtLevel=1"
# The executor's loops are worth compiling well, but only in a backlog: at the default thresholds, a tenth of these, compiling takes half of the
# processor time of a start (7.3 s against 3.8 s).
_PATIENT = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 -XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
# A heap grows to its limit before it is collected; a small young generation and a tight old one keep it near what is in use.
_TIGHT = "-XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=25"
# The JVM would begin with a 64th of the machine's memory.
_DRIVER_YOUNG, _EXECUTOR_YOUNG = "-Xms96m -Xmn24m", "-Xmn64m"
_APP_MASTER_HEAP = "-Xms32m -Xmx160m"

log = get_logger("lake")


def spark_configs(settings: Settings, jars: str, run: str) -> dict[str, str]:
    """All options. They show in the process list: nothing secret belongs here."""
    lake = settings.lake
    java = f"{_OPENS} {_SMALL} {_TIGHT}"
    quick = f"{java} {_QUICK}"
    return AUTHENTICATION | {
        "spark.ray.raydp_spark_master.actor.resource.CPU": "0",
        "spark.ray.raydp_spark_executor.actor.resource.cpu": str(lake.executor_cores),
        "spark.ray.raydp_app_master.extraJavaOptions": f"{quick} {_APP_MASTER_HEAP}",
        "spark.driver.extraJavaOptions": f"{quick} {_DRIVER_YOUNG}",
        "spark.executor.extraJavaOptions": f"{java} {_PATIENT} {_EXECUTOR_YOUNG}",
        "spark.driver.memory": f"{lake.driver_memory_mb}m",
        "spark.driver.extraClassPath": jars,
        "raydp.executor.extraClassPath": jars,
        "spark.python.daemon.module": "spark_jobs.streaming.daemon",
        "spark.python.worker.reuse": "true",
        f"spark.executorEnv.{RUN_VARIABLE}": run,
        "spark.ui.enabled": "true",
        "spark.ui.port": str(lake.ui_port),
        # Whoever reaches the page may read it, a page of another site may send it a GET: neither stops a job nor makes the JVMs work.
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
        "spark.sql.streaming.minBatchesToRetain": "5",
        "spark.sql.streaming.noDataProgressEventInterval": "1000",
        "spark.sql.streaming.stopTimeout": "15s",
        "spark.sql.streaming.kafka.useDeprecatedOffsetFetching": "false",
        "spark.cleaner.periodicGC.interval": "10min",
    }


def task_slots(settings: Settings) -> int:
    """Tasks that the executor runs at once: one for each topic-partition, since most of a small batch's task is waiting, and a task that finds no
    slot doubles the time of the batch. At most 8, so that the Python workers of a wide topic do not take the memory.
    """
    return max(settings.lake.executor_cores, min(_MAX_SLOTS, settings.kafka.stream_partitions + settings.kafka.raw_partitions))


def start_session(settings: Settings, jars: str, run: str) -> Any:
    """Start Spark on Ray and return its session. Blocks for 6-14 s; call it in a thread.

    Raises:
        PreflightError: the cluster has not the CPUs that the executor asks for, or no secret for Spark's processes.
        EngineUnavailable: RayDP did not start in time.
    """
    spark_secret()
    _await_cpus(settings.lake.executor_cores)
    # Spark takes these two from the environment only: where its UI binds, and the interpreter of the executors' workers.
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    configs = spark_configs(settings, jars, run)
    configs["spark.driver.extraJavaOptions"] += f" {shlex.join(ray_java_options())}"
    install_guards()
    deadline = time.monotonic() + _INIT_TIMEOUT_S
    while True:
        try:
            return _bounded(lambda: _init(settings, configs), deadline - time.monotonic())
        except FutureTimeout:
            raise EngineUnavailable(f"Spark on Ray did not start within {_INIT_TIMEOUT_S:.0f} s", engine="spark") from None
        except Exception as error:  # RayDP raises anything while a predecessor's names are still taken
            if time.monotonic() > deadline - 10:
                raise EngineUnavailable(f"Spark on Ray did not start: {_told(error)}", engine="spark") from error
            log.warning("Spark did not start, trying again", error=_told(error))
            time.sleep(1.0)


def _init(settings: Settings, configs: dict[str, str]) -> Any:
    session = raydp.init_spark(
        # `<app name>_SPARK_MASTER` stays taken for a while after a stop.
        app_name=f"cryptoviz-lake-{uuid.uuid4().hex[:8]}",
        num_executors=1,
        executor_cores=task_slots(settings),
        executor_memory=f"{settings.lake.executor_memory_mb}m",
        fault_tolerant_mode=False,
        configs=dict(configs),
    )
    session.sparkContext.setLogLevel("WARN")
    return session


def _await_cpus(cores: int) -> None:
    deadline = time.monotonic() + _RESOURCES_TIMEOUT_S
    while (free := ray.available_resources().get("CPU", 0.0)) < cores:
        if time.monotonic() > deadline:
            raise PreflightError(
                f"the lake's executor asks for {cores} CPUs (CRYPTOVIZ_LAKE__EXECUTOR_CORES) and the Ray cluster has {free:g} free: "
                "free some, raise CRYPTOVIZ_RAY__NUM_CPUS or lower the setting",
                problems=["cpu"],
            )
        time.sleep(_POLL_S)


def executor_count(session: Any) -> int:
    """Executors that Spark's block manager knows, the driver not counted."""
    return int(session.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1


def stop_session(grace_s: float) -> None:
    """Stop Spark and its Ray actors; the driver JVM stays until this process ends. Gives up after `grace_s`."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="raydp")
    stopped = pool.submit(raydp.stop_spark)
    pool.shutdown(wait=False)
    done, _ = wait([stopped], timeout=grace_s)
    if not done:
        log.warning("Spark did not stop in time", grace_s=grace_s)
    elif (error := stopped.exception()) is not None:  # a half-dead Spark raises anything; the process ends next
        log.warning("Spark did not stop cleanly", error=_told(error))


def _bounded(work: Any, timeout_s: float) -> Any:
    pool = ThreadPoolExecutor(1, thread_name_prefix="raydp")
    try:
        return pool.submit(work).result(timeout=max(1.0, timeout_s))
    finally:
        pool.shutdown(wait=False)


def _told(error: BaseException) -> str:
    """What happened: the last line of a remote traceback, the first of anything else."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1 if 'Traceback' in str(error) or 'ray::' in lines[0] else 0].strip()[:300]}"
