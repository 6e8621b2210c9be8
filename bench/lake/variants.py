"""The lake job with one thing done otherwise, for comparison (`--variant`): the actor changes it before the job starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from bench.lake.own_fetch import OffsetRange, write_ranges
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings
from spark_jobs import batch, session
from spark_jobs.actor import LakeActor
from spark_jobs.batch import BatchWriter, Position, TablePart
from spark_jobs.tablelog import WrittenPart
from spark_jobs.write import WritePlan

__all__ = ["VARIANTS", "variant"]


def _own_fetch(settings: Settings) -> None:
    def write(self: Any, frame: Any, moved: set[tuple[str, int]], ends: Position) -> list[TablePart]:
        plan = WritePlan(
            topics=self._topics,
            tables={table: log.address for table, log in self._logs.items()},
            access=self._access,
            max_bytes=self._max_bytes,
            skip_below={table: log.progress.offsets for table, log in self._logs.items()},
        )
        ranges = [OffsetRange(topic, partition, self.position[topic, partition], ends[topic, partition]) for topic, partition in sorted(moved)]
        context = frame.sparkSession.sparkContext
        found = context.parallelize(ranges, len(ranges)).mapPartitions(write_ranges(plan, settings.kafka.bootstrap_servers)).collect()
        refused = next((row["error"] for row in found if row["error"]), None)
        if refused:
            raise EngineUnavailable(refused, engine="object-store")
        return [TablePart(row["table"], WrittenPart(row["path"], row["size"], row["rows"], row["stats"])) for row in found]

    patch.object(BatchWriter, "_write", write).start()


def _configured(**changes: str) -> Callable[[Settings], None]:
    def change(_: Settings) -> None:
        original = session.spark_configs

        def configs(*given: Any) -> dict[str, str]:
            return original(*given) | {key.replace("_", "."): value for key, value in changes.items()}

        patch.object(session, "spark_configs", configs).start()

    return change


def _records_at_once(count: int) -> Callable[[Settings], None]:
    def change(_: Settings) -> None:
        patch.object(session, "ARROW_RECORDS", count).start()
        patch.object(batch, "ARROW_RECORDS", count).start()

    return change


def _eager_compiler(_: Settings) -> None:
    patch.object(session, "_PATIENT", "").start()


VARIANTS: dict[str, Callable[[Settings], None]] = {
    "in-use": lambda _: None,
    "own-fetch": _own_fetch,
    "no-worker-reuse": _configured(spark_python_worker_reuse="false"),
    "arrow-32768": _records_at_once(32_768),
    "eager-compiler": _eager_compiler,
}


def variant(name: str) -> type[LakeActor]:
    """The actor that runs the job so."""
    change = VARIANTS[name]

    class Varied(LakeActor):
        """As its parent, after the change."""

        async def start(self) -> None:
            """Change, then start."""
            change(self._settings)
            await super().start()

    return Varied
