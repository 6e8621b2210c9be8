"""`python -m spark_jobs.streaming.record_classes`: write the class archive of Spark's JVMs. Called by scripts/setup.

It runs a small streaming query in one JVM, which writes the archive at its end.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession
from rich.console import Console

from cryptoviz.engines.cache import make_cache
from cryptoviz.engines.jars import spark_classpath
from cryptoviz.engines.java import java_executable
from cryptoviz.errors import CryptoVizError, EngineUnavailable
from cryptoviz.settings import Settings, load_settings
from spark_jobs.streaming.class_archive import QUIET, archive_file
from spark_jobs.streaming.cluster import end_driver
from spark_jobs.streaming.driver_jvm import class_path, launch_driver
from spark_jobs.streaming.session import spark_configs

__all__ = ["make_archive"]

_KEPT_S = 30 * 86_400.0
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


def make_archive(settings: Settings) -> bool:
    """Write the archive if there is none; False if there was. Takes about half a minute.

    Raises:
        SettingsError, PreflightError: the cache may not be used, or jars are missing.
        EngineUnavailable: the JVM did not run the query, or wrote no archive.
    """
    java, jars = java_executable(settings), class_path(spark_classpath(settings))
    archive = archive_file(settings, java, jars)
    if archive.is_file():
        return False
    make_cache(settings)
    archive.parent.mkdir(mode=0o700, exist_ok=True)
    _remove_unused(archive.parent)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        made = Path(folder) / archive.name
        _run_query(settings, java, jars, Path(folder), [f"-XX:ArchiveClassesAtExit={made}", *QUIET])
        if not made.is_file():
            raise EngineUnavailable("the JVM wrote no class archive", engine="spark")
        made.replace(archive)
    return True


def _run_query(settings: Settings, java: Path, jars: str, folder: Path, options: list[str]) -> None:
    """Run what driver and executor run, without their network, and end the JVM."""
    local = {"spark.master": "local[2]", "spark.app.name": "class-archive", "spark.ui.port": "0", "spark.authenticate": "false"}
    configs = spark_configs(settings, "class-archive") | local | {"spark.network.crypto.enabled": "false"}
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    java_options = [*shlex.split(configs["spark.driver.extraJavaOptions"]), "-Xmx512m", *options]
    gateway = launch_driver(java, java_options, jars, configs)
    try:
        SparkContext._ensure_initialized(gateway=gateway)
        session: Any = SparkSession.builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        for name in _OTHERS:
            session._jvm.org.apache.spark.util.Utils.classForName(name, False, False)
        _stream(session, folder)
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


def _remove_unused(folder: Path) -> None:
    """Remove archives that no JVM has used for a month, as those of a folder that is gone."""
    for archive in folder.glob("spark-*.jsa"):
        if archive.stat().st_mtime < time.time() - _KEPT_S:
            archive.unlink(missing_ok=True)


def main() -> int:
    """Exit code 0 also without an archive: everything works without it."""
    console = Console(stderr=True)
    try:
        settings = load_settings()
        if archive_file(settings, java_executable(settings), class_path(spark_classpath(settings))).is_file():
            return 0
        console.print("setup: recording Spark's classes, for quick starts (about a minute)", highlight=False)
        make_archive(settings)
    except CryptoVizError as error:
        console.print(f"setup: no class archive ({error.message}); Spark starts without it, but later", highlight=False, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
