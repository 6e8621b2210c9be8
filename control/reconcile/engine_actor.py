"""The Ray actor around an engine, which is no actor by itself and dies with it, whatever ends that."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from cryptoviz.components import Probe
from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.log import log_to_file
from cryptoviz.settings import Settings

__all__ = ["EngineHost"]

_STOP_GRACE_S = 8.0


class EngineHost:
    """One engine (kafka, object-store, redis) as a component actor.

    Start and stop run one after the other in a thread of their own, so that the actor answers probes meanwhile.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._engine: Engine | None = None
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name}-start-stop")
        self._started = False

    async def start(self) -> None:
        """Start the engine; returns when it answers. Raises what the engine raises."""
        if self._engine is None:
            log_to_file(self._settings, self._name)
            self._engine = build_engine(self._name, self._settings)
        await asyncio.get_running_loop().run_in_executor(self._turns, self._engine.start)
        self._started = True

    async def stop(self) -> None:
        """End the engine."""
        if self._engine is None:
            return
        self._started = False
        await asyncio.get_running_loop().run_in_executor(self._turns, self._engine.stop, _STOP_GRACE_S)

    async def probe(self) -> Probe:
        """Ask the engine in its own protocol. An engine whose process ended is not running."""
        if self._engine is None or not self._started:
            return Probe(running=False, healthy=False, message="not started", pid=os.getpid())
        return await asyncio.to_thread(self._engine.probe)
