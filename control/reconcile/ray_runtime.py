"""Components as named, detached Ray actors. The only place that calls Ray for components."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from control.reconcile.components import ComponentSpec
from cryptoviz.components import Probe
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable, TerminalError
from cryptoviz.log import get_logger
from cryptoviz.masking import clip

__all__ = ["RayRuntime", "import_class", "service_options"]

_PROBE_TIMEOUT_S = 4.0
"""Twice the 2 s that actors guarantee, for a busy machine."""
_RETRY_S = 0.25
"""Ray restarts an actor in about a second."""
_GONE_TIMEOUT_S = 10.0
_GONE_POLL_S = 0.05
_MAX_CONCURRENCY = 64
"""Concurrent calls per actor; well above what the controller and other actors need."""

_log = get_logger("controller")


def service_options(name: str, namespace: str) -> dict[str, Any]:
    """Options of a service actor: unique by name, detached, restarted whenever it dies, without a CPU share.

    It is pinned to the calling node: engines listen on loopback, and logs, token and data directory are on that node.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return {
        "name": name,
        "namespace": namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "num_cpus": 0,
        "max_concurrency": _MAX_CONCURRENCY,
        "scheduling_strategy": here,
    }


def import_class(path: str) -> type[Any]:
    """The class at `module:Class`. Raises TerminalError when it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        found: type[Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TerminalError(f"cannot import {path}: {error}; `make setup` completes the installation") from error
    return found


class RayRuntime:
    """`control.reconcile.runtime.Runtime` on the Ray cluster of this process."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._making: dict[str, asyncio.Future[Any]] = {}

    async def find(self, spec: ComponentSpec) -> Probe | None:
        """A probe of the actor, None if it does not exist."""
        actor = await self._get(spec)
        if actor is None:
            return None
        try:
            return await self.probe(spec)
        except ComponentLost as lost:
            return Probe(running=False, healthy=False, message=lost.message)

    async def start(self, spec: ComponentSpec) -> None:
        """Create the actor if it does not exist, and call its `start` until it answers or the timeout expires."""
        try:
            async with asyncio.timeout(spec.start_timeout_s):
                making = asyncio.ensure_future(asyncio.to_thread(self._make, spec))
                self._making[spec.name] = making
                # A cancelled start leaves its thread running; `stop` waits for the thread, else it would miss the actor.
                await self._start(await asyncio.shield(making))
        except TimeoutError:
            raise EngineUnavailable(f"did not start within {spec.start_timeout_s:.0f} s", engine=spec.name) from None
        except ray.exceptions.RayTaskError as error:
            raise _cause(error, spec) from None
        except ray.exceptions.RayError as error:
            raise ComponentLost(f"its actor died during the start: {_first_line(error)}", component=spec.name) from None

    async def probe(self, spec: ComponentSpec) -> Probe:
        """Probe the actor. A timeout means unhealthy; a dead actor raises ComponentLost."""
        actor = await self._get(spec)
        if actor is None:
            raise ComponentLost("its actor is gone", component=spec.name)
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                probe: Probe = await actor.probe.remote()
        except TimeoutError:
            return Probe(running=True, healthy=False, message=f"no answer within {_PROBE_TIMEOUT_S:.0f} s")
        except ray.exceptions.RayTaskError as error:
            return Probe(running=True, healthy=False, message=f"probe failed: {_cause(error, spec)}")
        except ray.exceptions.RayError:
            raise ComponentLost("its process ended", component=spec.name) from None
        return probe

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> Any:
        """Call a method of the actor, with the deadline of a probe."""
        actor = await self._get(spec)
        if actor is None:
            raise ComponentLost("its actor is gone", component=spec.name)
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await getattr(actor, method).remote(*arguments)
        except TimeoutError:
            raise ComponentLost(f"no answer within {_PROBE_TIMEOUT_S:.0f} s", component=spec.name) from None
        except ray.exceptions.RayTaskError as error:
            raise _cause(error, spec) from None
        except ray.exceptions.RayError:
            raise ComponentLost("its process ended", component=spec.name) from None

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        """Call `stop` with a deadline, kill the actor, then wait until its name is free."""
        making = self._making.pop(spec.name, None)
        if making is not None:
            await asyncio.wait([making])
        actor = await self._get(spec)
        if actor is None:
            return
        try:
            async with asyncio.timeout(grace_s):
                await actor.stop.remote()
        except TimeoutError:
            _log.warning("component_killed", name=spec.name, grace_s=grace_s)
        except ray.exceptions.RayError as error:
            # The actor is killed anyway; the error is only logged.
            _log.warning("component_stop_failed", name=spec.name, error=_first_line(error))
        await asyncio.to_thread(ray.kill, actor, no_restart=True)
        await self._until_gone(spec)

    async def _get(self, spec: ComponentSpec) -> Any | None:
        try:
            return await asyncio.to_thread(ray.get_actor, spec.name, namespace=self._namespace)
        except ValueError:
            return None

    async def _until_gone(self, spec: ComponentSpec) -> None:
        for _ in range(round(_GONE_TIMEOUT_S / _GONE_POLL_S)):
            if await self._get(spec) is None:
                return
            await asyncio.sleep(_GONE_POLL_S)
        raise ComponentLost(f"its actor still exists {_GONE_TIMEOUT_S:.0f} s after it was killed", component=spec.name)

    def _make(self, spec: ComponentSpec) -> Any:
        cls = import_class(spec.actor)
        return ray.remote(cls).options(**service_options(spec.name, self._namespace)).remote(*spec.args)

    @staticmethod
    async def _start(actor: Any) -> None:
        while True:
            try:
                await actor.start.remote()
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(_RETRY_S)  # Ray is restarting the actor; the caller's timeout ends this
            else:
                return


def _cause(error: ray.exceptions.RayTaskError, spec: ComponentSpec) -> CryptoVizError:
    cause = error.cause if isinstance(error.cause, BaseException) else error
    if isinstance(cause, CryptoVizError):
        return cause
    return ComponentLost(f"{type(cause).__name__}: {_first_line(cause)}", component=spec.name)


def _first_line(error: BaseException) -> str:
    # Ray's messages contain whole tracebacks; the first line is enough here, the rest is in the component's log.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clip(lines[0], 300) if lines else type(error).__name__
