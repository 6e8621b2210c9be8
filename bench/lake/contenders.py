"""Runs each contender in a separate process, and counts its data on the store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import FileSelector, FileType

from bench.lake.contend.task import TIMED, Done, Task
from bench.lake.jars import contender_jars
from bench.lake.position import Position
from bench.lake.quix_env import quix_python
from bench.lake.usage import Family
from cryptoviz.engines.jars import spark_jars_dir
from cryptoviz.kafka import client_config, java_config
from cryptoviz.lake.objects import S3Access, minio_client
from cryptoviz.settings import Settings

__all__ = ["CONTENDERS", "Result", "contend"]

CONTENDERS = {
    "spark-file-sink": "Spark: its own file sink",
    "spark-foreach-batch": "Spark: foreachBatch + Parquet",
    "delta-sink": "Spark: Delta's sink",
    "consumer-1": "confluent-kafka + pyarrow, one process",
    "consumer-2": "confluent-kafka + pyarrow, a process for each partition",
    "quix": "quixstreams to Parquet, one process",
    "bento": "Bento: Kafka, Parquet, S3",
    "step-fetch": "a step of ours: Spark reads Kafka and drops it",
    "step-arrow": "two steps: and hands it to Python, which drops it",
}
_BUCKET = "bench-contenders"
_LOOK_S = 0.2
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a contender. `cpu_s`: all processes, including engines; `check`: data on the store."""

    records: int
    seconds: float
    cpu_s: float
    check: str


def contend(settings: Settings, name: str, starts: Position, ends: Position, folder: Path, limit: int | None = None) -> Result:
    """Have `name` (of `CONTENDERS`) read the stream topic from `starts` to `ends`, or about `limit` records of it.

    Raises SystemExit if it fails.
    """
    folder.mkdir()
    if limit is not None:
        ends = {partition: min(end, starts[partition] + limit // len(ends)) for partition, end in ends.items()}
    task = _task(settings, name, starts, ends, folder)
    task.write(folder / "task.json")
    family = Family()
    before = family.usage()
    process = subprocess.Popen(_command(name, folder), cwd=_ROOT, env=os.environ | {"PYTHONPATH": str(_ROOT)})
    pause, timed = threading.Event(), False
    while process.poll() is None:
        if not timed and (folder / TIMED).exists():
            timed, before = True, family.usage()
        after = family.usage()
        pause.wait(_LOOK_S)
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    done = Done.read(folder / "done.json")
    return Result(done.records, done.seconds, sum(after.since(before).values()), _check(settings, task, done))


def _task(settings: Settings, name: str, starts: Position, ends: Position, folder: Path) -> Task:
    client = minio_client(S3Access.of(settings.s3))
    if not client.bucket_exists(_BUCKET):
        client.make_bucket(_BUCKET)
    spark = name not in ("consumer-1", "consumer-2", "quix", "bento")
    return Task(
        librdkafka=client_config(settings.kafka),
        java=java_config(settings.kafka),
        topic=settings.kafka.stream_topic,
        starts={str(partition): offset for partition, offset in starts.items()},
        ends={str(partition): offset for partition, offset in ends.items()},
        warm_records=sum(starts.values()),
        per_trigger=settings.lake.max_offsets_per_trigger,
        endpoint=settings.s3.endpoint,
        region=settings.s3.region,
        access_key=settings.s3.access_key,
        secret_key=settings.s3.secret_key.get_secret_value(),
        bucket=_BUCKET,
        prefix=name.replace("-", "_"),
        folder=str(folder),
        jars=[str(spark_jars_dir(settings)), str(contender_jars(settings))] if spark else [],
    )


def _command(name: str, folder: Path) -> list[str]:
    files = [str(folder / "task.json"), str(folder / "done.json")]
    if name == "quix":
        return [str(quix_python()), str(_ROOT / "bench/lake/quix/run.py"), *files]
    return [sys.executable, "-m", "bench.lake.contend", name, *files]


def _check(settings: Settings, task: Task, done: Done) -> str:
    """Rows in the Parquet files under the contender's folder, and distinct offsets if it stores them, as a plain reader sees them."""
    filesystem = S3Access.of(settings.s3).filesystem()
    found = filesystem.get_file_info(FileSelector(f"{task.bucket}/{task.prefix}", recursive=True, allow_not_found=True))
    files = [one.path for one in found if one.type == FileType.File and one.path.endswith(".parquet") and "_delta_log" not in one.path]
    if not files:
        return "nothing is written"
    data = ds.dataset(files, filesystem=filesystem, format="parquet")
    size_mb = sum(one.size for one in found if one.path in set(files)) / 1e6
    said = f"{data.count_rows():,} rows in {len(files)} files, {size_mb:.0f} MB".replace(",", " ")
    if "kafka_offset" not in data.schema.names:
        if "event_id" not in data.schema.names:
            return said
        events = pc.count_distinct(data.to_table(columns=["event_id"])["event_id"]).as_py()
        return f"{said}, {events - done.records:+d} distinct events against Kafka"
    origins = data.to_table(columns=["kafka_partition", "kafka_offset"])
    ids = pc.add(pc.multiply(origins["kafka_partition"].cast(pa.int64()), 1 << 40), origins["kafka_offset"])
    return f"{said}, {pc.count_distinct(ids).as_py() - done.records:+d} distinct offsets against read"
