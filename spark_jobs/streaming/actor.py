"""The `lake` component: a Ray actor that hosts the lake job and Spark's driver."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptoviz.components import LAKE, Probe
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file
from cryptoviz.telemetry.tracing import flush_spans, start_tracing

if TYPE_CHECKING:
    from spark_jobs.streaming.earlier_writers import OnOtherNodes
    from spark_jobs.streaming.job import LakeJob

__all__ = ["LakeActor"]


class LakeActor:
    """A `cryptoviz.components.ComponentActor`. Its process holds the Spark context, so `kill -9` of the actor also ends Spark."""

    def __init__(self, settings: Settings, on_other_nodes: OnOtherNodes | None = None) -> None:
        """Stores the arguments only. After a crash Ray calls this again and the controller calls `start`."""
        self._settings = settings
        self._on_other_nodes = on_other_nodes
        self._job: LakeJob | None = None
        self._prepared: LakeJob | None = None
        self._starting: LakeJob | None = None
        self._succession: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Begin to start Spark, before Kafka and the object store run. No-op once started or prepared."""
        async with self._lock:
            if self._job is None and self._prepared is None:
                log_to_file(self._settings, LAKE)
                start_tracing(self._settings, LAKE)
                await self._prepare()

    async def start(self) -> None:
        """Start Spark and the query; takes 8-14 s. Stops a job whose query has ended first. Raises what `LakeJob.start` raises."""
        async with self._lock:
            if self._job is not None:
                if not self._job.ended:
                    return
                ended, self._job = self._job, None
                if self._prepared is None:
                    await asyncio.to_thread(ended.stop)
            log_to_file(self._settings, LAKE)
            start_tracing(self._settings, LAKE)
            job, self._prepared = self._prepared, None
            if job is None:
                job = await self._make()
            self._starting = job
            try:
                await asyncio.to_thread(job.start)
            except BaseException:
                await asyncio.to_thread(job.stop)
                raise
            finally:
                self._starting = None
            self._job = job

    async def stop(self) -> None:
        """Stop after the current batch. A start is aborted: Spark's JVM is killed."""
        if self._starting is not None:
            await asyncio.to_thread(self._starting.abandon)
        async with self._lock:
            # With both, the ended job has been stopped already.
            job, self._job, self._prepared = self._prepared or self._job, None, None
            if job is not None:
                await asyncio.to_thread(job.stop)
                await asyncio.to_thread(flush_spans)

    async def probe(self) -> Probe:
        """Answers from memory. An ended query is reported as not running, so that the controller restarts it at once."""
        job = self._job
        if job is None:
            return Probe(running=False, healthy=False, message="starting" if self._lock.locked() else "not started")
        return replace(job.probe(), running=not job.ended)

    async def _make(self) -> LakeJob:
        loop = asyncio.get_running_loop()

        def make() -> LakeJob:
            # Local import: the controller imports this module to create the actor, and Spark and pandas would cost it 60 MB.
            from spark_jobs.streaming.job import LakeJob

            def on_end() -> None:
                loop.call_soon_threadsafe(self._succeed)

            return LakeJob(self._settings, self._on_other_nodes, on_end)

        return await asyncio.to_thread(make)

    async def _prepare(self) -> None:
        self._prepared = await self._make()
        self._prepared.prepare()

    def _succeed(self) -> None:
        """Called when the Spark of a job has ended: the next Spark starts while the controller notices, backs off and calls `start`."""
        self._succession = asyncio.create_task(self._prepare_successor(), name="lake successor")

    async def _prepare_successor(self) -> None:
        async with self._lock:
            if self._job is not None and self._job.ended and self._prepared is None:
                await asyncio.to_thread(self._job.stop)
                await self._prepare()
