"""Spark tasks of a batch: each takes an offset range and returns the files written, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import KafkaSettings
from spark_jobs.streaming.kafka_range_reader import OffsetRange, connect, read_range
from spark_jobs.streaming.traced_ticks import Headers, TracedRecords
from spark_jobs.streaming.write import Put, WriteSpec, put_with, write_parts
from spark_jobs.tables.parquet import TablePart

__all__ = ["Outcome", "SparkTasks", "Tasks", "write_ranges"]

Outcome = TablePart | TracedRecords | CryptoVizError
"""Result of a task. Errors are values: the driver waits for the engine and retries the batch; Spark would retry four times at once and give up."""


class Tasks(Protocol):
    """Writes ranges, each in a task of its own."""

    def write(self, plan: WriteSpec, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        """Write all ranges. Returns the files, and an error for each range that failed."""


class SparkTasks:
    """Runs the tasks on the executor of `session`."""

    def __init__(self, session: Any, kafka: KafkaSettings) -> None:
        self._context = session.sparkContext
        self._kafka = kafka
        self._empty: dict[int, Any] = {}
        """Spark's empty data sets by number of partitions. A data set of the ranges would be a file for each batch."""

    def write(self, plan: WriteSpec, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        """See `Tasks`. Raises Spark's own errors if there is no executor."""
        count = len(ranges)
        if count not in self._empty:
            self._empty[count] = self._context.parallelize([], count)
        task = partial(_write_range, plan, self._kafka, tuple(ranges))
        found: list[Outcome] = self._empty[count].mapPartitionsWithIndex(task).collect()
        return found

    def warm_up(self, slots: int) -> None:
        """Start a Python worker for each slot and connect it to Kafka before the first batch."""
        self._context.parallelize(range(slots), slots).foreachPartition(partial(_connect, self._kafka))


def _write_range(plan: WriteSpec, kafka: KafkaSettings, ranges: Sequence[OffsetRange], index: int, empty: Iterable[object]) -> Iterator[Outcome]:
    list(empty)  # Spark uses a worker again only if it has read its input to the end
    return write_ranges(plan, kafka, [ranges[index]])


def write_ranges(plan: WriteSpec, kafka: KafkaSettings, ranges: Iterable[OffsetRange], put: Put | None = None) -> Iterator[Outcome]:
    """A task: read each range from Kafka and write its files. A range that fails yields its error last; the other ranges continue."""
    put = put or put_with(plan.access)
    for wanted in ranges:
        headers = Headers(wanted) if plan.traced else None
        try:
            yield from write_parts(read_range(kafka, wanted, headers), wanted.topic, wanted.partition, plan, put)
            if headers is not None:
                yield from headers.found()
        except CryptoVizError as error:
            yield error


def _connect(kafka: KafkaSettings, slots: Iterable[int]) -> None:
    del slots
    connect(kafka)
