"""Errors of Ray actors and workers with a real cluster: each is a typed error that names what failed, and ends no process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from actors.ray_actor import ActorDied, ActorGone, NoAnswer, RayActor, run_in_worker
from control.__main__ import _ready
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable
from tests.integration.hostile_actor import Hostile, Unexpected, fails_in_a_worker, hangs_in_a_worker, stops_in_a_worker
from tests.support.ray_cluster import ray_on
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.integration

NAMESPACE = "test-ray-errors"
PATIENT_S = 180.0


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_on(1, NAMESPACE, 80 << 20):
        yield


@pytest.fixture
async def actor() -> AsyncIterator[RayActor]:
    made = RayActor("hostile", NAMESPACE)
    await asyncio.to_thread(made.create, Hostile)
    yield made
    await made.kill()


async def error_of(actor: RayActor, method: str, *arguments: object) -> CryptoVizError:
    with pytest.raises(CryptoVizError) as failed:
        await actor.call(method, *arguments, timeout_s=PATIENT_S)
    return failed.value


async def test_each_error_is_typed_and_ends_no_process(actor: RayActor) -> None:
    pid = await actor.call("alive", timeout_s=PATIENT_S)
    expected: dict[str, tuple[type[CryptoVizError], str, str]] = {
        "no reconstruction": (ComponentLost, "NoReconstruction: HTTP 500", "hostile"),
        "no reduction": (ComponentLost, "NoReduction: from a library", "hostile"),
        "lock": (ComponentLost, "ValueError: with a lock", "hostile"),
        "no text": (ComponentLost, "NoText: NoText", "hostile"),
        "group": (ComponentLost, "NoReconstruction: the first", "hostile"),
        "exit": (ComponentLost, "SystemExit: 3", "hostile"),
        # The supervisor reports its components by such errors.
        "of another actor": (NoAnswer, "no answer within 3 s", "other"),
    }
    for kind, facts in expected.items():
        error = await error_of(actor, "raises", kind)
        assert isinstance(error, ComponentLost)
        assert (type(error), error.message, error.component) == facts
        assert await actor.call("alive", timeout_s=PATIENT_S) == pid
    away = await error_of(actor, "raises", "group of typed")
    assert isinstance(away, EngineUnavailable)
    assert (away.message, away.engine) == ("away", "kafka")


async def test_a_typed_error_with_an_attribute_that_does_not_pickle_keeps_its_type(actor: RayActor) -> None:
    error = await error_of(actor, "raises", "typed with a lock")
    assert isinstance(error, Unexpected)
    assert (error.message, error.setting, error.settings, hasattr(error, "lock")) == ("as set", "CRYPTOVIZ_X", (), False)


async def test_an_answer_that_cannot_be_read_is_no_dead_process(actor: RayActor) -> None:
    pid = await actor.call("alive", timeout_s=PATIENT_S)
    for kind, message in (("lock", "TypeError: cannot pickle '_thread.lock' object"), ("no loading", "its answer cannot be read: ")):
        error = await error_of(actor, "answers", kind)
        assert type(error) is ComponentLost
        assert error.message.startswith(message)
    assert "invalid literal for int() with base 10: 'not a number'" in error.message
    cancelled = await error_of(actor, "waits_for_a_cancelled_task")
    assert type(cancelled) is ComponentLost
    assert "was cancelled" in cancelled.message
    assert await actor.call("alive", timeout_s=PATIENT_S) == pid


@pytest.mark.parametrize(("how", "detail"), [("raises", "NoReconstruction: broken"), ("typed", "cryptoviz.errors.SettingsError: no such folder")])
async def test_a_constructor_that_fails_is_named(how: str, detail: str) -> None:
    made = RayActor(f"constructor-{how}", NAMESPACE)
    await asyncio.to_thread(made.create, Hostile, how)
    error = await error_of(made, "alive")
    assert isinstance(error, ActorDied)
    assert (error.message, error.component, error.detail, error.restarting) == ("its process ended", f"constructor-{how}", detail, False)
    await made.kill()
    assert not await made.exists()


async def test_the_launcher_names_why_the_controller_did_not_start() -> None:
    made = RayActor("controller", NAMESPACE)
    await asyncio.to_thread(made.create, Hostile, "typed")
    with pytest.raises(ActorDied) as died:
        await _ready(made, PATIENT_S)
    assert died.value.message == "its process ended: cryptoviz.errors.SettingsError: no such folder"
    await made.kill()


def test_a_cluster_of_another_ray_version_is_not_joined() -> None:
    address = ray.get_runtime_context().gcs_address
    code = f"""
import ray
from actors.ray_actor import join_cluster
from cryptoviz.errors import PreflightError
ray.__version__ = "1.2.3"
try:
    join_cluster({address!r}, "test")
except PreflightError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, check=True, timeout=300
    )
    versions = f"with: Ray: {re.escape(ray.__version__)} .* with: Ray: 1.2.3 .*"
    message = f"the Ray cluster at {re.escape(address)} cannot be joined: Version mismatch: .* {versions}"
    assert re.fullmatch(message, done.stdout.strip()), done.stderr


async def test_a_call_in_flight_of_a_killed_process_ends_at_once_and_the_actor_returns(actor: RayActor) -> None:
    pid = await actor.call("alive", timeout_s=PATIENT_S)
    flight = asyncio.create_task(actor.call("hangs", timeout_s=600.0))
    await asyncio.sleep(0)
    assert await actor.call("alive", timeout_s=PATIENT_S) == pid  # answered after the hanging call was sent
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDied) as died:
        await asyncio.wait_for(flight, PATIENT_S)
    assert died.value.restarting

    async def returned() -> bool:
        with contextlib.suppress(ActorDied):
            return bool(await actor.call("alive", timeout_s=PATIENT_S) != pid)
        return False

    await eventually_async(returned, PATIENT_S)


async def test_a_call_that_its_caller_cancels_leaves_the_actor_usable(actor: RayActor) -> None:
    pid = await actor.call("alive", timeout_s=PATIENT_S)
    call = asyncio.create_task(actor.call("hangs", timeout_s=600.0))
    await asyncio.sleep(0)
    call.cancel()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)
    assert await actor.call("alive", timeout_s=PATIENT_S) == pid
    with pytest.raises(NoAnswer, match="no answer within 1 s"):
        await actor.call("hangs", timeout_s=1.0)
    assert await actor.call("alive", timeout_s=PATIENT_S) == pid


async def test_a_name_that_is_used_again_is_looked_up_after_one_failed_call(actor: RayActor) -> None:
    other = RayActor("hostile", NAMESPACE)
    pid = await actor.call("alive", timeout_s=PATIENT_S)
    await other.kill()
    with pytest.raises((ActorDied, ActorGone)):
        await actor.call("alive", timeout_s=PATIENT_S)
    with pytest.raises(ActorGone, match="its process is gone"):
        await actor.call("alive", timeout_s=PATIENT_S)
    await asyncio.to_thread(other.create, Hostile)
    assert await actor.call("alive", timeout_s=PATIENT_S) != pid


async def test_errors_of_a_worker_are_typed() -> None:
    for function, message in ((fails_in_a_worker, "NoReconstruction: no table"), (stops_in_a_worker, "StopIteration: 3")):
        with pytest.raises(ComponentLost) as lost:
            await run_in_worker(function, timeout_s=PATIENT_S)
        assert (lost.value.message, lost.value.component) == (message, function.__name__)


async def test_a_worker_ends_with_the_task_that_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    waiting = asyncio.create_task(run_in_worker(hangs_in_a_worker, file, timeout_s=600.0))

    async def started() -> bool:
        return file.exists() and bool(file.read_text(encoding="ascii"))

    await eventually_async(started, PATIENT_S)
    worker = psutil.Process(int(file.read_text(encoding="ascii")))
    waiting.cancel()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)

    async def ended() -> bool:
        return not worker.is_running()

    await eventually_async(ended, PATIENT_S)
