"""Full disks in the state: which folder, of which components, and that they continue when there is room."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control.reconcile.components import ComponentSpec, build_table
from control.reconcile.disk_watch import LEAST_BYTES, DiskWatch, Nodes, folders_of, has_room
from cryptoviz.components import ComponentKind, Probe
from cryptoviz.errors import ComponentLost, EngineUnavailable, PreflightError
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import FakeClock
from tests.support.control_fakes import HEALTHY, FakeRuntime
from tests.support.waiting import eventually_async


class Disks:
    """Folders without room."""

    def __init__(self) -> None:
        self.full: set[Path] = set()
        self.looks = 0

    def has_room(self, folder: Path) -> bool:
        self.looks += 1
        return folder not in self.full


class Watched:
    def __init__(self, home: Path) -> None:
        self.settings: Settings = load_settings("demo", home=home)
        self.table = build_table(self.settings)
        self.runtime, self.disks, self.clock = FakeRuntime(), Disks(), FakeClock()
        self.watch = DiskWatch(self.settings, self.clock, has_room=self.disks.has_room)
        self.start, self.probe = self.watch.starting(self.runtime.start), self.watch.probing(self.runtime.probe)

    def spec(self, name: str) -> ComponentSpec:
        return self.table[name]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_working_engine_on_a_full_disk_is_degraded_with_its_folder_and_recovers(watched: Watched, tmp_path: Path) -> None:
    assert await watched.probe(watched.spec("redis")) == HEALTHY
    watched.disks.full = {tmp_path / "redis"}
    watched.clock.advance(5)
    seen = await watched.probe(watched.spec("redis"))
    assert (seen.degraded, seen.healthy) == (True, True)
    assert seen.message == f"the disk of {tmp_path / 'redis'} is full: free space there"
    # Others have their own folders.
    assert await watched.probe(watched.spec("kafka")) == HEALTHY
    watched.disks.full = set()
    watched.clock.advance(5)
    assert await watched.probe(watched.spec("redis")) == HEALTHY


async def test_a_full_disk_of_the_logs_or_of_ray_is_reported_by_each_component(watched: Watched, tmp_path: Path) -> None:
    watched.disks.full = {tmp_path / "logs"}
    watched.runtime.probes["lake"] = Probe(running=True, healthy=False, message="no batch for 40 s")
    for name in watched.table:
        seen = await watched.probe(watched.spec(name))
        assert f"the disk of {tmp_path / 'logs'} is full" in seen.message
    assert (await watched.probe(watched.spec("lake"))).message == f"no batch for 40 s; the disk of {tmp_path / 'logs'} is full: free space there"
    # One look for all of them, and another only for folders of one that was not seen before.
    watched.disks.looks = 0
    watched.clock.advance(5)
    for name in watched.table:
        await watched.probe(watched.spec(name))
    assert watched.disks.looks == len({folder for name in watched.table for folder in folders_of(watched.settings, name)})


async def test_an_engine_that_ended_on_a_full_disk_says_so(watched: Watched, tmp_path: Path) -> None:
    watched.disks.full = {tmp_path / "kafka"}
    watched.runtime.probes["kafka"] = Probe(running=False, healthy=False, message="exited with code 1: all log dirs failed")
    seen = await watched.probe(watched.spec("kafka"))
    assert seen.message == f"exited with code 1: all log dirs failed; the disk of {tmp_path / 'kafka'} is full: free space there"
    assert not seen.running
    watched.runtime.lost.add("kafka")
    with pytest.raises(ComponentLost, match="is full"):
        await watched.probe(watched.spec("kafka"))


@pytest.mark.parametrize(
    "error",
    [PreflightError("cannot format", problems=["x"]), EngineUnavailable("did not start", engine="kafka"), OSError(28, "No space left on device")],
)
async def test_a_start_on_a_full_disk_is_repeated_until_there_is_room(watched: Watched, tmp_path: Path, error: Exception) -> None:
    """Also after an error that needs a person otherwise: room is enough."""
    watched.disks.full = {tmp_path / "kafka"}
    watched.runtime.start_errors["kafka"] = [error]
    with pytest.raises(EngineUnavailable, match=f"the disk of {tmp_path / 'kafka'} is full"):
        await watched.start(watched.spec("kafka"))
    await watched.start(watched.spec("kafka"))


async def test_an_error_with_room_on_the_disk_is_unchanged(watched: Watched) -> None:
    error = PreflightError("the port is taken", problems=["x"])
    watched.runtime.start_errors["kafka"] = [error]
    with pytest.raises(PreflightError) as raised:
        await watched.start(watched.spec("kafka"))
    assert raised.value is error


def test_room_is_measured_on_the_disk_of_the_folder_or_of_what_will_contain_it(tmp_path: Path) -> None:
    assert has_room(tmp_path)
    assert has_room(tmp_path / "made later")
    assert not has_room(Path("/proc"))  # no disk has less: 0 of 0 bytes
    assert LEAST_BYTES < 1 << 30


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EACCES])
async def test_a_disk_that_cannot_be_asked_is_not_taken_for_a_component_that_ended(
    watched: Watched, tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(place: Path) -> os.statvfs_result:
        raise OSError(code, os.strerror(code), str(place))

    monkeypatch.setattr(os, "statvfs", fails)
    assert has_room(tmp_path)
    probe = DiskWatch(watched.settings, watched.clock).probing(watched.runtime.probe)
    assert await probe(watched.spec("redis")) == HEALTHY


def test_a_folder_below_a_file_has_the_room_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    assert has_room(tmp_path / "logs" / "kafka")


async def test_a_disk_that_does_not_answer_delays_one_probe_and_takes_one_thread(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.reconcile.disk_watch._DEADLINE_S", 0.05)
    hangs, goes_on = [True], threading.Event()

    def asked(folder: Path) -> bool:
        if hangs[0] and folder == tmp_path / "redis":
            goes_on.wait(30)
        return True

    probe = DiskWatch(watched.settings, watched.clock, has_room=asked).probing(watched.runtime.probe)
    for _ in range(5):
        seen = await probe(watched.spec("redis"))
        assert (seen.message, seen.degraded) == (f"the disk of {tmp_path / 'redis'} does not answer", True)
        watched.clock.advance(5)
    assert sum(thread.name == "disks" for thread in threading.enumerate()) == 1
    assert await probe(watched.spec("kafka")) == HEALTHY
    hangs[0] = False
    goes_on.set()

    async def answered() -> bool:
        watched.clock.advance(5)
        return await probe(watched.spec("redis")) == HEALTHY

    await eventually_async(answered)


class Elsewhere(Nodes):
    """Scrapers are on another node, whose disk of logs is full."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.looks = 0
        self.away = False

    def node_of(self, spec: ComponentSpec) -> str:
        return "other" if spec.kind is ComponentKind.SCRAPER else ""

    async def run_at(self, spec: ComponentSpec, function: Callable[..., Any], *arguments: object) -> Any:
        self.looks += 1
        if self.away:
            raise EngineUnavailable("the node does not answer", engine=spec.name)
        (folders,) = arguments
        assert isinstance(folders, tuple)
        return {folder: folder != self.logs for folder in folders}


async def test_the_disk_is_that_of_the_component_s_node(watched: Watched, tmp_path: Path) -> None:
    nodes = Elsewhere(tmp_path / "logs")
    probe = DiskWatch(watched.settings, watched.clock, nodes, watched.disks.has_room).probing(watched.runtime.probe)

    async def full() -> bool:
        return (await probe(watched.spec("scraper/coingecko"))).message == f"the disk of {tmp_path / 'logs'} is full: free space there"

    await eventually_async(full)  # no probe waits for another node
    assert await probe(watched.spec("kafka")) == HEALTHY
    assert nodes.looks == 1
    watched.clock.advance(29)
    await probe(watched.spec("scraper/coingecko"))
    assert nodes.looks == 1
    nodes.away = True
    watched.clock.advance(2)
    await probe(watched.spec("scraper/coingecko"))
    await asyncio.sleep(0)
    assert nodes.looks == 2
    assert await full()  # as last seen
