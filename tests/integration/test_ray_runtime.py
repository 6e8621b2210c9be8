"""The Ray runtime with a real local cluster."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from actors.ray_actor import RayActor
from control.reconcile.components import ComponentSpec
from control.reconcile.ray_runtime import RayRuntime
from control.reconcile.supervisor import SUPERVISOR_NAME
from cryptoviz.components import ComponentKind, Probe
from cryptoviz.errors import ComponentLost, EngineUnavailable, PreflightError, TerminalError
from tests.support.ray_cluster import ray_on
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.integration

NAMESPACE = "test-ray-runtime"
CLASS = "tests.integration.dummies:Dummy"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_on(1, NAMESPACE, 80 << 20):
        yield


@pytest.fixture
def runtime() -> RayRuntime:
    return RayRuntime(NAMESPACE)


class Specs:
    """Specifications of components with an actor of their own, or with a shared one."""

    def __init__(self, *, supervised: bool) -> None:
        self.supervised = supervised

    def __call__(self, name: str, how: str = "", start_timeout_s: float = 120.0, actor: str = CLASS) -> ComponentSpec:
        return ComponentSpec(name, ComponentKind.ENGINE, actor, (how,) if how else (), start_timeout_s=start_timeout_s, supervised=self.supervised)


async def answered(runtime: RayRuntime, spec: ComponentSpec) -> Probe:
    """The first probe with an answer: a busy machine's actor may not give one within the runtime's 4 s."""

    async def answer() -> Probe:
        probe = await runtime.probe(spec)
        assert probe.pid is not None, probe.message
        return probe

    return await eventually_async(answer)


@pytest.fixture(params=[False, True], ids=["alone", "supervised"])
def spec(request: pytest.FixtureRequest) -> Specs:
    return Specs(supervised=request.param)


async def test_start_probe_stop_and_the_name_is_free(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("group/one")
    assert await runtime.find(one) is None
    await runtime.start(one)
    await runtime.start(one)
    first = await answered(runtime, one)
    assert first.running
    assert first.pid != os.getpid()
    await runtime.stop(one, 5)
    await runtime.stop(one, 5)
    assert await runtime.find(one) is None
    with pytest.raises(ComponentLost, match="gone"):
        await runtime.probe(one)
    await runtime.start(one)
    assert (await answered(runtime, one)).pid != first.pid
    await runtime.stop(one, 5)


async def test_a_prepared_actor_is_the_one_that_is_started(runtime: RayRuntime) -> None:
    one = replace(Specs(supervised=False)("prepared"), prepares=True)
    await runtime.prepare(one)

    async def prepared() -> bool:
        return (await runtime.probe(one)).metrics == {"prepared": 1.0}

    await eventually_async(prepared)
    before = await answered(runtime, one)
    assert not before.running
    await runtime.start(one)
    after = await answered(runtime, one)
    assert (after.running, after.pid) == (True, before.pid)
    await runtime.stop(one, 5)
    assert await runtime.find(one) is None


async def test_another_runtime_finds_what_runs(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("adopted")
    await runtime.start(one)
    found = await RayRuntime(NAMESPACE).find(one)
    assert found is not None
    assert found.running
    await runtime.stop(one, 5)


async def test_errors_keep_their_class_and_facts(runtime: RayRuntime, spec: Specs) -> None:
    with pytest.raises(PreflightError, match="port 1 is taken") as terminal:
        await runtime.start(spec("terminal", "terminal"))
    assert terminal.value.problems == ["1"]
    with pytest.raises(EngineUnavailable, match="not yet"):
        await runtime.start(spec("transient", "transient"))
    with pytest.raises(ComponentLost, match=r"^ZeroDivisionError: oops$"):
        await runtime.start(spec("bug", "bug"))
    with pytest.raises(ComponentLost, match="broken constructor" if spec.supervised else "died during the start"):
        await runtime.start(spec("unmade", "no constructor"))
    with pytest.raises(TerminalError, match=r"cannot import no\.such:Thing"):
        await runtime.start(spec("unknown", actor="no.such:Thing"))
    for name in ("terminal", "transient", "bug", "unmade"):
        await runtime.stop(spec(name), 1)


async def test_a_start_that_hangs_has_a_deadline(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("hanging", "hang in start", start_timeout_s=8)
    with pytest.raises(EngineUnavailable, match="did not start within 8 s"):
        await runtime.start(one)
    await runtime.stop(one, 1)


async def test_a_stop_that_hangs_ends_in_a_kill(runtime: RayRuntime, spec: Specs) -> None:
    for how in ("hang in stop", "bug in stop"):
        one = spec(how.replace(" ", "-"), how)
        await runtime.start(one)
        async with asyncio.timeout(300):
            await runtime.stop(one, 1)
        assert await runtime.find(one) is None


async def test_a_probe_that_fails_is_unhealthy_not_lost(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("odd", "bug in probe")
    await runtime.start(one)

    async def failed() -> bool:
        probe = await runtime.probe(one)
        assert (probe.running, probe.healthy, probe.message) == (True, False, "probe failed: ZeroDivisionError: oops")
        return True

    await eventually_async(failed)
    await runtime.stop(one, 5)
    one = spec("silent", "hang in probe")
    await runtime.start(one)
    probe = await runtime.probe(one)
    assert (probe.running, probe.healthy, probe.message) == (True, False, "no answer within 4 s")
    await runtime.stop(one, 5)


async def test_a_killed_process_is_noticed_and_started_again(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("killed")
    await runtime.start(one)
    before = (await answered(runtime, one)).pid
    assert before is not None
    os.kill(before, signal.SIGKILL)

    async def noticed() -> bool:
        try:
            return not (await runtime.probe(one)).running
        except ComponentLost:
            return True

    await eventually_async(noticed)
    await runtime.start(one)
    after = await answered(runtime, one)
    assert after.running
    assert after.pid != before
    await runtime.stop(one, 5)


async def test_a_cancelled_start_leaves_no_actor_after_stop(runtime: RayRuntime, spec: Specs) -> None:
    one = spec("cancelled")
    starting = asyncio.create_task(runtime.start(one))
    await asyncio.wait([starting], timeout=0.001)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await runtime.stop(one, 5)
    assert await runtime.find(one) is None


async def test_supervised_components_share_a_process_and_end_one_by_one(runtime: RayRuntime) -> None:
    spec = Specs(supervised=True)
    one, two, hanging = spec("one"), spec("two"), spec("three", "hang in stop")
    await asyncio.gather(*map(runtime.start, (one, two, hanging)))
    pids = {(await answered(runtime, each)).pid for each in (one, two, hanging)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    # Neither an orderly stop nor one that ends in a kill concerns the others, also when another controller does it.
    await runtime.stop(one, 5)
    assert await runtime.find(one) is None
    successor = RayRuntime(NAMESPACE)
    assert all([await successor.find(each) for each in (two, hanging)])
    await successor.stop(hanging, 0.5)
    assert await runtime.find(hanging) is None
    assert {(await answered(runtime, two)).pid} == pids
    await successor.stop(two, 5)
    assert not await RayActor(SUPERVISOR_NAME, NAMESPACE).exists()


async def test_supervised_components_are_lost_and_started_again_together(runtime: RayRuntime) -> None:
    both = [Specs(supervised=True)(name) for name in ("one", "two")]
    await asyncio.gather(*map(runtime.start, both))
    before = (await answered(runtime, both[0])).pid
    assert before is not None
    os.kill(before, signal.SIGKILL)

    async def lost(one: ComponentSpec) -> bool:
        try:
            return not (await runtime.probe(one)).running
        except ComponentLost:
            return True

    for each in both:
        await eventually_async(partial(lost, each))
    await asyncio.gather(*map(runtime.start, both))
    after = {(await answered(runtime, each)).pid for each in both}
    assert len(after) == 1
    assert before not in after
    await asyncio.gather(*(runtime.stop(each, 5) for each in both))
    assert not await RayActor(SUPERVISOR_NAME, NAMESPACE).exists()
