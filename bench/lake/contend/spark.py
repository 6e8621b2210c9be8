"""Three pipelines with Spark alone: its file sink, foreachBatch with its Parquet writer, and Delta's sink. Local Spark with both cores, S3A to MinIO.

All are tuned for speed: no RayDP, a heap of 2 GB, the default compilers, and for foreachBatch the committer that does not rename twice.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.pandas.types import from_arrow_type

from bench.lake.contend.task import Done, Task
from cryptoviz.lake.schema import KAFKA_COLUMNS, PARTITION_BY, PRICES

__all__ = ["SINKS", "kafka_options", "make_session", "run_spark"]

_ORIGIN = {column.name for column in KAFKA_COLUMNS}
_TIMES = [column.name for column in PRICES if str(column.type).startswith("timestamp")]


def _file_sink(rows: DataFrame, task: Task, path: str, checkpoint: str) -> Any:
    del task
    return rows.writeStream.format("parquet").option("path", path).option("checkpointLocation", checkpoint).partitionBy(*PARTITION_BY)


def _foreach_batch(rows: DataFrame, task: Task, path: str, checkpoint: str) -> Any:
    del task

    def write(batch: DataFrame, _: int) -> None:
        batch.write.mode("append").partitionBy(*PARTITION_BY).parquet(path)

    return rows.writeStream.foreachBatch(write).option("checkpointLocation", checkpoint)


def _delta(rows: DataFrame, task: Task, path: str, checkpoint: str) -> Any:
    del task
    return rows.writeStream.format("delta").option("path", path).option("checkpointLocation", checkpoint).partitionBy(*PARTITION_BY)


SINKS: dict[str, Callable[[DataFrame, Task, str, str], Any]] = {
    "spark-file-sink": _file_sink,
    "spark-foreach-batch": _foreach_batch,
    "delta-sink": _delta,
}


def run_spark(name: str, task: Task) -> Done:
    """Warm up on the records before `task.starts`, then time the rest from the start of the query to its end."""
    session = make_session(task)
    target, sink = f"s3a://{task.bucket}/{task.prefix}", SINKS[name]
    zero = dict.fromkeys(task.starts, 0)
    warm = sink(_rows(session, task, zero), task, f"{target}-warm", f"{task.folder}/warm").start()
    _read(warm, task.warm_records)
    warm.stop()
    query = sink(_rows(session, task, task.starts), task, target, f"{task.folder}/checkpoint").trigger(availableNow=True)
    task.begin()
    begun = time.perf_counter()
    running = query.start()
    running.awaitTermination()
    took = time.perf_counter() - begun
    count = sum(progress["numInputRows"] for progress in running.recentProgress)
    session.stop()
    return Done(took, count)


def _read(query: Any, wanted: int) -> None:
    pause = threading.Event()
    while sum(progress["numInputRows"] for progress in query.recentProgress) < wanted:
        if not query.isActive:
            raise SystemExit(str(query.exception()))
        pause.wait(0.2)


def make_session(task: Task, more: dict[str, str] | None = None) -> SparkSession:
    """Local Spark on two cores."""
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    opens = " ".join(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.nio", "sun.nio.ch", "java.util"))
    builder = SparkSession.builder.master("local[2]").appName("contender")
    options = {
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": opens,
        "spark.driver.extraClassPath": ":".join(f"{folder}/*" for folder in task.jars),
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.streaming.numRecentProgressUpdates": "1000",
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.fs.s3a.endpoint": task.endpoint,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint.region": task.region,
        "spark.hadoop.fs.s3a.fast.upload.buffer": "bytebuffer",
        "spark.sql.streaming.kafka.useDeprecatedOffsetFetching": "false",
    }
    for key, value in (options | (more or {})).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    # Not as options, which show in the process list.
    hadoop = session.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.access.key", task.access_key)
    hadoop.set("fs.s3a.secret.key", task.secret_key)
    return session


def kafka_options(task: Task, starts: dict[str, int]) -> dict[str, str]:
    """Reader options, as in the lake job."""
    return {
        **{f"kafka.{key}": value for key, value in task.java.items()},
        "subscribe": task.topic,
        "startingOffsets": json.dumps({task.topic: starts}),
        "kafka.isolation.level": "read_committed",
        "kafka.max.partition.fetch.bytes": str(4 << 20),
        "kafka.fetch.max.wait.ms": "20",
        "includeHeaders": "false",
    }


def _rows(session: SparkSession, task: Task, starts: dict[str, int]) -> DataFrame:
    """The columns of the prices table, from the topic."""
    reader = session.readStream.format("kafka").option("maxOffsetsPerTrigger", str(task.per_trigger))
    for key, value in kafka_options(task, starts).items():
        reader = reader.option(key, value)
    stream = reader.load()
    fields = [column for column in PRICES if column.name not in _ORIGIN and column.name not in PARTITION_BY]
    types = ", ".join(f"{column.name} {'bigint' if column.name in _TIMES else from_arrow_type(column.type).simpleString()}" for column in fields)
    record = f.from_json(f.col("value").cast("string"), types)
    columns = [f.timestamp_millis(f"r.{column.name}").alias(column.name) if column.name in _TIMES else f.col(f"r.{column.name}") for column in fields]
    day = f.timestamp_millis("r.tick_ts")
    return stream.select(record.alias("r"), f.col("partition").alias("kafka_partition"), f.col("offset").alias("kafka_offset")).select(
        *columns, "kafka_partition", "kafka_offset", f.year(day).alias("year"), f.month(day).alias("month"), f.dayofmonth(day).alias("day")
    )
