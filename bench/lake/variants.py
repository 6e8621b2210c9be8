"""Variants of the lake job for comparison (`--variant`): the actor applies a change before the job starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from cryptoviz.settings import Settings
from spark_jobs.streaming import session
from spark_jobs.streaming.actor import LakeActor
from spark_jobs.streaming.batch import BatchWriter, Position
from spark_jobs.streaming.job import LakeJob
from spark_jobs.streaming.record_watch import RecordWatch

__all__ = ["VARIANTS", "variant"]


def _configured(**changes: str) -> Callable[[Settings], None]:
    def change(_: Settings) -> None:
        original = session.spark_configs

        def configs(*given: Any) -> dict[str, str]:
            return original(*given) | {key.replace("_", "."): value for key, value in changes.items()}

        patch.object(session, "spark_configs", configs).start()

    return change


def _query_each(settings: Settings) -> None:
    """A streaming query for each topic; batches are still written one at a time, since a table has one writer."""
    begin, run = LakeJob._begin_query, BatchWriter.run
    one_at_a_time = threading.Lock()

    def queries(self: Any, session: Any, start: Any) -> Any:
        root, watch = self._settings.home, self._watch
        begun = []
        for topic, offsets in start.items():
            self._watch = watch if topic == settings.kafka.stream_topic else RecordWatch(settings.kafka, [topic], settings.lake.trigger_ms / 1000)
            self._settings = self._settings.model_copy(update={"home": root / topic})
            begun.append(begin(self, session, {topic: offsets}))
        self._watch = watch
        self._settings = self._settings.model_copy(update={"home": root})
        return begun[0]

    def locked(self: Any, ends: Position) -> None:
        with one_at_a_time:
            run(self, ends)

    patch.object(LakeJob, "_begin_query", queries).start()
    patch.object(BatchWriter, "run", locked).start()


def _eager_compiler(_: Settings) -> None:
    patch.object(session, "_PATIENT", "").start()


VARIANTS: dict[str, Callable[[Settings], None]] = {
    "in-use": lambda _: None,
    "no-worker-reuse": _configured(spark_python_worker_reuse="false"),
    "eager-compiler": _eager_compiler,
    "query-each": _query_each,
}


def variant(name: str) -> type[LakeActor]:
    """The actor class that runs the variant."""
    change = VARIANTS[name]

    class Varied(LakeActor):
        """Apply the change."""

        async def start(self) -> None:
            """Apply the change, then start."""
            change(self._settings)
            await super().start()

    return Varied
