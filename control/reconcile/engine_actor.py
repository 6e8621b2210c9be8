"""The component of an engine process. The engine never outlives the process of the component."""

from __future__ import annotations

import asyncio
import os

from cryptoviz.components import Probe
from cryptoviz.engines.build import Engine, build_engine
from cryptoviz.engines.process import SerialThread
from cryptoviz.settings import Settings
from cryptoviz.settings.engine_tls import ServerIdentity
from cryptoviz.telemetry.log_files import log_to_file

__all__ = ["EngineActor"]

_STOP_GRACE_S = 8.0


class EngineActor:
    """Runs an engine (kafka, object-store, redis) as a component.

    Start and stop run sequentially in a separate thread, so that the actor answers probes during them.
    """

    def __init__(self, settings: Settings, name: str, identity: ServerIdentity | None = None) -> None:
        """`identity`: certificate of an embedded engine; by default of the authority of this node's home, or from the files of the settings."""
        self._settings = settings
        self._identity = identity
        self._name = name
        self._engine: Engine | None = None
        self._start_stop = SerialThread(f"{name}-start-stop")
        # Of its own: probes that hang would use up the threads that all components of the process share.
        self._probes = SerialThread(f"{name}-probe")
        self._started = False
        self._starting = 0

    async def start(self) -> None:
        """Start the engine and return when it answers. Raises the engine's errors."""
        if self._engine is None:
            log_to_file(self._settings, self._name)
            self._engine = build_engine(self._name, self._settings, self._identity)
        self._starting += 1
        try:
            await self._start_stop.run(self._engine.start)
        finally:
            self._starting -= 1
        self._started = True

    async def stop(self) -> None:
        """Stop the engine. One that is starting is killed: a start may wait a minute for the engine's answer."""
        if self._engine is None:
            return
        if self._starting:
            await self.kill()
            return
        self._started = False
        await self._start_stop.run(self._engine.stop, _STOP_GRACE_S)

    async def kill(self) -> None:
        """SIGKILL of the engine, also during a start or stop."""
        if self._engine is not None:
            self._started = False
            await asyncio.to_thread(self._engine.kill)
            await self._start_stop.run(self._engine.stop, 0.0)
            self._started = False  # again, after a start that had just ended

    async def probe(self) -> Probe:
        """Ping the engine in its own protocol. An engine whose process ended is not running."""
        if self._engine is None or not self._started:
            return Probe(running=False, healthy=False, message="not started", pid=os.getpid())
        return await self._probes.run(self._engine.probe)
