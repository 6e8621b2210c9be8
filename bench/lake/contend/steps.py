"""Cost of reading records with Spark, unlike the lake job: Spark discards them, or passes them to Python, which discards them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bench.lake.contend.spark import kafka_options, make_session
from bench.lake.contend.task import Done, Task

__all__ = ["STEPS", "run_step"]

_COLUMNS = ("topic", "partition", "offset", "timestamp", "key", "value")
STEPS = ("step-fetch", "step-arrow")


def run_step(name: str, task: Task) -> Done:
    """A batch query over all offsets, after one over the warm-up records."""
    session = make_session(
        task, {"spark.sql.execution.arrow.maxRecordsPerBatch": "8192", "spark.python.daemon.module": "spark_jobs.streaming.daemon"}
    )
    _read(session, name, task, dict.fromkeys(task.starts, 0), task.starts)
    task.begin()
    begun = time.perf_counter()
    _read(session, name, task, task.starts, task.ends)
    took = time.perf_counter() - begun
    session.stop()
    return Done(took, task.records)


def _read(session: Any, name: str, task: Task, starts: dict[str, int], ends: dict[str, int]) -> None:
    reader = session.read.format("kafka")
    for key, value in kafka_options(task, starts).items():
        reader = reader.option(key, value)
    frame = reader.option("endingOffsets", json.dumps({task.topic: ends})).load().select(*_COLUMNS)
    if name == "step-arrow":
        frame = frame.mapInArrow(_drop, "records long")
    frame.write.format("noop").mode("overwrite").save()


def _drop(batches: Iterable[Any]) -> Iterator[Any]:
    for _ in batches:
        pass
    yield from ()
