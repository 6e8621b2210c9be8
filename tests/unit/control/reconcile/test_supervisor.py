"""The supervisor, without Ray, as a plain class."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors.ray_actor import ActorDied, ActorGone, RayActor
from control.reconcile import dashboard_actor
from control.reconcile.components import build_table
from control.reconcile.dashboard_actor import DashboardActor
from control.reconcile.probe_round import ProbeRound
from control.reconcile.supervisor import SupervisedActor, Supervisor
from cryptoviz.components import Probe
from cryptoviz.engines import process
from cryptoviz.errors import ComponentLost
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.settings import Settings, load_settings
from cryptoviz.telemetry.log_files import log_path, log_to_file
from spark_jobs.maintenance.actor import MaintenanceActor
from tests.support.processes import children_with
from tests.support.waiting import eventually_async


class Component:
    """Logs each call to its file. `hangs`: its start waits until its task is cancelled."""

    def __init__(self, settings: Settings, name: str, hangs: str = "") -> None:
        self._settings = settings
        self._name = name
        self._hangs = hangs

    async def start(self) -> None:
        log_to_file(self._settings, self._name)
        await asyncio.to_thread(get_logger("test").info, "started")
        if self._hangs:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        get_logger("test").info("stopped")

    async def kill(self) -> None:
        get_logger("test").info("killed")

    async def probe(self) -> Probe:
        return Probe(running=True, healthy=True, message=self._name)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = load_settings("demo", home=tmp_path)
    yield settings
    log_to_file(settings, "another")
    configure_logging()


def events(settings: Settings, name: str) -> list[str]:
    lines = log_path(settings, name).read_text().splitlines()
    return [line.split("event=")[1].split()[0] for line in lines]


async def test_each_component_has_its_own_calls_and_log_file(settings: Settings) -> None:
    supervisor = Supervisor()
    for name in ("kafka", "redis"):
        await supervisor.start(name, Component, (settings, name))
    assert [(await supervisor.call(name, "probe")).message for name in ("kafka", "redis")] == ["kafka", "redis"]
    await supervisor.call("kafka", "stop")
    await supervisor.remove("kafka")
    with pytest.raises(ActorGone, match=r"^its process is gone$"):
        await supervisor.call("kafka", "probe")
    assert [await supervisor.has(name) for name in ("kafka", "redis")] == [False, True]
    await supervisor.remove("kafka")
    await supervisor.start("kafka", Component, (settings, "kafka"))
    assert events(settings, "kafka") == ["started", "stopped", "killed", "killed", "started"]
    assert events(settings, "redis") == ["started"]


async def test_a_call_that_hangs_ends_with_its_component(settings: Settings) -> None:
    supervisor = Supervisor()
    await supervisor.start("redis", Component, (settings, "redis"))
    starting = asyncio.create_task(supervisor.start("kafka", Component, (settings, "kafka", "hangs")))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await supervisor.remove("kafka")
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert (await supervisor.call("redis", "probe")).healthy


def test_components_that_wait_for_a_child_process_are_supervised(settings: Settings) -> None:
    assert [name for name, spec in build_table(settings).items() if spec.supervised] == ["kafka", "object-store", "redis", "maintenance", "dashboard"]


class Ends(Component):
    """Its start and its probe raise."""

    async def start(self) -> None:
        raise SystemExit(3)

    async def probe(self) -> Probe:
        raise ZeroDivisionError("oops")


async def test_a_component_that_exits_or_raises_is_named_and_harms_no_other(settings: Settings) -> None:
    supervisor = Supervisor()
    await supervisor.start("redis", Component, (settings, "redis"))
    for call in (supervisor.start("kafka", Ends, (settings, "kafka")), supervisor.call("kafka", "probe")):
        with pytest.raises(ComponentLost, match=r"^(SystemExit: 3|ZeroDivisionError: oops)$") as lost:
            await call
        assert lost.value.component == "kafka"
    assert (await supervisor.call("redis", "probe")).healthy


class Slow(Component):
    """Its kill takes until `killed` is set."""

    killed: asyncio.Event

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def kill(self) -> None:
        await self.killed.wait()


async def test_a_removal_that_takes_long_leaves_the_calls_of_the_successor(settings: Settings) -> None:
    """As after a restart of the controller, which does not know of the removal."""
    Slow.killed = asyncio.Event()
    supervisor = Supervisor()
    first = asyncio.create_task(supervisor.start("kafka", Slow, (settings, "kafka")))
    await asyncio.sleep(0)
    removal = asyncio.create_task(supervisor.remove("kafka"))
    await asyncio.sleep(0)
    second = asyncio.create_task(supervisor.start("kafka", Slow, (settings, "kafka")))
    await asyncio.sleep(0)
    Slow.killed.set()
    assert await removal
    assert (first.cancelled(), second.done()) == (True, False)
    await supervisor.remove("kafka")
    assert second.cancelled()


class Local(RayActor):
    """An actor in this process. `deaths`: calls that fail, because its process has ended and Ray starts it again."""

    def __init__(self) -> None:
        super().__init__("supervisor", "test")
        self.held: Supervisor | None = None
        self.deaths = 0

    def create(self, cls: type[Any], *arguments: object, **options: object) -> None:
        self.held = self.held or cls(*arguments)

    async def call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        if self.deaths:
            self.deaths -= 1
            self.held = Supervisor()
            raise ActorDied("its process ended", component="supervisor", restarting=True)
        if self.held is None:
            raise ActorGone("its process is gone", component="supervisor")
        return await getattr(self.held, method)(*arguments)

    async def kill(self) -> None:
        self.held = None


async def test_the_supervisor_ends_with_its_last_component_also_if_this_controller_knows_no_other(settings: Settings) -> None:
    actor = Local()
    before = {name: SupervisedActor(actor, name, set()) for name in ("kafka", "redis")}
    for name, component in before.items():
        component.create(Component, settings, name)
        await component.call("start", timeout_s=60)
    # A later controller, which kafka has not answered yet.
    users: set[str] = set()
    await SupervisedActor(actor, "redis", users).kill()
    assert await SupervisedActor(actor, "kafka", set()).exists()
    await SupervisedActor(actor, "kafka", users).kill()
    assert actor.held is None


async def test_a_kill_during_a_restart_of_the_supervisor_leaves_what_starts_in_it(settings: Settings) -> None:
    actor, users = Local(), set[str]()
    components = {name: SupervisedActor(actor, name, users) for name in ("kafka", "redis")}
    for name, component in components.items():
        component.create(Component, settings, name)
    await components["kafka"].call("start", timeout_s=60)
    actor.deaths = 1
    await components["kafka"].kill()
    await components["redis"].call("start", timeout_s=60)
    assert (await components["redis"].call("probe", timeout_s=60)).healthy


class Counting(Local):
    """Counts the calls of each method."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        self.calls[method] += 1
        return await super().call(method, *arguments, timeout_s=timeout_s)


async def test_a_component_that_was_only_prepared_is_ended_without_an_answer_of_the_supervisor(settings: Settings) -> None:
    """It may still be starting, which takes seconds on a busy machine."""
    actor, users = Counting(), set[str]()
    components = [SupervisedActor(actor, name, users) for name in ("maintenance", "dashboard")]
    for component in components:
        component.create(Component, settings, "one")
    await components[0].kill()
    held = [actor.held is not None]
    await components[1].kill()
    held.append(actor.held is not None)
    assert held == [True, False]
    assert not actor.calls


class Late(Component):
    """Its probe takes until `answers` is set; `begun` counts the probes."""

    answers: asyncio.Event
    begun = 0

    async def probe(self) -> Probe:
        Late.begun += 1
        await self.answers.wait()
        return await super().probe()


async def started(settings: Settings, actor: Local, **classes: type[Component]) -> dict[str, SupervisedActor]:
    users, probes = set[str](), ProbeRound(actor)
    components = {name: SupervisedActor(actor, name, users, probes) for name in classes}
    for name, component in components.items():
        component.create(classes[name], settings, name)
        with suppress(ComponentLost):
            await component.call("start", timeout_s=60)
    return components


async def test_probes_of_one_step_are_one_call_and_each_gets_its_own_answer_or_error(settings: Settings) -> None:
    actor = Counting()
    components = await started(settings, actor, kafka=Component, redis=Ends, page=Component)
    components["gone"] = SupervisedActor(actor, "gone", set(), components["kafka"]._probes)
    for _ in range(2):
        answers = await asyncio.gather(*(one.call("probe", timeout_s=60) for one in components.values()), return_exceptions=True)
        assert [getattr(answer, "message", "") for answer in answers] == ["kafka", "ZeroDivisionError: oops", "page", "its process is gone"]
        assert [type(answer) for answer in answers[1::2]] == [ComponentLost, ActorGone]
    assert (actor.calls["probe_all"], actor.calls["probe"], actor.calls["call"]) == (2, 0, 0)


async def test_a_probe_that_takes_long_delays_no_other_and_is_not_begun_twice(settings: Settings) -> None:
    Late.answers, Late.begun = asyncio.Event(), 0
    components = await started(settings, Counting(), kafka=Late, redis=Component)
    late, other = (asyncio.create_task(one.call("probe", timeout_s=60)) for one in components.values())
    async with asyncio.timeout(60):
        assert (await other).message == "redis"
        assert not late.done()
        Late.answers.set()
        assert (await late).message == "kafka"
    assert Late.begun == 1


async def test_a_late_probe_of_a_removed_component_says_nothing_about_its_successor(settings: Settings) -> None:
    Late.answers, Late.begun = asyncio.Event(), 0
    components = await started(settings, Counting(), kafka=Late, redis=Component)
    kafka = components["kafka"]
    late = asyncio.create_task(kafka.call("probe", timeout_s=60))
    await eventually_async(lambda: asyncio.sleep(0, Late.begun == 1))
    await kafka.kill()
    with pytest.raises(ComponentLost):
        await late
    Late.answers.set()
    await kafka.call("start", timeout_s=60)
    assert (await kafka.call("probe", timeout_s=60)).message == "kafka"
    assert Late.begun == 2


@pytest.fixture
def spawner() -> Iterator[threading.Event]:
    """Child processes are spawned once this is set."""
    gate = threading.Event()
    holding = threading.Thread(target=process._spawner().run, args=(gate.wait,))
    holding.start()
    yield gate
    gate.set()
    holding.join()


@pytest.mark.parametrize(("cls", "argument"), [(DashboardActor, "dashboard"), (MaintenanceActor, "spark_jobs.maintenance")])
async def test_a_component_that_is_removed_while_its_process_is_spawned_leaves_none(
    settings: Settings, spawner: threading.Event, cls: type[Any], argument: str
) -> None:
    supervisor = Supervisor()
    starting = asyncio.create_task(supervisor.start("one", cls, (settings,)))
    await eventually_async(lambda: asyncio.sleep(0, process._spawner()._work.qsize() >= 1))
    removal = asyncio.create_task(supervisor.remove("one"))
    await asyncio.wait([removal], timeout=0.3)
    spawner.set()
    await removal
    await asyncio.gather(starting, return_exceptions=True)
    await asyncio.to_thread(process._spawner().run, lambda: None)  # type: ignore[arg-type, return-value]
    assert not children_with(argument)


async def test_two_starts_of_the_dashboard_make_one_process(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "page.py"
    script.write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.setattr(dashboard_actor, "_COMMAND", (sys.executable, str(script)))
    supervisor = Supervisor()
    starting = [asyncio.create_task(supervisor.start("dashboard", DashboardActor, (settings,))) for _ in range(2)]
    await eventually_async(lambda: asyncio.sleep(0, bool(children_with(str(script)))))
    # Both starts wait for the page once the second has its answer, too.
    await asyncio.to_thread(process._spawner().run, lambda: None)  # type: ignore[arg-type, return-value]
    assert len(children_with(str(script))) == 1
    await supervisor.remove("dashboard")
    await asyncio.gather(*starting, return_exceptions=True)
    assert children_with(str(script)) == []
