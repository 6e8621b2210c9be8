"""Warm-up of the executor: starts its Python workers and connects them to Kafka while the driver still builds the query."""

from __future__ import annotations

import threading

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from cryptoviz.log import get_logger
from cryptoviz.masking import clip
from spark_jobs.streaming.tasks import SparkTasks

__all__ = ["warm_up"]

log = get_logger("lake")


def warm_up(tasks: SparkTasks, slots: int) -> None:
    """Begin in a thread of its own; a failure costs nothing but the time saved."""
    threading.Thread(target=_run, args=(tasks, slots), name="lake-warm", daemon=True).start()


def _run(tasks: SparkTasks, slots: int) -> None:
    try:
        tasks.warm_up(slots)
    except (Py4JError, PySparkException, OSError) as error:
        log.debug("the warm-up failed", error=clip(str(error), 200))
