"""A process that stops itself (SIGSTOP) at a given moment and continues with SIGCONT: `python -m tests.chaos.paused_child WHAT MOMENT RESULT`.

`sweep MOMENT`: a start of the lake job over the prices table, stopped at `read` (before it plans its deletions) or `delete` (before it deletes); then
it tries to write a batch plan and to commit a batch. `round MOMENT`: a round of maintenance, stopped at a stage of its first merge or at its N-th
`check`. RESULT: file for the outcome, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from minio import Minio

from cryptoviz.errors import LakeError
from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.objects import S3Access, minio_client, table_address
from cryptoviz.lake.schema import PRICES
from cryptoviz.settings import Settings, settings_from_environment
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import STEPS, RoundContext
from spark_jobs.streaming.batch_plan import BatchPlan
from spark_jobs.streaming.job import PLAN
from spark_jobs.streaming.start_sweep import StartSweep
from spark_jobs.tables.table_log import TableLog
from tests.support.lake_tables import TOPIC


def pause() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


class PausedClient:
    """Stops before the first deletion."""

    def __init__(self, client: Minio) -> None:
        self._client, self._paused = client, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def remove_objects(self, bucket: str, objects: Iterable[Any]) -> Any:
        if not self._paused:
            self._paused = True
            pause()
        return self._client.remove_objects(bucket, objects)


def sweep(settings: Settings, moment: str) -> dict[str, Any]:
    access, run = S3Access.of(settings.s3), uuid.uuid4().hex[:12]
    table_log = TableLog(table_address(settings.s3, "prices"), PRICES, settings.s3.storage_options(), run)
    plan = BatchPlan(S3ConditionalObject(access, settings.s3.lake_bucket, PLAN), run)
    table_log.open([(TOPIC, 0)])
    planned = plan.take_over()
    table_log.check_ours()
    start = table_log.progress.offsets[TOPIC, 0]
    redo = {key: end for key, (_, end) in planned.ranges.items() if end > start}
    client = minio_client(access) if moment == "read" else cast("Minio", PausedClient(minio_client(access)))
    if moment == "read":
        pause()
    outcome: dict[str, Any] = {"refused": []}
    for what in (
        lambda: StartSweep(client, plan, redo, lambda: None).run({"prices": table_log}),
        lambda: plan.write({(TOPIC, 0): (start, start + 10)}),
        lambda: table_log.commit([], {(TOPIC, 0): start + 10}),
    ):
        try:
            what()
        except LakeError as error:
            outcome["refused"].append(error.message)
    return outcome


def a_round(settings: Settings, moment: str) -> dict[str, Any]:
    waiting = [int(moment.removeprefix("check"))] if moment.startswith("check") else []

    def check() -> None:
        if waiting:
            waiting[0] -= 1
            if waiting[0] == 0:
                waiting.pop()
                pause()

    stages = {moment}

    def at(stage: str) -> None:
        if stage in stages:
            stages.clear()
            pause()

    steps = [step for step in STEPS if step.name != "gaps"]  # which needs Kafka
    return {"failures": run_round(RoundContext(settings, settings.home / "paused-scratch", check=check, at=at), steps).failures}


if __name__ == "__main__":
    given = settings_from_environment()
    done = {"sweep": sweep, "round": a_round}[sys.argv[1]](given, sys.argv[2])
    Path(sys.argv[3]).write_text(json.dumps(done))
