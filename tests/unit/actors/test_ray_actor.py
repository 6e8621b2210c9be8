"""Ray actors: look-up, deadlines, and typed errors, with a fake of Ray's calls (tests/integration/test_ray_errors.py uses a real cluster)."""

from __future__ import annotations

import ast
import asyncio
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    RaySystemError,
    RayTaskError,
    UnserializableException,
    WorkerCrashedError,
)

from actors import ray_actor
from actors.ray_actor import ActorDied, ActorGone, NoAnswer, RayActor, run_in_worker, run_on_other_nodes
from actors.scraping.collector_client import RayCollectorClient
from control.operations.ray_launcher import RayOperationRunner
from control.reconcile import ray_runtime
from control.reconcile.components import ComponentSpec
from control.reconcile.placer import Placer
from control.reconcile.ray_runtime import RayRuntime
from cryptoviz.components import ComponentKind, Probe
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable, PreflightError
from cryptoviz.masking import MASK, hide
from cryptoviz.placement import ClusterNode, Place
from cryptoviz.settings import Settings, load_settings
from tests.support.collection_fakes import answer

ROOT = Path(__file__).parents[3]
SPEC = ComponentSpec("scraper/kraken", ComponentKind.SCRAPER, "no.such:Class", ())


def raised(cause: Exception) -> RayTaskError:
    """What Ray raises when a method raised `cause`: an error of both classes."""
    error: RayTaskError = RayTaskError("method", f"Traceback\n{cause!r}", cause).as_instanceof_cause()
    return error


class FakeRay:
    """Actors by name. A method's answer is a value, an exception, or None for an answer that never comes."""

    def __init__(self) -> None:
        self.methods: dict[str, dict[str, object]] = {}
        self.looked_up: list[str] = []
        self.called: list[tuple[str, tuple[object, ...]]] = []
        self.killed: list[str] = []

    def get_actor(self, name: str, namespace: str) -> FakeHandle:
        assert namespace == "here"
        self.looked_up.append(name)
        if name not in self.methods:
            raise ValueError(f"Failed to look up actor with name {name!r}")
        return FakeHandle(self, name)

    def kill(self, handle: FakeHandle, *, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(handle.name)
        del self.methods[handle.name]


class FakeHandle:
    def __init__(self, fake: FakeRay, name: str) -> None:
        self.fake = fake
        self.name = name

    def __getattr__(self, method: str) -> FakeHandle:
        return _Method(self.fake, self.name, method)


class _Method(FakeHandle):
    def __init__(self, fake: FakeRay, name: str, method: str) -> None:
        super().__init__(fake, name)
        self.method = method

    async def remote(self, *arguments: object) -> object:
        self.fake.called.append((self.method, arguments))
        result = self.fake.methods[self.name][self.method]
        if result is None:
            await asyncio.Event().wait()
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()
    monkeypatch.setattr(ray, "get_actor", made.get_actor)
    monkeypatch.setattr(ray, "kill", made.kill)
    return made


DIED = ActorDiedError(RayTaskError("__init__", "Traceback\nRuntimeError: broken", RuntimeError("broken")))
UNREAD = "its answer cannot be read: System error: no such field"
FAILURES: list[tuple[Exception, type[CryptoVizError], str]] = [
    (DIED, ActorDied, "its process ended"),
    (ActorUnavailableError("is restarting", None), ActorDied, "its process ended"),
    (WorkerCrashedError(), ActorDied, "its process ended"),
    (RaySystemError(RuntimeError("raylet")), ActorDied, "its process ended"),
    (RaySystemError(ValueError("no such field"), "Traceback\nValueError: no such field"), ComponentLost, UNREAD),
    (UnserializableException("Traceback\n  File x\nHTTPStatusError: 500"), ComponentLost, "its error cannot be read: HTTPStatusError: 500"),
    (GetTimeoutError("late"), NoAnswer, "no answer within 5 s"),
    (raised(PreflightError("port 1 is taken", problems=["1"])), PreflightError, "port 1 is taken"),
    (raised(EngineUnavailable("not yet")), EngineUnavailable, "not yet"),
    (raised(ZeroDivisionError("oops\nsecond line")), ComponentLost, "ZeroDivisionError: oops"),
    (raised(TimeoutError("inside")), ComponentLost, "TimeoutError: inside"),
    (raised(ValueError("inside")), ComponentLost, "ValueError: inside"),
]


@pytest.mark.parametrize(("error", "kind", "message"), FAILURES, ids=[f"{type(error).__name__}" for error, _, _ in FAILURES])
async def test_errors_of_ray_become_typed_errors(fake: FakeRay, error: Exception, kind: type[CryptoVizError], message: str) -> None:
    fake.methods["collector"] = {"submit": error}
    with pytest.raises(CryptoVizError) as failed:
        await RayActor("collector", "here").call("submit", timeout_s=5)
    assert (type(failed.value), failed.value.message) == (kind, message)
    copy = pickle.loads(pickle.dumps(failed.value))
    assert (type(copy), copy.message) == (kind, message)


async def test_a_dead_actor_is_distinguished_from_a_restarting_one(fake: FakeRay) -> None:
    fake.methods["collector"] = {"dead": DIED, "restarting": ActorUnavailableError("is restarting", None)}
    actor = RayActor("collector", "here")
    with pytest.raises(ActorDied) as dead:
        await actor.call("dead", timeout_s=5)
    assert (dead.value.restarting, dead.value.component, dead.value.__cause__) == (False, "collector", DIED)
    assert dead.value.detail == "RuntimeError: broken"
    with pytest.raises(ActorDied) as restarting:
        await actor.call("restarting", timeout_s=5)
    assert restarting.value.restarting


async def test_a_typed_error_with_a_secret_that_only_the_caller_knows_keeps_its_type(fake: FakeRay) -> None:
    sent = pickle.dumps(PreflightError("no canary-of-the-caller", problems=["canary-of-the-caller"]))
    hide(["canary-of-the-caller"])
    fake.methods["collector"] = {"submit": raised(pickle.loads(sent))}
    with pytest.raises(PreflightError) as failed:
        await RayActor("collector", "here").call("submit", timeout_s=5)
    assert (failed.value.message, failed.value.problems) == (f"no {MASK}", [MASK])


async def test_a_failed_look_up_is_typed(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RaySystemError(RuntimeError("no GCS"))

    monkeypatch.setattr(ray, "get_actor", fails)
    for step in (RayActor("collector", "here").exists(), RayActor("collector", "here").kill(), RayActor("collector", "here").call("x", timeout_s=5)):
        with pytest.raises(ActorDied) as failed:
            await step
        assert (failed.value.component, failed.value.detail) == ("collector", "System error: no GCS")


async def test_an_actor_is_looked_up_once_and_again_after_a_failure(fake: FakeRay) -> None:
    actor = RayActor("collector", "here")
    with pytest.raises(ActorGone, match="its process is gone"):
        await actor.call("submit", 1, timeout_s=5)
    fake.methods["collector"] = {"submit": 7}
    assert [await actor.call("submit", each, timeout_s=5) for each in (2, 3)] == [7, 7]
    assert fake.looked_up == ["collector"] * 2
    fake.methods["collector"] = {"submit": DIED}
    with pytest.raises(ActorDied):
        await actor.call("submit", 4, timeout_s=5)
    fake.methods["collector"] = {"submit": 8}
    assert await actor.call("submit", 5, timeout_s=5) == 8
    assert fake.looked_up == ["collector"] * 3
    assert fake.called == [("submit", (each,)) for each in (2, 3, 4, 5)]


async def test_an_answer_that_never_comes_has_a_deadline(fake: FakeRay) -> None:
    fake.methods["collector"] = {"submit": None}
    with pytest.raises(NoAnswer, match=r"^no answer within 0 s$"):
        await RayActor("collector", "here").call("submit", timeout_s=0.01)


def test_an_actor_is_detached_restarted_and_sends_no_task_events(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    class Remote:
        def options(self, **options: object) -> Remote:
            given.update(options)
            return self

        def remote(self, *arguments: object) -> None:
            assert arguments == (3,)

    monkeypatch.setattr(ray, "remote", lambda _cls: Remote())
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "ab" * 28))
    RayActor("one", "here").create(object, 3)
    expected = {"name": "one", "namespace": "here", "lifetime": "detached", "max_restarts": -1, "enable_task_events": False}
    assert {name: given[name] for name in expected} == expected


async def test_a_kill_waits_for_the_name_and_ignores_a_missing_actor(fake: FakeRay) -> None:
    fake.methods["one"] = {}
    await RayActor("one", "here").kill()
    assert (fake.killed, fake.looked_up) == (["one"], ["one", "one"])
    await RayActor("one", "here").kill()
    assert fake.killed == ["one"]


async def test_a_task_has_a_deadline_and_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[tuple[object, bool]] = []
    result: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    class Task:
        def remote(self, *arguments: object) -> asyncio.Future[object]:
            assert arguments == (3,)
            return result

    def remote(**options: object) -> Callable[[object], Task]:
        assert options == {"num_cpus": 0, "max_retries": 0}
        return lambda _function: Task()

    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "cancel", lambda one, *, force: cancelled.append((one, force)))
    with pytest.raises(NoAnswer, match="no answer within 0 s"):
        await run_in_worker(abs, 3, timeout_s=0.01)
    assert cancelled == [(result, True)]
    result = asyncio.get_running_loop().create_future()
    result.set_exception(raised(EngineUnavailable("the store is down")))
    with pytest.raises(EngineUnavailable, match="the store is down"):
        await run_in_worker(abs, 3, timeout_s=5)
    assert len(cancelled) == 1
    result = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(run_in_worker(abs, 3, timeout_s=5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert cancelled[1:] == [(result, True)]


@pytest.mark.parametrize("error", [error for error, _, _ in FAILURES], ids=[type(error).__name__ for error, _, _ in FAILURES])
async def test_any_failure_of_the_collector_is_one_that_the_scraper_retries(fake: FakeRay, error: Exception) -> None:
    client = RayCollectorClient("here")
    with pytest.raises(EngineUnavailable, match="the collector does not answer: its process is gone"):
        await client.deregister("kraken")
    fake.methods["collector"] = {"submit": error}
    with pytest.raises(EngineUnavailable, match="the collector does not answer: ") as failed:
        await client.submit(answer("kraken", {"bitcoin": 1.0}))
    assert (failed.value.engine, failed.value.address) == ("collector", "collector")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DIED, "its process ended"),
        (raised(ZeroDivisionError("oops")), Probe(running=True, healthy=False, message="probe failed: ZeroDivisionError: oops")),
        (raised(EngineUnavailable("no Kafka")), Probe(running=True, healthy=False, message="probe failed: no Kafka")),
        (GetTimeoutError("late"), Probe(running=True, healthy=False, message="no answer within 4 s")),
    ],
)
async def test_a_probe_that_fails_is_unhealthy_and_one_of_a_dead_actor_is_lost(fake: FakeRay, error: Exception, expected: Any) -> None:
    runtime = RayRuntime("here")
    assert await runtime.find(SPEC) is None
    fake.methods[SPEC.name] = {"probe": error}
    if isinstance(expected, Probe):
        assert await runtime.probe(SPEC) == await runtime.find(SPEC) == expected
        return
    with pytest.raises(ComponentLost, match=expected):
        await runtime.probe(SPEC)
    assert await runtime.find(SPEC) == Probe(running=False, healthy=False, message=expected)


async def test_a_runtime_looks_an_actor_up_again_only_after_a_failure(fake: FakeRay) -> None:
    nodes = [ClusterNode("a1", "192.0.2.10")]
    runtime, healthy = RayRuntime("here", Placer(lambda: nodes, lambda: "a1")), Probe(running=True, healthy=True, nodes=("192.0.2.10",))
    fake.methods[SPEC.name] = {"probe": Probe(running=True, healthy=True), "id_of_ray_node": "a1", "stop": None}
    assert [await runtime.probe(SPEC) for _ in range(3)] == [healthy] * 3
    assert fake.looked_up == [SPEC.name]
    assert [method for method, _ in fake.called] == ["probe", "id_of_ray_node", "probe", "probe"]  # once for each incarnation
    fake.methods[SPEC.name] = {"probe": DIED}
    with pytest.raises(ComponentLost, match="its process ended"):
        await runtime.probe(SPEC)
    fake.methods[SPEC.name] = {"probe": Probe(running=True, healthy=True), "id_of_ray_node": DIED, "stop": None}
    assert await runtime.probe(SPEC) == Probe(running=True, healthy=True)
    fake.methods[SPEC.name]["id_of_ray_node"] = "a node that has left"
    assert await runtime.probe(SPEC) == Probe(running=True, healthy=True)
    fake.methods[SPEC.name]["id_of_ray_node"] = "a1"
    assert await runtime.probe(SPEC) == healthy
    assert fake.looked_up == [SPEC.name] * 3
    await runtime.stop(SPEC, 0.01)
    with pytest.raises(ComponentLost, match="its process is gone"):
        await runtime.probe(SPEC)


async def test_a_start_that_is_repeated_leaves_a_component_where_it_is(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after its dependency was away before its first delivery. Its log is read where it is."""
    monkeypatch.setattr(RayActor, "create", lambda *_, **__: None)
    monkeypatch.setattr(ray_runtime, "import_class", lambda _: object)
    placer = Placer(lambda: [ClusterNode("head", "192.0.2.1"), ClusterNode("b", "192.0.2.2"), ClusterNode("c", "192.0.2.3")], lambda: "head")
    runtime, spec = RayRuntime("here", placer), replace(SPEC, place=Place("spread"))
    fake.methods[spec.name] = {"start": "done", "probe": Probe(running=True, healthy=True), "id_of_ray_node": "b"}
    await runtime.start(spec)
    assert (await runtime.probe(spec)).nodes == ("192.0.2.2",)
    await placer.found(replace(spec, name="scraper/binance"), "b")
    await runtime.start(spec)
    assert (await runtime.probe(spec)).nodes == ("192.0.2.2",)
    assert placer.of(spec.name) == "b"


@pytest.mark.parametrize("outcome", [1, None, DIED, raised(ZeroDivisionError("oops"))])
async def test_a_component_is_killed_whatever_its_stop_does(fake: FakeRay, outcome: object) -> None:
    await RayRuntime("here").stop(SPEC, 0.01)
    fake.methods[SPEC.name] = {"stop": outcome}
    await RayRuntime("here").stop(SPEC, 0.01)
    assert (fake.called, fake.killed, fake.methods) == ([("stop", ())], [SPEC.name], {})


async def test_a_dead_operation_is_lost_and_ends_without_an_error(fake: FakeRay) -> None:
    settings: Settings = load_settings("live", ray={"namespace": "here"})
    runner = RayOperationRunner(settings)
    with pytest.raises(ComponentLost, match=r"^its process is gone$"):
        await runner.cancel("7")
    fake.methods["operation/7"] = {"cancel": DIED}
    with pytest.raises(ComponentLost, match=r"^its process ended$") as lost:
        await runner.cancel("7")
    assert lost.value.component == "operation/7"
    await runner.end("7")
    await runner.end("7")
    assert fake.killed == ["operation/7"]


def node_entry(address: str, node: str, alive: bool) -> dict[str, object]:
    """A node as in the output of `ray.nodes`."""
    return {"NodeManagerAddress": address, "NodeID": node, "Alive": alive, "Resources": {"CPU": 2.0} if alive else {}, "Labels": {}}


def test_a_function_runs_on_each_other_node_that_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        ("192.0.2.10", "here", True), ("192.0.2.11", "one", True), ("192.0.2.12", "ended", False), ("192.0.2.13", "mute", True),
        ("192.0.2.14", "joined again", True), ("192.0.2.14", "mute", True), ("192.0.2.10", "beside", True),
    ]  # fmt: skip
    monkeypatch.setattr(ray, "nodes", lambda: [node_entry(*node) for node in nodes])
    monkeypatch.setattr(ray_actor, "own_node", lambda: "here")

    async def run(function: object, *arguments: object, timeout_s: float, node: str) -> object:
        assert (function, arguments, timeout_s) == (abs, (-3,), 5)
        if node == "mute":
            raise NoAnswer("no answer within 5 s", component="abs")
        return node

    monkeypatch.setattr(ray_actor, "run_in_worker", run)
    found = run_on_other_nodes(abs, -3, timeout_s=5)
    assert found["192.0.2.11"] == "one"
    assert isinstance(found["192.0.2.13"], NoAnswer)
    assert (found["192.0.2.14"], found["192.0.2.10"]) == ("joined again", "beside")
    assert len(found) == 4


def test_no_other_module_calls_ray_actors() -> None:
    """Names of Ray that each module uses: `cluster` reads its folders, `cluster_nodes` extends its autoscaler's list, others run its programs."""
    found: dict[str, set[str]] = {}
    for folder in ("cryptoviz", "actors", "spark_jobs", "control", "dashboard", "market", "scripts", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            uses = set(_uses_of_ray(ast.parse(path.read_text(encoding="utf-8"))))
            if uses:
                found[path.relative_to(ROOT).as_posix()] = uses
    assert found.pop("actors/ray_actor.py") >= {"ray.get_actor", "ray.kill", ".remote()", "RayTaskError"}
    assert found == {
        "control/cluster_nodes.py": {"ClusterState", "get_lock_path", "get_state_path"},
        "control/controller.py": {"ray.get_runtime_context"},
        "control/ray_dashboard.py": {"handle"},
        "control/ray_head.py": {"internal_kv", "node", "ray_constants", "scripts", "services"},
        "spark_jobs/streaming/cluster.py": {"ray._private"},
        "spark_jobs/streaming/executor_nodes.py": {"RayError", "ray.nodes"},
        "spark_jobs/streaming/executor_places.py": {
            "RayError",
            "ray._private",
            "ray.available_resources",
            "ray.get_runtime_context",
            "ray.util",
        },
    }


def _uses_of_ray(tree: ast.Module) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    imported = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names if alias.name.split(".")[0] == "ray"]
    yield from (alias.name for alias in imported if alias.asname or alias.name != "ray")
    for node in nodes:
        if imported and isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ray":
            yield f"ray.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "remote":
            yield ".remote()"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            yield from (alias.name for alias in node.names)
