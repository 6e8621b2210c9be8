"""The supervisor, without Ray, as a plain class."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.ray_actor import ActorGone
from control.reconcile.components import build_table
from control.reconcile.supervisor import Supervisor
from cryptoviz.components import Probe
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.log_files import log_path, log_to_file
from cryptoviz.settings import Settings, load_settings


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
    async with asyncio.timeout(10):
        await supervisor.remove("kafka")
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert (await supervisor.call("redis", "probe")).healthy


def test_components_that_wait_for_a_child_process_are_supervised(settings: Settings) -> None:
    assert [name for name, spec in build_table(settings).items() if spec.supervised] == ["kafka", "object-store", "redis", "maintenance", "dashboard"]
