"""Components as named, detached Ray actors."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors.ray_actor import ActorDied, ActorGone, NoAnswer, RayActor, own_node, run_in_worker
from control.reconcile.components import ComponentSpec
from control.reconcile.disk_watch import Nodes
from control.reconcile.placer import Placer
from control.reconcile.probe_round import ProbeRound
from control.reconcile.supervisor import ENGINE_SUPERVISOR_NAME, SUPERVISOR_NAME, SupervisedActor
from cryptoviz.components import Probe
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable, TerminalError
from cryptoviz.log import get_logger
from cryptoviz.placement import HEAD

__all__ = ["RayRuntime", "import_class"]

_PROBE_TIMEOUT_S = 4.0
"""Twice the 2 s that actors guarantee, for a busy machine."""
_RETRY_S = 0.25
"""Ray restarts an actor in about a second."""
_RUN_AT_S = 30.0
"""The start of a Ray worker on a busy machine."""

_log = get_logger("controller")


def import_class(path: str) -> type[Any]:
    """The class at `module:Class`. Raises TerminalError when it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        found: type[Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TerminalError(f"cannot import {path}: {error}; `make setup` completes the installation") from error
    return found


class RayRuntime(Nodes):
    """`control.reconcile.runtime.Runtime` on the Ray cluster of this process."""

    def __init__(self, namespace: str, placer: Placer | None = None) -> None:
        self._namespace = namespace
        self._placer = placer or Placer()
        self._addresses: dict[str, str] = {}
        """Of the nodes of the present incarnations."""
        self._making: dict[str, asyncio.Future[Any]] = {}
        # Kept, so that a probe looks its actor up only after a failed call.
        self._actors: dict[str, RayActor | SupervisedActor] = {}
        # With the components that each has had here, the second on the node of the engines if that is not the head.
        self._supervisors = {name: _supervisor(name, namespace) for name in (SUPERVISOR_NAME, ENGINE_SUPERVISOR_NAME)}
        self._preparing: set[asyncio.Task[None]] = set()

    async def find(self, spec: ComponentSpec) -> Probe | None:
        """A probe of the actor, None if it does not exist."""
        try:
            return await self.probe(spec)
        except ActorGone:
            return None
        except ComponentLost as lost:
            return Probe(running=False, healthy=False, message=lost.message)

    async def prepare(self, spec: ComponentSpec) -> None:
        """Create the actor if it does not exist, and call its `prepare` if it has one, without waiting for that."""
        actor = self._actor(spec)
        await self._create(spec, actor)
        if spec.prepares:
            call = asyncio.create_task(self._prepare(actor, spec.start_timeout_s), name=f"prepare {spec.name}")
            self._preparing.add(call)
            call.add_done_callback(self._preparing.discard)

    async def start(self, spec: ComponentSpec) -> None:
        """Create the actor if it does not exist, and call its `start` until it answers or the timeout expires."""
        actor = self._actor(spec)
        try:
            async with asyncio.timeout(spec.start_timeout_s):
                await self._create(spec, actor)
                await self._start(actor, spec.start_timeout_s)
        except (TimeoutError, NoAnswer):
            raise EngineUnavailable(f"did not start within {spec.start_timeout_s:.0f} s", engine=spec.name) from None
        except ActorDied as died:
            raise ComponentLost(f"its actor died during the start: {died.detail}", component=spec.name) from None

    async def probe(self, spec: ComponentSpec) -> Probe:
        """Probe the actor. A timeout means unhealthy; a dead actor raises ComponentLost."""
        try:
            probe: Probe = await self.call(spec, "probe")
        except NoAnswer as late:
            return Probe(running=True, healthy=False, message=late.message)
        except (ActorGone, ActorDied):
            self._addresses.pop(spec.name, None)
            raise
        except CryptoVizError as error:
            return Probe(running=True, healthy=False, message=f"probe failed: {error}")
        address = await self._address(spec)
        return replace(probe, nodes=(address, *probe.nodes) if address else ())

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> Any:
        """Call a method of the actor, with the deadline of a probe."""
        return await self._actor(spec).call(method, *arguments, timeout_s=_PROBE_TIMEOUT_S)

    def node_of(self, spec: ComponentSpec) -> str:
        """Id of the node where the component is, or was last, if that is another than this."""
        node = self._placer.of(spec.name)
        return "" if node == own_node() else node

    async def run_at(self, spec: ComponentSpec, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a function on the node where the component is, or was last; here if that is unknown."""
        node = self.node_of(spec)
        if not node:
            return await asyncio.to_thread(function, *arguments)
        try:
            return await run_in_worker(function, *arguments, timeout_s=_RUN_AT_S, node=node)
        except ComponentLost as lost:
            raise EngineUnavailable(
                f"the node of {spec.name}, {self._placer.address(node)}, does not answer: {lost.message}", engine=spec.name
            ) from None

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        """Call `stop` with a deadline, unless it is 0, kill the actor, then wait until its name is free."""
        self._addresses.pop(spec.name, None)
        making = self._making.get(spec.name)
        if making is not None:
            await asyncio.wait([making])
            self._making.pop(spec.name, None)  # not before: this stop may be cancelled by another
        actor = self._actor(spec)
        if not await actor.exists():
            return
        if grace_s > 0:
            await self._drain(spec, actor, grace_s)
        await actor.kill()

    async def _drain(self, spec: ComponentSpec, actor: RayActor | SupervisedActor, grace_s: float) -> None:
        try:
            await actor.call("stop", timeout_s=grace_s)
        except NoAnswer:
            _log.warning("component_killed", name=spec.name, grace_s=grace_s)
            self._placer.silent(spec.name)
        except CryptoVizError as error:
            # The actor is killed next; the error is only logged.
            _log.warning("component_stop_failed", name=spec.name, error=error.message)

    async def _create(self, spec: ComponentSpec, actor: RayActor | SupervisedActor) -> None:
        node = await self._placer.choose(spec)
        self._addresses.pop(spec.name, None)  # an actor that exists stays on its node: the next probe asks it
        making = asyncio.ensure_future(asyncio.to_thread(lambda: actor.create(import_class(spec.actor), *spec.args, node=node)))
        self._making[spec.name] = making
        # A cancelled start leaves its thread running; `stop` waits for the thread, else it would miss the actor.
        await asyncio.shield(making)

    def _actor(self, spec: ComponentSpec) -> RayActor | SupervisedActor:
        if spec.name not in self._actors:
            supervisor, users, probes = self._supervisors[SUPERVISOR_NAME if spec.place == HEAD else ENGINE_SUPERVISOR_NAME]
            made = SupervisedActor(supervisor, spec.name, users, probes) if spec.supervised else RayActor(spec.name, self._namespace)
            self._actors[spec.name] = made
        return self._actors[spec.name]

    async def _address(self, spec: ComponentSpec) -> str:
        """Address of the node of the actor, empty if it is unknown."""
        if spec.name not in self._addresses:
            try:
                node = await self._actor(spec).node(_PROBE_TIMEOUT_S)
            except CryptoVizError:
                return ""
            address = await self._placer.found(spec, node)
            if not address:
                return ""
            self._addresses[spec.name] = address
        return self._addresses[spec.name]

    @staticmethod
    async def _prepare(actor: RayActor | SupervisedActor, timeout_s: float) -> None:
        with suppress(CryptoVizError):  # `start` raises the same
            await actor.call("prepare", timeout_s=timeout_s)

    @staticmethod
    async def _start(actor: RayActor | SupervisedActor, timeout_s: float) -> None:
        while True:
            try:
                await actor.call("start", timeout_s=timeout_s)
            except ActorDied as died:
                if not died.restarting:
                    raise
                await asyncio.sleep(_RETRY_S)  # the caller's timeout ends this
            else:
                return


def _supervisor(name: str, namespace: str) -> tuple[RayActor, set[str], ProbeRound]:
    actor = RayActor(name, namespace)
    return actor, set(), ProbeRound(actor)
