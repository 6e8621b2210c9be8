"""The controller: a detached Ray actor with the reconcile loop and the gRPC server. Restarted after a crash, it adopts the running components."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial

import ray

from actors.ray_actor import RayActor
from control.engine_node import engine_node, keep_engine_node
from control.operations.file_store import OperationFile
from control.operations.manager import OperationManager
from control.operations.ray_launcher import RayOperationRunner
from control.reconcile.components import build_table
from control.reconcile.desired_state import build_store
from control.reconcile.disk_watch import DiskWatch
from control.reconcile.placer import Placer
from control.reconcile.ray_runtime import RayRuntime
from control.reconcile.reconciler import Reconciler
from control.redis_claim import RedisClaim
from control.rpc.gap_service import ray_gap_reader
from control.rpc.server import ControlServer
from control.to_end import Once
from cryptoviz.clock import SystemClock
from cryptoviz.components import ComponentState
from cryptoviz.local.private import ensure_token
from cryptoviz.log import get_logger
from cryptoviz.rpc.pipeline_status import pipeline_id
from cryptoviz.settings import Settings
from cryptoviz.telemetry.log_files import log_to_file

__all__ = ["CONTROLLER_NAME", "Controller"]

CONTROLLER_NAME = "controller"

_LINGER_S = 1.0
"""Delay after the last component stopped, so that watchers receive the final state."""
_STOP_GRACE_S = 2.0

_log = get_logger("controller")


class Controller:
    """The actor. The constructor starts everything, because Ray calls only the constructor when it restarts an actor."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        runtime = RayRuntime(settings.ray.namespace, _placer(settings))
        self._reconciler = Reconciler(
            build_table(settings),
            runtime,
            build_store(settings),
            self._clock,
            settings.control.reconcile_ms,
            pipeline_id=pipeline_id(settings),
            replayed=settings.profile == "demo",
            disks=DiskWatch(settings, self._clock, runtime),
        )
        self._operations = OperationManager(
            RayOperationRunner(settings),
            OperationFile(settings.home / "control" / "operations.json"),
            settings,
            self._clock,
            self._reconciler.not_up,
        )
        self._claim = RedisClaim(settings, self._clock)
        self._claiming: asyncio.Task[None] | None = None
        self._server: ControlServer | None = None
        self._ending: asyncio.Task[None] | None = None
        self._end_metrics: Callable[[], Awaitable[None]] = _nothing
        self._shut_down = Once(self._begin_shutdown)
        self._loop = asyncio.ensure_future(self._run())

    async def ready(self) -> str:
        """Wait until the server is up and return its address. Raises the error that prevents it."""
        await self._serving()
        return self._settings.control.address

    async def shutdown(self) -> None:
        """Begin the shutdown: NOT_SERVING, components in reverse order, server, then this actor. A second call is a no-op.

        Begun by the first call, also if its caller leaves, or calls before everything serves.
        """
        await self._shut_down()

    async def _begin_shutdown(self) -> None:
        server = await self._serving()
        await server.not_serving()
        await self._operations.drain()
        self._reconciler.shutdown()
        self._ending = asyncio.create_task(self._end(server), name="end")

    async def _serving(self) -> ControlServer:
        while self._server is None:
            if self._loop.done():
                self._loop.result()
            await asyncio.sleep(0.05)
        return self._server

    async def _run(self) -> None:
        log_to_file(self._settings, CONTROLLER_NAME)
        try:
            await self._serve()
        except Exception:
            _log.exception("controller_failed")
            if self._server is not None or ray.get_runtime_context().was_current_actor_reconstructed:
                # No caller of `ready` would see the error: exit, so that Ray restarts the controller.
                await asyncio.sleep(_LINGER_S)
                os._exit(1)
            raise

    async def _serve(self) -> None:
        await asyncio.to_thread(ensure_token, self._settings.token_file, "CRYPTOVIZ_HOME")
        await self._claim.acquire()
        self._claiming = asyncio.create_task(self._claim.keep(), name="claim of redis")
        await self._reconciler.open()
        await self._operations.open()
        server = ControlServer(self._reconciler, self._operations, ray_gap_reader(self._settings), self._settings, self.shutdown)
        await server.start()
        await self._serve_metrics(server)
        self._server = server
        await self._reconciler.run()

    async def _serve_metrics(self, server: ControlServer) -> None:
        if self._settings.control.metrics_port is None:
            return
        # The web server and its client library take 20 MB.
        from control.metrics.exposition import registry_of
        from control.metrics.server import MetricsServer

        registry = registry_of(self._reconciler.snapshot, server.call_metrics, self._clock)
        metrics = MetricsServer(registry, server.callers, self._settings.control)
        await metrics.start()
        self._end_metrics = metrics.stop

    async def _end(self, server: ControlServer) -> None:
        pipeline = self._reconciler.snapshot()
        while any(component.state is not ComponentState.STOPPED for component in pipeline.components):
            pipeline = await self._reconciler.changed_since(pipeline.version)
        await asyncio.sleep(_LINGER_S)
        _log.info("control_ends")
        await self._end_metrics()
        await server.stop(_STOP_GRACE_S)
        self._loop.cancel()
        if self._claiming is not None:
            self._claiming.cancel()
        await self._claim.release()
        await self._reconciler.close()
        await RayActor(CONTROLLER_NAME, self._settings.ray.namespace).kill()


def _placer(settings: Settings) -> Placer:
    return Placer(engine_node=partial(engine_node, settings), keep_engine_node=partial(keep_engine_node, settings))


async def _nothing() -> None:
    """No metrics are served."""
