"""The reconcile loop. RPCs edit the desired state; the loop applies it, with one guarded step per component.

Owned by one event loop, without locks. Start, stop and probe run as tasks, at most one start or stop and one probe per component, so that a
hanging component delays no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from control.reconcile.components import YIELD_S, ComponentSpec, ComponentTable
from control.reconcile.desired_state import DesiredDocument, DesiredStore
from control.reconcile.disk_watch import DiskWatch
from control.reconcile.drain import Drain
from control.reconcile.runtime import Runtime
from control.reconcile.state import advance, is_probed
from control.reconcile.state_types import (
    Action,
    Adopted,
    Context,
    Event,
    Lost,
    Observed,
    Probed,
    Reconcile,
    Restart,
    Retry,
    Started,
    StartFailed,
    Stopped,
)
from control.reconcile.status_broadcast import StatusBroadcast
from control.to_end import to_end
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.components import ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.errors import ComponentLost, ControlRefused, TerminalError, TransientError
from cryptoviz.log import get_logger
from cryptoviz.rpc.pipeline_status import PipelineStatus

__all__ = ["Reconciler"]

_PROBE_EVERY_MS = 1_500
"""Metrics are at most 2 s old: one probe interval plus the probe. Each probe of all components takes 4 % of a core for a second."""
_REPLACE_GRACE_S = 3.0
"""Time to flush for a component that is replaced because it is broken."""
_STARTING_GRACE_S = 3.0
"""Of a component whose start has not returned: it has nothing to drain, and does not answer while its process is starting. Before its start: none."""
_STOP_AGAIN_S = 1.0
_CLOCK_STEP_MS = 1_000
"""A larger offset of the wall clock is a step, and displayed times follow. Smaller drift is ignored: it would change every status each round."""

_logger = get_logger("controller")


class Reconciler:
    """Holds the desired and observed state of all components.

    Args:
        table: the components.
        runtime: runs the components.
        store: persists the desired state.
        clock: source of time.
        interval_ms: longest pause of the loop; edits wake it at once.
        pipeline_id: see `cryptoviz.rpc.pipeline_status.pipeline_id`.
        replayed: prices come from the replay market.
        disks: adds full disks to the messages of components; None: nobody looks.
        uniform: jitter in [0, 1).
    """

    def __init__(
        self,
        table: ComponentTable,
        runtime: Runtime,
        store: DesiredStore,
        clock: Clock,
        interval_ms: int,
        *,
        pipeline_id: str = "pipeline",
        replayed: bool = False,
        disks: DiskWatch | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        self._runtime = runtime
        self._start = runtime.start if disks is None else disks.starting(runtime.start)
        self._probe = runtime.probe if disks is None else disks.probing(runtime.probe)
        self._store = store
        self._clock = clock
        self._interval_ms = interval_ms
        self._uniform = uniform
        self._document = DesiredDocument()
        self._drain = Drain(clock)
        self._seen = {name: Observed(since_ms=steady_ms(clock)) for name in table}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}
        """Awaited by the start or stop that follows."""
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._probed: dict[str, int] = {}
        """Number of the round in which each was probed last. All components are probed in the same step, so that one call may serve several."""
        self._round, self._round_ms = 0, steady_ms(clock)
        self._boot_ms = clock.now_ms() - steady_ms(clock)
        self._wake = asyncio.Event()
        self._saving = asyncio.Lock()
        self._snapshots = StatusBroadcast(pipeline_id, replayed=replayed)

    async def open(self) -> None:
        """Load the desired state and adopt running components without restarting them."""
        self._document = await self._store.load()
        found = await asyncio.gather(*(self._runtime.find(spec) for spec in self.table.values()), return_exceptions=True)
        for name, probe in zip(self.table, found, strict=True):
            if isinstance(probe, BaseException):
                _logger.warning("adoption_failed", name=name, error=str(probe))
            elif probe is not None:
                _logger.info("component_found", name=name, running=probe.running)
                self._apply(name, Adopted(probe))
        self._publish()

    async def run(self) -> None:
        """Reconcile until cancelled. An error in a step does not end the loop."""
        while True:
            self._reconcile()
            try:
                async with asyncio.timeout(self._interval_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def close(self) -> None:
        """Cancel the loop's tasks; the components keep running."""
        tasks = [*self._work.values(), *self._preparing.values(), *self._probes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def version(self) -> int:
        """Version of the newest snapshot; grows with each change, also across controllers."""
        return self._snapshots.version

    def snapshot(self) -> PipelineStatus:
        return self._snapshots.newest()

    def component(self, name: str) -> ComponentStatus:
        """The current state of one component. Raises UnknownComponent."""
        self.table.require(name)
        return self._snapshots.component(name)

    async def call(self, name: str, method: str, *arguments: object) -> object:
        """Call a method of a component. Raises UnknownComponent; ComponentLost if it does not work, or does not answer."""
        spec, status = self.table.require(name), self.component(name)
        if not status.works:
            raise ComponentLost(f"{name} is {status.state}", component=name)
        return await self._runtime.call(spec, method, *arguments)

    async def run_at(self, name: str, function: Callable[..., object], *arguments: object) -> object:
        """The result of a function that runs on the node where the component is, or was last. Raises as `Runtime.run_at`; UnknownComponent."""
        return await self._runtime.run_at(self.table.require(name), function, *arguments)

    def not_up(self, names: tuple[str, ...]) -> str:
        """Text that lists which of `names` are not up; empty if all are. Raises UnknownComponent."""
        up = (ComponentState.RUNNING, ComponentState.DEGRADED)
        return ", ".join(f"{one.name} ({one.state})" for one in map(self.component, names) if one.state not in up)

    async def changed_since(self, version: int) -> PipelineStatus:
        """The newest snapshot as soon as its version differs from `version`."""
        return await self._snapshots.changed_since(version)

    async def start(self, name: str) -> ComponentStatus:
        """Enable `name` and its dependencies. Raises UnknownComponent; ControlRefused during a shutdown, or if it cannot be stored."""
        self.table.require(name)
        return _component(await self._want((*self.table.needs(name), name), DesiredState.RUNNING), name)

    async def stop(self, name: str) -> ComponentStatus:
        """Disable `name`. Raises UnknownComponent."""
        self.table.require(name)
        return _component(await self._want((name,), DesiredState.STOPPED), name)

    async def restart(self, name: str) -> ComponentStatus:
        """Restart `name`. Raises as `start`."""
        self.table.require(name)
        return _component(await self._want((*self.table.needs(name), name), DesiredState.RUNNING, restart=name), name)

    async def start_all(self, *, keep_stopped: bool = False) -> PipelineStatus:
        """Enable every component, or only those that no call has disabled. Raises ControlRefused during a shutdown."""
        return await self._want(self.table, DesiredState.RUNNING, keep_stopped=keep_stopped)

    async def stop_all(self) -> PipelineStatus:
        """Disable every component."""
        return await self._want(self.table, DesiredState.STOPPED)

    def shutdown(self) -> PipelineStatus:
        """Stop every component but keep the desired state for the next controller."""
        self._drain.begin()
        self._reconcile()
        return self.snapshot()

    async def _want(self, names: Iterable[str], desired: DesiredState, *, restart: str = "", keep_stopped: bool = False) -> PipelineStatus:
        """Store and apply. Returns the status at that moment.

        Args:
            names: components.
            desired: their desired state.
            restart: a component to restart.
            keep_stopped: without those that are disabled once it is this call's turn.
        """
        if desired is DesiredState.RUNNING:
            self._refuse_while_draining()
        return await to_end(self._store_and_apply(names, desired, restart, keep_stopped=keep_stopped))

    async def _store_and_apply(self, names: Iterable[str], desired: DesiredState, restart: str, *, keep_stopped: bool) -> PipelineStatus:
        async with self._saving:
            known = self._document.components
            chosen = tuple(name for name in names if not (keep_stopped and known.get(name) is DesiredState.STOPPED))
            components = known | dict.fromkeys(chosen, desired)
            if components != known:
                document = DesiredDocument(self._document.revision + 1, components)
                # Persist before publishing, so that a crash in between loses no acknowledged change.
                await self._save(document)
                self._document = document
        if restart:
            self._apply(restart, Restart())
        for name in chosen:
            if desired is DesiredState.RUNNING:
                self._apply(name, Retry())
        self._reconcile()
        self._wake.set()
        return self.snapshot()

    async def _save(self, document: DesiredDocument) -> None:
        try:
            await self._store.save(document)
        except OSError as error:  # mostly a full disk
            reason = f"the desired state cannot be stored ({error}), so nothing was changed; repeat the call when it can"
            raise ControlRefused(reason, code="RESOURCE_EXHAUSTED") from error

    def _refuse_while_draining(self) -> None:
        if self._drain.begun:
            raise ControlRefused("the control service is shutting down; `cryptoviz up` starts it again", code="FAILED_PRECONDITION")

    def _desired(self, name: str) -> DesiredState:
        return DesiredState.STOPPED if self._drain.begun else self._document.components.get(name, DesiredState.STOPPED)

    def _reconcile(self) -> None:
        if steady_ms(self._clock) - self._round_ms >= _PROBE_EVERY_MS:
            self._round, self._round_ms = self._round + 1, steady_ms(self._clock)
        # Reverse order: a component that ends releases its dependencies in the same pass.
        for name in reversed(list(self.table)):
            self._guarded(name)
        self._publish()

    def _guarded(self, name: str) -> None:
        try:
            if name not in self._work or self._desired(name) is DesiredState.STOPPED:
                self._apply(name, Reconcile())
            self._probe_if_due(name)
        except Exception:  # an error in the step of one component must not stop the loop for the others
            _logger.exception("reconcile_step_failed", name=name)

    def _apply(self, name: str, event: Event) -> None:
        spec = self.table[name]
        before = self._seen[name]
        context = Context(
            desired=self._desired(name),
            now_ms=steady_ms(self._clock),
            policy=spec.policy,
            waits_for=self._waits_for(spec),
            held_by=self._held_by(spec),
            jitter=self._uniform(),
        )
        after, action = advance(before, event, context)
        self._seen[name] = after
        if after.state is not before.state:
            _logger.info("state", name=name, before=str(before.state), after=str(after.state), trigger=str(after.trigger), message=after.message)
            self._wake.set()  # components that wait for this one are checked at once
        if action is Action.PREPARE:
            self._preparing[name] = asyncio.create_task(self._run_prepare(spec, self._work.get(name)), name=f"prepare {name}")
        elif action is not Action.NONE:
            self._begin(spec, action)

    def _waits_for(self, spec: ComponentSpec) -> str:
        up = (ComponentState.RUNNING, ComponentState.DEGRADED)
        down = [name for name in spec.depends_on if self._seen[name].state not in up]
        seen = self._seen[spec.name]
        if seen.state is ComponentState.STOPPED or (seen.state is ComponentState.STARTING and seen.trigger is Trigger.DEPENDENCY):
            down += [name for name in spec.after if self._is_starting(name)]
        return ", ".join(f"{name} ({self._seen[name].state})" for name in down)

    def _is_starting(self, name: str) -> bool:
        seen = self._seen[name]
        begun = self._desired(name) is DesiredState.RUNNING and seen.state in (ComponentState.STOPPED, ComponentState.STARTING)
        return begun and (seen.state is ComponentState.STOPPED or steady_ms(self._clock) - seen.since_ms < YIELD_S * 1000)

    def _held_by(self, spec: ComponentSpec) -> str:
        users = [name for name in self.table.users(spec.name) if self._desired(name) is DesiredState.STOPPED]
        return ", ".join(name for name in users if self._seen[name].state not in (ComponentState.STOPPED, ComponentState.FAILED))

    def _begin(self, spec: ComponentSpec, action: Action) -> None:
        earlier = self._work.get(spec.name)
        probe = self._probes.pop(spec.name, None)
        self._probed.pop(spec.name, None)  # the next incarnation is probed as soon as it runs
        if probe is not None:
            probe.cancel()  # its result would describe the incarnation that ends now
        run = self._run_start(spec, earlier) if action is Action.START else self._run_stop(spec, earlier, action)
        task = asyncio.create_task(run, name=f"{action} {spec.name}")
        self._work[spec.name] = task
        task.add_done_callback(lambda done: self._finished(spec.name, done))

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        if self._work.get(name) is task:
            del self._work[name]
        self._wake.set()

    async def _run_prepare(self, spec: ComponentSpec, earlier: asyncio.Task[None] | None) -> None:
        await _ended(earlier)
        try:
            await self._runtime.prepare(spec)
        except Exception:  # the start that follows raises it again
            _logger.exception("prepare_failed", name=spec.name)

    async def _run_start(self, spec: ComponentSpec, earlier: asyncio.Task[None] | None) -> None:
        await _ended(earlier)
        await _ended(self._preparing.pop(spec.name, None))
        event: Event
        try:
            await self._start(spec)
            event = Started()
        except TerminalError as error:
            event = StartFailed(error.message, terminal=True)
        except TransientError as error:
            event = StartFailed(error.message, terminal=False)
        except Exception as error:  # any error of a start must become a state, not a lost task
            _logger.exception("start_failed", name=spec.name)
            event = StartFailed(f"{type(error).__name__}: {error}", terminal=False)
        self._work.pop(spec.name, None)
        self._apply(spec.name, event)

    async def _run_stop(self, spec: ComponentSpec, earlier: asyncio.Task[None] | None, action: Action) -> None:
        begun_s = _STARTING_GRACE_S if earlier is not None else 0.0 if spec.name in self._preparing else spec.stop_timeout_s
        if earlier is not None and earlier is not asyncio.current_task():
            earlier.cancel()
        await _ended(earlier)
        await _ended(self._preparing.pop(spec.name, None))
        grace_s = self._drain.grace_s(min(begun_s, spec.stop_timeout_s if action is Action.STOP else _REPLACE_GRACE_S))
        while not await self._try_stop(spec, grace_s):
            grace_s = 0.0
            await self._clock.sleep(_STOP_AGAIN_S)
        self._apply(spec.name, Stopped())

    async def _try_stop(self, spec: ComponentSpec, grace_s: float) -> bool:
        try:
            await self._runtime.stop(spec, grace_s)
        except Exception:  # retried; the reason is in the log
            _logger.exception("stop_failed", name=spec.name)
            return False
        return True

    def _probe_if_due(self, name: str) -> None:
        is_due = self._probed.get(name) != self._round
        if not is_probed(self._seen[name]) or not is_due or name in self._probes or name in self._work:
            return
        self._probed[name] = self._round
        task = asyncio.create_task(self._run_probe(self.table[name]), name=f"probe {name}")
        self._probes[name] = task
        task.add_done_callback(lambda done: self._probes.pop(name, None) if self._probes.get(name) is done else None)

    async def _run_probe(self, spec: ComponentSpec) -> None:
        try:
            self._apply(spec.name, Probed(await self._probe(spec)))
        except ComponentLost as lost:
            self._apply(spec.name, Lost(lost.message))
        except Exception as error:  # an error of a probe must not end the loop
            _logger.exception("probe_failed", name=spec.name)
            self._apply(spec.name, Lost(f"probe failed: {type(error).__name__}"))

    def _publish(self) -> None:
        boot_ms = self._clock.now_ms() - steady_ms(self._clock)
        if abs(boot_ms - self._boot_ms) >= _CLOCK_STEP_MS:
            self._boot_ms = boot_ms
        self._snapshots.publish(tuple(self._status(spec) for spec in self.table.values()), self._clock.now_ms())

    def _status(self, spec: ComponentSpec) -> ComponentStatus:
        seen = self._seen[spec.name]
        return ComponentStatus(
            name=spec.name,
            kind=spec.kind,
            desired=self._desired(spec.name),
            state=seen.state,
            trigger=seen.trigger,
            message=seen.message,
            since_ms=self._boot_ms + seen.since_ms,
            restarts=seen.restarts,
            metrics=seen.metrics,
            depends_on=spec.depends_on,
            pid=seen.pid,
            url=seen.url,
            nodes=seen.nodes,
        )


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await asyncio.gather(task, return_exceptions=True)


def _component(pipeline: PipelineStatus, name: str) -> ComponentStatus:
    return next(component for component in pipeline.components if component.name == name)
