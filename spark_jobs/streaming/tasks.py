"""The seam to Spark's tasks: ranges of offsets in, what was written or what prevented it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import KafkaSettings
from spark_jobs.streaming.kafka_range_reader import OffsetRange, connect, read_range
from spark_jobs.streaming.write import Put, WritePlan, put_with, write_parts
from spark_jobs.tables.written_file import TablePart

__all__ = ["Outcome", "SparkTasks", "Tasks", "write_ranges"]

Outcome = TablePart | CryptoVizError
"""A task's error comes as a value: the driver waits for the engine and tries the batch again; Spark would try four times at once and give up."""


class Tasks(Protocol):
    """Writes ranges, each in a task of its own."""

    def write(self, plan: WritePlan, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        """All files, and an error for each range that could not be written to its end."""
        ...


class SparkTasks:
    """On the executor of `session`."""

    def __init__(self, session: Any, kafka: KafkaSettings) -> None:
        self._context = session.sparkContext
        self._kafka = kafka

    def write(self, plan: WritePlan, ranges: Sequence[OffsetRange]) -> Sequence[Outcome]:
        """See `Tasks`. Raises Spark's own errors when an executor cannot be had."""
        task = partial(write_ranges, plan, self._kafka)
        found: list[Outcome] = self._context.parallelize(ranges, len(ranges)).mapPartitions(task).collect()
        return found

    def warm_up(self, slots: int) -> None:
        """Start a worker for each slot and connect it to Kafka, so that the first batch need not."""
        self._context.parallelize(range(slots), slots).foreachPartition(partial(_connect, self._kafka))


def write_ranges(plan: WritePlan, kafka: KafkaSettings, ranges: Iterable[OffsetRange], put: Put | None = None) -> Iterator[Outcome]:
    """A task: read each range from Kafka, write its files, say which. A range that fails yields the error last and does not keep the others back."""
    put = put or put_with(plan.access)
    for wanted in ranges:
        try:
            yield from write_parts(read_range(kafka, wanted), wanted.topic, wanted.partition, plan, put)
        except CryptoVizError as error:
            yield error


def _connect(kafka: KafkaSettings, slots: Iterable[int]) -> None:
    del slots
    connect(kafka)
