"""The `maintenance` component: keeps the tables' Delta logs short and their folders free of leftovers, on a schedule."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass, replace

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from cryptoviz.components import Probe
from cryptoviz.errors import CryptoVizError, EngineUnavailable
from cryptoviz.lake.objects import TABLES, S3Access, TableAddress, minio_client, table_address
from cryptoviz.lake.parts import Part, short_topic_id
from cryptoviz.lake.progress import read_progress
from cryptoviz.log import get_logger, log_to_file
from cryptoviz.settings import Settings
from spark_jobs.orphans import remove_orphans

__all__ = ["MaintenanceActor", "Round", "tend_table"]

_CHECKPOINT_COMMITS = 100  # opening a table reads every commit since its last checkpoint: about 2 ms each

log = get_logger("maintenance")


@dataclass(frozen=True, slots=True)
class Round:
    """What was done, in totals of this run."""

    rounds: int = 0
    checkpoints: int = 0
    leftovers: int = 0
    failure: str = ""
    took_ms: float = 0.0


def tend_table(address: TableAddress, options: dict[str, str], client: Minio) -> tuple[bool, int]:
    """Look after one table; returns whether a checkpoint was written and how many leftovers were removed.

    Raises:
        EngineUnavailable: the object store does not answer.
    """
    try:
        table = DeltaTable(address.uri, storage_options=options)
        checkpoint = table.version() - _last_checkpoint(client, address) >= _CHECKPOINT_COMMITS
        if checkpoint:
            table.create_checkpoint()
            table.cleanup_metadata()
        return checkpoint, len(_remove_leftovers(address, options, client, table))
    except TableNotFoundError:
        return False, 0
    except (DeltaError, S3Error, HTTPError, OSError) as error:
        raise EngineUnavailable(f"the object store did not answer for {address.uri}: {error}", engine="object-store") from error


def _remove_leftovers(address: TableAddress, options: dict[str, str], client: Minio, table: DeltaTable) -> list[str]:
    """Uncommitted files below the table's progress, where the running job writes no more."""
    progress = read_progress(table)
    if progress is None:
        return []
    ends = {(short_topic_id(topic_id), partition): offset for (topic_id, partition), offset in progress.offsets.items()}

    def below_progress(part: Part) -> bool:
        return part.end < ends.get((part.topic, part.partition), 0)

    def committed() -> set[str]:
        return set(pa.table(DeltaTable(address.uri, storage_options=options).get_add_actions()).column("path").to_pylist())

    return remove_orphans(client, address, committed, below_progress)


def _last_checkpoint(client: Minio, address: TableAddress) -> int:
    """The version of the table's newest checkpoint, 0 without one."""
    try:
        response = client.get_object(address.bucket, address.key("_delta_log/_last_checkpoint"))
    except S3Error as error:
        if error.code == "NoSuchKey":
            return 0
        raise
    try:
        return int(json.loads(response.read())["version"])
    finally:
        response.close()
        response.release_conn()


class MaintenanceActor:
    """A `cryptoviz.components.ComponentActor`."""

    def __init__(self, settings: Settings) -> None:
        """Only keeps the settings."""
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._round = Round()
        self._looked_s = time.monotonic()

    async def start(self) -> None:
        """Begin the schedule; the first round comes at once."""
        if self._task is not None and not self._task.done():
            return
        log_to_file(self._settings, "maintenance")
        self._looked_s = time.monotonic()
        self._task = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        """End; a round under way is finished by its thread."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def probe(self) -> Probe:
        """Healthy while rounds come on schedule and find the object store."""
        running = self._task is not None and not self._task.done()
        age_s = time.monotonic() - self._looked_s
        late = age_s > 3 * self._settings.lake.maintenance_s + 60
        message = self._round.failure or (f"no round for {age_s:.0f} s" if late else f"last round {age_s:.0f} s ago")
        metrics = {
            "rounds_total": float(self._round.rounds),
            "checkpoints_total": float(self._round.checkpoints),
            "leftovers_removed_total": float(self._round.leftovers),
            "last_round_age_s": round(age_s, 1),
            "round_ms": round(self._round.took_ms, 1),
        }
        return Probe(running=running, healthy=running and not late and not self._round.failure, message=message, metrics=metrics, pid=os.getpid())

    async def _loop(self) -> None:
        while True:
            self._round = await asyncio.to_thread(self._tend, self._round)
            self._looked_s = time.monotonic()
            await asyncio.sleep(self._settings.lake.maintenance_s)

    def _tend(self, before: Round) -> Round:
        begun = time.monotonic()
        after = replace(before, rounds=before.rounds + 1, failure="")
        client = minio_client(S3Access.of(self._settings.s3))
        for table in TABLES:
            try:
                checkpoint, leftovers = tend_table(table_address(self._settings.s3, table), self._settings.s3.storage_options(), client)
            except CryptoVizError as error:
                log.warning("maintenance failed", table=table, error=str(error))
                after = replace(after, failure=str(error))
                continue
            if checkpoint or leftovers:
                log.info("table tended", table=table, checkpoint=checkpoint, leftovers_removed=leftovers)
            after = replace(after, checkpoints=after.checkpoints + checkpoint, leftovers=after.leftovers + leftovers)
        return replace(after, took_ms=(time.monotonic() - begun) * 1000)
