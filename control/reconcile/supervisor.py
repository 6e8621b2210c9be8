"""One Ray actor for the components whose work is done by a child process. Each has its own start, probe, stop and kill; see ADR 20."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from actors.ray_actor import ActorDied, ActorGone, NoAnswer, RayActor, guarded_class
from control.reconcile.probe_round import ProbeRound
from cryptoviz.components import ComponentActor
from cryptoviz.errors import CryptoVizError
from cryptoviz.telemetry.log_files import logging_as

__all__ = ["ENGINE_SUPERVISOR_NAME", "SUPERVISOR_NAME", "SupervisedActor", "Supervisor"]

SUPERVISOR_NAME = "supervisor"
ENGINE_SUPERVISOR_NAME = "supervisor/engines"
"""Of the engines, if they are placed on another node."""

_CALL_TIMEOUT_S = 4.0
_REMOVE_TIMEOUT_S = 10.0
_RETRY_S = 0.25
_TOGETHER_S = 0.3
"""A probe takes a few milliseconds, and 2 s of an engine that does not answer."""
_creating = threading.Lock()


class Supervised(ComponentActor, Protocol):
    """A component that can share a process with others."""

    async def kill(self) -> None:
        """End its child process with SIGKILL, also during a start or stop. Idempotent."""


class Supervisor:
    """The actor. Its process loses all components if it ends; the controller starts each again."""

    def __init__(self) -> None:
        self._components: dict[str, Supervised] = {}
        self._calls: dict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._late: dict[str, asyncio.Task[Any]] = {}
        """Probes that had not ended when `probe_all` returned."""

    async def start(self, name: str, cls: type[Supervised], arguments: tuple[Any, ...]) -> None:
        """Create the component if it does not exist, and start it."""
        if name not in self._components:
            # An error names the component, and a SystemExit does not end the event loop of all.
            self._components[name] = guarded_class(cls, name)(*arguments)
        await self.call(name, "start")

    async def call(self, name: str, method: str, *arguments: object) -> Any:
        """Call a method of a component. Raises ActorGone if it does not exist."""
        component = self._components.get(name)
        if component is None:
            raise ActorGone("its process is gone", component=name)
        with logging_as(name):
            call = asyncio.ensure_future(getattr(component, method)(*arguments))
        self._calls[name].add(call)
        try:
            return await call
        finally:
            self._calls[name].discard(call)

    async def probe_all(self, names: Sequence[str]) -> dict[str, Any]:
        """The probes of these components, or the CryptoVizErrors that they raised, by name; without those that take long: `probe` awaits them."""
        probes = {name: self._probing(name) for name in names}
        await asyncio.wait(probes.values(), timeout=_TOGETHER_S)
        self._late.update({name: probe for name, probe in probes.items() if not probe.done()})
        return {name: _outcome(name, probe) for name, probe in probes.items() if probe.done()}

    async def probe(self, name: str) -> Any:
        """The probe of a component, of `probe_all` if it has not ended. Raises as `call`."""
        return await self._probing(name)

    def _probing(self, name: str) -> asyncio.Task[Any]:
        late = self._late.pop(name, None)
        return late if late is not None and not late.done() else asyncio.create_task(self.call(name, "probe"))

    async def has(self, name: str) -> bool:
        return name in self._components

    async def remove(self, name: str) -> bool:
        """Kill the component's process and forget the component. No error if it does not exist. Returns whether another component exists."""
        component = self._components.pop(name, None)
        # Only its own: a successor may start before this one has ended.
        calls = self._calls.pop(name, set())
        self._late.pop(name, None)
        if component is not None:
            with logging_as(name):
                await component.kill()
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                # A start may have begun another process meanwhile.
                await component.kill()
        return bool(self._components)


def _outcome(name: str, probe: asyncio.Task[Any]) -> Any:
    if probe.cancelled():
        return ActorGone("it was removed", component=name)
    return probe.exception() or probe.result()


class SupervisedActor:
    """A component of the supervisor, as if it were an actor of its own (`RayActor`).

    Args:
        supervisor: its actor.
        name: the component.
        users: components of the supervisor that this process has created or found. The kill of a component kills a supervisor without another.
        probes: joins the probes of all of them; by default only its own.
    """

    def __init__(self, supervisor: RayActor, name: str, users: set[str], probes: ProbeRound | None = None) -> None:
        self._supervisor = supervisor
        self._name = name
        self._users = users
        self._probes = probes or ProbeRound(supervisor)
        self._made: tuple[type[Any], tuple[object, ...]] | None = None
        self._called = False

    def create(self, cls: type[Any], *arguments: object, node: str = "") -> None:
        """Create the supervisor on the node with this id, or find it. Blocks.

        The component itself is created by its `start`, also after a restart of the supervisor.
        """
        self._users.add(self._name)
        self._made = (cls, arguments)
        with _creating:
            self._supervisor.create(Supervisor, node=node)

    async def exists(self) -> bool:
        """Look the component up. It exists once it was created, until it is killed, even if it could not start."""
        if self._name in self._users:
            return True
        try:
            return bool(await self._supervisor.call("has", self._name, timeout_s=_CALL_TIMEOUT_S))
        except NoAnswer:
            return True
        except CryptoVizError:
            return False

    async def call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        """The answer of a method. Raises as `RayActor.call`."""
        self._called = True
        if method == "start" and self._made is not None:
            return await self._supervisor.call("start", self._name, *self._made, timeout_s=timeout_s)
        if method == "probe":
            answer = await self._probes.probe(self._name, timeout_s)
        else:
            answer = await self._supervisor.call("call", self._name, method, *arguments, timeout_s=timeout_s)
        self._users.add(self._name)
        return answer

    async def node(self, timeout_s: float) -> str:
        """Id of the node that it runs on. Raises as `call`."""
        return await self._supervisor.node(timeout_s)

    async def kill(self) -> None:
        """Kill the component. A supervisor that cannot do it, or has no other component, is killed. No error if none exists."""
        self._users.discard(self._name)
        try:
            async with asyncio.timeout(_REMOVE_TIMEOUT_S):
                used = await self._remove() or bool(self._users)
        except (CryptoVizError, TimeoutError):
            used = False
        if not used:
            await self._supervisor.kill()

    async def _remove(self) -> bool:
        """Returns whether the supervisor has another component. One whose process has ended has none; others may be starting in the next. It is not
        asked about a component that was never started: it may still be starting itself.
        """
        if self._made is not None and not self._called:
            return False
        while True:
            try:
                return bool(await self._supervisor.call("remove", self._name, timeout_s=_REMOVE_TIMEOUT_S))
            except ActorGone:
                return False
            except ActorDied as died:
                if not died.restarting:
                    return False
                await asyncio.sleep(_RETRY_S)
