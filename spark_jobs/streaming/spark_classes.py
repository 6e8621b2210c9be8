"""Record the classes of Spark's JVMs (`cryptoviz.engines.class_archive`): one JVM runs a small streaming query.

Driver and executor share the archive, since their class path is the same.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from cryptoviz.engines.class_archive import record_classes
from cryptoviz.engines.jars import spark_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings
from spark_jobs.streaming.driver_jvm import end_driver, launch_driver
from spark_jobs.streaming.session import spark_configs

__all__ = ["record_spark_classes"]

_BATCHES = 5
_RUN_S = 120.0
_DUMP_S = 300.0
# Classes of the processes on Ray, which a query without Ray does not load.
_OTHERS = (
    "io.ray.runtime.RayNativeRuntime", "io.ray.runtime.DefaultRayRuntimeFactory", "io.ray.runtime.config.RayConfig",
    "io.ray.runtime.runner.worker.DefaultWorker", "io.ray.runtime.task.NativeTaskExecutor", "io.ray.runtime.task.NativeTaskSubmitter",
    "io.ray.runtime.object.NativeObjectStore", "io.ray.runtime.gcs.GcsClient", "io.ray.runtime.serializer.FstSerializer",
    "org.apache.spark.deploy.raydp.RayAppMaster", "org.apache.spark.executor.RayDPExecutor", "org.apache.spark.executor.CoarseGrainedExecutorBackend",
    "org.apache.spark.executor.RayCoarseGrainedExecutorBackend", "org.apache.spark.scheduler.cluster.raydp.RayClusterManager",
    "org.apache.spark.scheduler.cluster.raydp.RayCoarseGrainedSchedulerBackend", "org.apache.spark.sql.kafka010.KafkaMicroBatchStream",
    "org.apache.spark.sql.kafka010.KafkaOffsetReaderAdmin", "org.apache.kafka.clients.admin.KafkaAdminClient",
)  # fmt: skip


def record_spark_classes(settings: Settings) -> bool:
    """Raises and returns as `record_classes` does; EngineUnavailable also if the query does not run."""
    java, jars = java_executable(), spark_classpath(settings)
    return record_classes(settings, "spark", java, jars, lambda options: _run_query(settings, java, jars, options))


def _run_query(settings: Settings, java: Path, jars: str, options: Sequence[str]) -> None:
    """Run what driver and executor run, without their network, and end the JVM."""
    local = {"spark.master": "local[2]", "spark.app.name": "class-archive", "spark.ui.port": "0", "spark.authenticate": "false"}
    local |= {"spark.network.crypto.enabled": "false", "spark.driver.memory": "512m"}
    configs = spark_configs(settings, "class-archive") | local
    configs["spark.driver.extraJavaOptions"] += f" {shlex.join(options)}"
    launch_driver(java, jars, configs, output=subprocess.DEVNULL)
    try:
        session: Any = SparkSession.builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        for name in _OTHERS:
            session._jvm.org.apache.spark.util.Utils.classForName(name, False, False)
        with tempfile.TemporaryDirectory(prefix="cv-classes-") as folder:
            _stream(session, Path(folder))
        session.stop()
    finally:
        end_driver(_DUMP_S)


def _stream(session: Any, folder: Path) -> None:
    batches = 0

    def on_batch(frame: Any, batch_id: int) -> None:
        nonlocal batches
        del frame
        session.sparkContext.parallelize([batch_id, batch_id], 2).mapPartitions(list).collect()
        batches += 1

    query = (
        session.readStream.format("rate").load().writeStream.foreachBatch(on_batch)
        .option("checkpointLocation", f"file://{folder / 'checkpoint'}").trigger(processingTime="100 milliseconds").start()
    )  # fmt: skip
    deadline = time.monotonic() + _RUN_S
    while batches < _BATCHES:
        if not query.isActive or time.monotonic() > deadline:
            raise EngineUnavailable(f"the query for the class archive made {batches} of {_BATCHES} batches", engine="spark")
        time.sleep(0.05)
    query.stop()
