"""The loop with fakes: the desired state is reached, in order, and a fault of one component does not delay another."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from control.reconcile.components import ComponentSpec, ComponentTable
from control.reconcile.desired_state import DesiredDocument
from cryptoviz.components import ComponentKind, DesiredState, Probe, Trigger
from cryptoviz.components import ComponentState as S
from cryptoviz.errors import ControlRefused, CryptoVizError, EngineUnavailable, PreflightError, UnknownComponent
from tests.support.control_fakes import Bench, FakeRuntime, MemoryStore
from tests.support.waiting import eventually_async

ALL_RUNNING = DesiredDocument(1, dict.fromkeys(("engine", "worker", "reader/one", "page"), DesiredState.RUNNING))
STEPS_S = (-3600, -2, 2, 3600, 365 * 86_400)
STALE = Probe(running=True, healthy=False, message="no data for 9 s")


async def test_nothing_runs_until_it_is_wanted() -> None:
    async with Bench() as bench:
        assert set(bench.states().values()) == {S.STOPPED}
        assert bench.reconciler.snapshot().state is S.STOPPED
        assert bench.runtime.calls == []


async def test_the_pipeline_starts_in_order_and_ends_in_reverse() -> None:
    async with Bench() as bench:
        await bench.reconciler.start_all()
        await bench.until(engine=S.RUNNING, worker=S.RUNNING, reader=S.RUNNING, page=S.RUNNING)
        started = [name for verb, name in bench.runtime.calls if verb == "start"]
        assert [name for name in started if name != "page"] == ["engine", "worker", "reader/one"]
        assert bench.reconciler.snapshot().state is S.RUNNING
        await bench.reconciler.stop_all()
        await bench.until(engine=S.STOPPED, worker=S.STOPPED, reader=S.STOPPED, page=S.STOPPED)
        ended = [name for verb, name in bench.runtime.calls if verb == "stop"]
        assert [name for name in ended if name != "page"] == ["reader/one", "worker", "engine"]
        assert ended.index("page") < ended.index("engine")


async def test_a_start_of_all_may_keep_what_was_stopped_also_by_the_next_controller() -> None:
    store = MemoryStore()
    async with Bench(store=store) as bench:
        await bench.reconciler.start("reader/one")
        await bench.reconciler.stop("reader/one")
    async with Bench(store=store) as bench:
        kept = await bench.reconciler.start_all(keep_stopped=True)
        assert {each.name for each in kept.components if each.desired is DesiredState.RUNNING} == {"engine", "worker", "page"}
        everything = await bench.reconciler.start_all()
        assert all(each.desired is DesiredState.RUNNING for each in everything.components)


async def test_a_slow_start_holds_up_its_dependents_only() -> None:
    runtime = FakeRuntime(start_gates={"engine": asyncio.Event()})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start_all()
        await bench.until(page=S.RUNNING, engine=S.STARTING, worker=S.STARTING)
        waiting = bench.reconciler.component("worker")
        assert (waiting.trigger, waiting.message) == (Trigger.DEPENDENCY, "waiting for engine (STARTING)")
        runtime.start_gates["engine"].set()
        await bench.until(reader=S.RUNNING)


async def test_the_actor_of_a_waiting_component_is_created_meanwhile_and_its_work_is_not_started() -> None:
    runtime = FakeRuntime(start_gates={"engine": asyncio.Event()}, prepare_errors={"worker": [RuntimeError("no worker process")]})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start_all()
        await eventually_async(lambda: _is({("prepare", "worker"), ("prepare", "reader/one")} <= set(runtime.calls)))
        assert runtime.count("start", "worker") == runtime.count("start", "reader/one") == 0
        runtime.start_gates["engine"].set()
        await bench.until(worker=S.RUNNING, reader=S.RUNNING)
        assert [name for verb, name in runtime.calls if verb == "prepare"] == ["reader/one", "worker"]


async def test_a_prepared_component_is_ended_like_a_started_one() -> None:
    runtime = FakeRuntime(start_gates={"engine": asyncio.Event()})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start("worker")
        await eventually_async(lambda: _is(runtime.count("prepare", "worker") == 1))
        await bench.reconciler.stop("worker")
        await bench.until(worker=S.STOPPED)
        assert runtime.calls[-1] == ("stop", "worker")


async def test_a_component_whose_start_has_not_returned_gets_little_time_to_stop() -> None:
    """It has nothing to drain, and its process may still be starting: it would not answer before. Before its start it gets none."""
    runtime = FakeRuntime(start_gates={"worker": asyncio.Event()})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start_all()
        await bench.until(engine=S.RUNNING, worker=S.STARTING, page=S.RUNNING)
        await bench.reconciler.stop_all()
        await bench.until(engine=S.STOPPED, worker=S.STOPPED, reader=S.STOPPED, page=S.STOPPED)
    assert runtime.graces == {"engine": 8.0, "page": 8.0, "worker": 3.0, "reader/one": 0.0}


@pytest.mark.parametrize("waited_s", [0, 30])
async def test_a_component_leaves_the_start_of_another_the_processor_for_half_a_minute(waited_s: int) -> None:
    table = ComponentTable(
        [
            ComponentSpec("worker", ComponentKind.COLLECTOR, "x:X", ()),
            ComponentSpec("page", ComponentKind.DASHBOARD, "x:X", (), after=("worker",)),
        ]
    )
    runtime = FakeRuntime(start_gates={"worker": asyncio.Event()})
    async with Bench(runtime=runtime, table=table) as bench:
        await bench.reconciler.start_all()
        await eventually_async(lambda: _is(bench.reconciler.component("page").message == "waiting for worker (STARTING)"))
        assert runtime.count("start", "page") == 0
        if waited_s:
            bench.clock.advance(waited_s)
        else:
            runtime.start_gates["worker"].set()
        await bench.until(page=S.RUNNING, worker=S.STARTING if waited_s else S.RUNNING)


async def test_starting_one_starts_what_it_needs_and_no_more() -> None:
    async with Bench() as bench:
        await bench.reconciler.start("worker")
        await bench.until(engine=S.RUNNING, worker=S.RUNNING)
        assert bench.states()["page"] is S.STOPPED
        assert bench.store.saved[-1].components == {"engine": DesiredState.RUNNING, "worker": DesiredState.RUNNING}


async def test_an_answer_shows_the_edit_at_once() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        status = await bench.reconciler.stop("reader/one")
        assert (status.desired, status.state) == (DesiredState.STOPPED, S.STOPPING)


async def test_verbs_are_idempotent() -> None:
    async with Bench() as bench:
        for _ in range(3):
            await bench.reconciler.start("engine")
        await bench.until(engine=S.RUNNING)
        await bench.reconciler.start("engine")
        assert bench.runtime.count("start", "engine") == 1
        assert len(bench.store.saved) == 1
        for _ in range(3):
            await bench.reconciler.stop("engine")
        await bench.until(engine=S.STOPPED)
        assert bench.runtime.count("stop", "engine") == 1


async def test_stopping_an_engine_leaves_its_users_waiting_not_crashing() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        await bench.reconciler.stop("engine")
        await bench.until(engine=S.STOPPED, worker=S.DEGRADED, reader=S.RUNNING)
        worker = bench.reconciler.component("worker")
        assert (worker.trigger, worker.message, worker.desired) == (Trigger.DEPENDENCY, "depends on engine (STOPPED)", DesiredState.RUNNING)
        assert bench.runtime.count("start", "worker") == 1
        await bench.reconciler.start("engine")
        await bench.until(engine=S.RUNNING)
        bench.clock.advance(1.5)
        await bench.until(worker=S.RUNNING)
        assert bench.reconciler.component("worker").restarts == 0


async def test_a_passing_failure_is_tried_again_a_lasting_one_is_not() -> None:
    errors: dict[str, list[CryptoVizError | Exception]] = {
        "engine": [EngineUnavailable("not yet"), EngineUnavailable("not yet")],
        "page": [PreflightError("port 5006 is taken")],
    }
    async with Bench(ALL_RUNNING, FakeRuntime(start_errors=errors)) as bench:
        await bench.until(page=S.FAILED, engine=S.BACKOFF)
        assert bench.reconciler.component("page").message == "port 5006 is taken"
        assert bench.reconciler.snapshot().state is S.FAILED
        bench.clock.advance(2)
        await eventually_async(lambda: _is(bench.runtime.count("start", "engine") == 2))
        await bench.until(engine=S.BACKOFF)
        bench.clock.advance(2)
        await bench.until(engine=S.RUNNING)
        assert bench.reconciler.component("engine").restarts == 2
        assert bench.runtime.count("start", "page") == 1
        await bench.reconciler.start("page")
        await bench.until(page=S.RUNNING)


async def test_an_unexpected_error_becomes_a_state() -> None:
    async with Bench(ALL_RUNNING, FakeRuntime(start_errors={"page": [ZeroDivisionError("oops")]})) as bench:
        await bench.until(page=S.BACKOFF, reader=S.RUNNING)
        assert "ZeroDivisionError: oops" in bench.reconciler.component("page").message


async def test_a_dead_component_comes_back() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        bench.runtime.lost.add("reader/one")
        bench.clock.advance(1.5)
        await bench.until(reader=S.BACKOFF)
        bench.runtime.lost.clear()
        bench.clock.advance(1.5)
        await bench.until(reader=S.RUNNING)
        assert bench.reconciler.component("reader/one").restarts == 1


async def test_a_stale_component_is_degraded_then_replaced() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        bench.runtime.probes["reader/one"] = STALE
        bench.clock.advance(1.5)
        await bench.until(reader=S.DEGRADED)
        assert bench.reconciler.component("reader/one").message == "no data for 9 s"
        bench.clock.advance(15)
        await bench.until(reader=S.BACKOFF)
        await eventually_async(lambda: _is(bench.runtime.count("stop", "reader/one") == 1))
        bench.runtime.probes.clear()
        bench.clock.advance(1.5)
        await bench.until(reader=S.RUNNING)


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_a_step_of_the_wall_clock_neither_lengthens_nor_shortens_a_wait(step_s: int) -> None:
    """The first failure waits 0.5 s, with jitter 1; probes run every 1.5 s; failed probes within the grace period replace nothing."""
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(engine=S.RUNNING, worker=S.RUNNING, reader=S.RUNNING, page=S.RUNNING)
        bench.runtime.lost.add("page")
        bench.clock.advance(1.5)
        await bench.until(page=S.BACKOFF)
        bench.clock.step(step_s)
        bench.runtime.lost.clear()
        starts = bench.runtime.count("start", "page")
        bench.clock.advance(0.499)
        await asyncio.sleep(0.05)
        assert bench.runtime.count("start", "page") == starts
        bench.clock.advance(0.001)
        await bench.until(page=S.RUNNING)
        # Probes continue, and the grace period keeps its duration: 15 s, doubled by the failure.
        bench.runtime.probes["page"] = STALE
        bench.clock.advance(1.5)
        await bench.until(page=S.DEGRADED)
        bench.clock.step(step_s)
        bench.clock.advance(29.0)
        await asyncio.sleep(0.05)
        assert bench.states()["page"] is S.DEGRADED
        bench.clock.advance(1.5)
        await bench.until(page=S.BACKOFF)


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_times_shown_follow_the_wall_clock(step_s: int) -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(engine=S.RUNNING, worker=S.RUNNING, reader=S.RUNNING, page=S.RUNNING)
        since_ms = bench.reconciler.component("engine").since_ms
        bench.clock.step(step_s)
        await eventually_async(lambda: _engine_since(bench, since_ms + step_s * 1000))


async def _engine_since(bench: Bench, since_ms: int) -> bool:
    return bench.reconciler.component("engine").since_ms == since_ms


async def test_a_component_that_others_hold_is_degraded_for_hours_and_never_replaced() -> None:
    held = Probe(running=True, healthy=True, message="binance asked to wait (rate_limited) until 2026-11-25T04:00:00Z", degraded=True)
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        bench.runtime.probes["reader/one"] = held
        for _ in range(6):
            bench.clock.advance(1800)
            await bench.until(reader=S.DEGRADED)
        seen = bench.reconciler.component("reader/one")
        assert (seen.message, seen.restarts) == (held.message, 0)
        assert bench.runtime.count("stop", "reader/one") == 0
        bench.runtime.probes.clear()
        bench.clock.advance(1.5)
        await bench.until(reader=S.RUNNING)


async def test_a_new_controller_takes_over_what_runs() -> None:
    runtime = FakeRuntime(alive={"engine", "worker", "reader/one", "page"})
    async with Bench(ALL_RUNNING, runtime) as bench:
        assert set(bench.states().values()) == {S.RUNNING}
        await bench.reconciler.changed_since(bench.reconciler.version)
        assert runtime.calls == []


async def test_a_new_controller_ends_what_is_not_wanted() -> None:
    runtime = FakeRuntime(alive={"page"})
    async with Bench(runtime=runtime) as bench:
        await bench.until(page=S.STOPPED)
        await eventually_async(lambda: _is(runtime.calls == [("stop", "page")]))


async def test_stop_during_a_start_cancels_it() -> None:
    runtime = FakeRuntime(start_gates={"engine": asyncio.Event()})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start("engine")
        await eventually_async(lambda: _is(runtime.count("start", "engine") == 1))
        await bench.reconciler.stop("engine")
        await bench.until(engine=S.STOPPED)
        assert runtime.calls == [("start", "engine"), ("stop", "engine")]


async def test_start_during_a_stop_waits_for_its_end() -> None:
    runtime = FakeRuntime(stop_gates={"engine": asyncio.Event()})
    async with Bench(runtime=runtime) as bench:
        await bench.reconciler.start("engine")
        await bench.until(engine=S.RUNNING)
        await bench.reconciler.stop("engine")
        await bench.reconciler.start("engine")
        assert bench.states()["engine"] is S.STOPPING
        runtime.stop_gates["engine"].set()
        await bench.until(engine=S.RUNNING)
        assert runtime.calls == [("start", "engine"), ("stop", "engine"), ("start", "engine")]


async def test_an_actor_that_resists_its_end_is_ended_again() -> None:
    async with Bench(runtime=FakeRuntime(stop_errors={"engine": [RuntimeError("still here")]})) as bench:
        await bench.reconciler.start("engine")
        await bench.until(engine=S.RUNNING)
        await bench.reconciler.stop("engine")
        await bench.until(engine=S.STOPPED)
        assert bench.runtime.count("stop", "engine") == 2


async def test_restart_stops_and_starts_and_counts() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        status = await bench.reconciler.restart("reader/one")
        assert status.state is S.STOPPING
        await bench.until(reader=S.RUNNING)
        assert bench.reconciler.component("reader/one").restarts == 1
        assert bench.runtime.count("start", "reader/one") == 2


async def test_shutdown_ends_all_but_keeps_what_is_wanted() -> None:
    async with Bench(ALL_RUNNING) as bench:
        await bench.until(reader=S.RUNNING)
        bench.reconciler.shutdown()
        await bench.until(engine=S.STOPPED, worker=S.STOPPED, reader=S.STOPPED, page=S.STOPPED)
        assert (await bench.store.load()) == ALL_RUNNING
        with pytest.raises(ControlRefused, match="shutting down"):
            await bench.reconciler.start("engine")


async def _stopping(bench: Bench, name: str) -> bool:
    return bench.runtime.count("stop", name) == 1


async def test_a_shutdown_bounds_the_time_to_drain_of_all_together() -> None:
    """Each has 8 s of its own. The first two get the 5 s of a shutdown, the next one what is left of them, and the last one at least a second."""
    gates = {"reader/one": asyncio.Event(), "worker": asyncio.Event()}
    async with Bench(ALL_RUNNING, FakeRuntime(stop_gates=gates)) as bench:
        await bench.until(engine=S.RUNNING, worker=S.RUNNING, reader=S.RUNNING, page=S.RUNNING)
        bench.reconciler.shutdown()
        for name, after_s in (("reader/one", 3.5), ("worker", 10.0)):
            await eventually_async(partial(_stopping, bench, name))
            bench.clock.advance(after_s)
            bench.reconciler.shutdown()  # again: no more time
            gates[name].set()
        await bench.until(engine=S.STOPPED, worker=S.STOPPED, reader=S.STOPPED, page=S.STOPPED)
        assert bench.runtime.graces == {"reader/one": 5.0, "page": 5.0, "worker": 1.5, "engine": 1.0}


async def test_versions_grow_and_waiting_for_one_ends() -> None:
    async with Bench() as bench:
        before = bench.reconciler.version
        assert before >= bench.clock.now_ms()  # a later controller's versions are higher than this one's
        waiter = asyncio.create_task(bench.reconciler.changed_since(before))
        await bench.reconciler.start("engine")
        async with asyncio.timeout(60):
            assert (await waiter).version > before


async def test_unknown_components_are_refused() -> None:
    async with Bench() as bench:
        for verb in (bench.reconciler.start, bench.reconciler.stop, bench.reconciler.restart):
            with pytest.raises(UnknownComponent):
                await verb("nothing")


async def _is(truth: bool) -> bool:
    return truth
