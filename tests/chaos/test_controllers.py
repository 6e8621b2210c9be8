"""Faults 11 and 13: the controller is killed in the middle of a start or stop, and further controllers are started beside it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cryptoviz.client import ControlClient
from cryptoviz.cluster_record import read_record
from cryptoviz.components import ComponentKind, ComponentStatus
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import SETTINGS_FILE_VARIABLE, Settings, dump_settings_file
from tests.chaos.pipeline_rig import CONTROLLER, Recovery, assert_exact, in_order, process_of
from tests.chaos.rig import ROUNDS, SEED, Figures
from tests.support.pipeline import Demo
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

TIMEOUT_S = 120.0
"""Of a call: longer than the controller's restart."""
MOMENTS = {"scraper/coingecko": 1.0, "redis": 1.0, "collector": 2.0, "lake": 8.0}
"""How long the start of a component takes, about: the controller is killed within it, s."""


def pids(demo: Demo, but: str) -> dict[str, int | None]:
    """Process of each component but this one, and of external engines, once each was probed."""

    def known() -> dict[str, int | None]:
        with demo.control() as client:
            found = {one.name: one.pid for one in client.list().components if one.name != but and one.kind is not ComponentKind.EXTERNAL}
        assert all(found.values()), found
        return found

    return eventually(known, 120, 0.2)


def answers(demo: Demo) -> bool:
    try:
        with ControlClient.from_settings(demo.settings, timeout_s=5.0, retry=None) as client:
            return bool(client.list().components)
    except CryptoVizError:
        return False


def asked(demo: Demo, verb: str, name: str) -> ComponentStatus:
    """One call, which the SDK repeats while the service does not answer."""
    with ControlClient.from_settings(demo.settings, timeout_s=TIMEOUT_S) as client:
        status: ComponentStatus = getattr(client, verb)(name)
        return status


def killed_in(demo: Demo, verb: str, name: str, after_s: float, figures: Figures) -> None:
    """Kill the controller so long after a call was sent; repeat the call, which must change nothing more."""
    controller = process_of(demo, CONTROLLER)
    with ThreadPoolExecutor(1) as calls:
        call: Future[ComponentStatus] = calls.submit(asked, demo, verb, name)
        threading.Event().wait(after_s)
        controller.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        eventually(lambda: answers(demo), 240, 0.05)
        figures.add(f"controller, in a {verb}", time.monotonic() - killed_s)
        first = call.result(TIMEOUT_S)
    wanted = "RUNNING" if verb == "start" else "STOPPED"
    again = asked(demo, verb, name)
    assert {str(first.desired), str(again.desired)} == {wanted}
    demo.await_states(240, **{name.replace("/", "__"): wanted})
    assert process_of(demo, CONTROLLER).pid != controller.pid


@pytest.mark.parametrize("name", [pytest.param("scraper/coingecko", marks=pytest.mark.short), "redis", "collector", "lake"])
def test_a_controller_killed_in_a_start_or_stop_keeps_what_is_wanted(demo: Demo, name: str) -> None:
    figures, chance = Figures("fault 11"), random.Random(SEED)
    for _ in range(ROUNDS):
        eventually(lambda: in_order(demo), 240, 0.3)
        others = pids(demo, name)
        killed_in(demo, "stop", name, chance.uniform(0.0, 0.5), figures)
        killed_in(demo, "start", name, chance.uniform(0.0, MOMENTS[name]), figures)
        eventually(lambda: in_order(demo), 240, 0.3)
        # No other component was restarted, by any of the controllers.
        assert pids(demo, name) == others
    figures.tell()
    Recovery().made(demo)
    assert_exact(demo)


def controllers_of(demo: Demo) -> int:
    return process_of(demo, CONTROLLER).pid  # of exactly one


def launched(demo: Demo, settings: Settings, folder: Path) -> subprocess.Popen[str]:
    """`python -m control` in the cluster of the demo, with the environment of its processes."""
    record = read_record(demo.settings.home)
    assert record is not None
    dump_settings_file(settings, folder)
    env = psutil.Process(record.pid).environ() | {SETTINGS_FILE_VARIABLE: str(folder)}
    command = [sys.executable, "-m", "control", "--address", record.address]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.short
def test_of_several_controllers_one_serves_and_another_address_is_refused(demo: Demo, tmp_path: Path) -> None:
    eventually(lambda: in_order(demo), 240, 0.3)
    serving, before = controllers_of(demo), pids(demo, "")
    elsewhere = demo.settings.model_copy(update={"control": demo.settings.control.model_copy(update={"port": free_port()})})
    ours = [launched(demo, demo.settings, tmp_path / f"{number}.json") for number in range(2)]
    other = launched(demo, elsewhere, tmp_path / "other.json")
    assert [(process.communicate(timeout=240)[0], process.returncode) for process in ours] == [("", 0), ("", 0)]
    refused = other.communicate(timeout=240)[0]
    assert other.returncode == 1, refused
    assert f"a controller already serves at {demo.settings.control.address}, not at {elsewhere.control.address}" in refused
    assert controllers_of(demo) == serving
    assert pids(demo, "") == before


def test_controllers_started_while_the_first_restarts_become_one(demo: Demo, tmp_path: Path) -> None:
    figures = Figures("fault 13, controllers")
    for number in range(ROUNDS):
        eventually(lambda: in_order(demo), 240, 0.3)
        before = pids(demo, "")
        more = [launched(demo, demo.settings, tmp_path / f"{number}-{one}.json") for one in range(2)]
        process_of(demo, CONTROLLER).send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        assert [(process.communicate(timeout=240)[0], process.returncode) for process in more] == [("", 0), ("", 0)]
        figures.add("all of them see the one", time.monotonic() - killed_s)
        assert controllers_of(demo)
        assert pids(demo, "") == before
    figures.tell()
    assert_exact(demo)
