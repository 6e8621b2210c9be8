"""Full disks: the state of a component names the folder whose disk has no room left, and its start is repeated until there is room.

Each program reports a full disk in its own way, or not at all: Kafka ends with "all log dirs failed", Valkey refuses writes, MinIO answers 507, Spark
fails a batch, and logs lose lines. So the disks are looked at themselves, on the node of each component. Of the lake, which has executors on several
nodes, that of its driver.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from control.reconcile.components import ComponentSpec
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.components import LAKE, MAINTENANCE, Probe
from cryptoviz.engines.ray_folder import ray_folder
from cryptoviz.errors import ComponentLost, CryptoVizError, EngineUnavailable
from cryptoviz.settings import Settings

__all__ = ["LEAST_BYTES", "DiskWatch", "Nodes", "folders_of", "has_room"]

LEAST_BYTES = 16 * 1024 * 1024
"""Below this a disk is full. Kafka needs most at once: 10 MB for each new index of a segment."""
_LOOK_EVERY_MS = 2_000
_LOOK_ELSEWHERE_EVERY_MS = 30_000
"""A look on another node takes a worker of Ray there."""
_DEADLINE_S = 1.0
"""A disk answers in microseconds. One that does not, such as a network file system that is away, keeps a thread, and no probe waits for it again."""
_DATA = {"kafka": "kafka", "object-store": "minio", "redis": "redis", LAKE: "lake-scratch", MAINTENANCE: "maintenance-scratch"}
"""Folder of a component's own data in the home."""


def folders_of(settings: Settings, name: str) -> tuple[Path, ...]:
    """The folders that a component writes to: its data, and the logs and Ray's files of all."""
    own = (settings.home / _DATA[name],) if name in _DATA else ()
    ray = ray_folder(settings)
    return (*own, settings.log_dir, settings.run_dir, *((ray,) if ray else ()))


def has_room(folder: Path) -> bool:
    """Whether the disk of the folder, or of the nearest existing one above it, has bytes and inodes left. True if that is not known."""
    for place in (folder, *folder.parents):
        try:
            disk = os.statvfs(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # no permission, or a network file system that is away
            return True
        return disk.f_bavail * disk.f_frsize >= LEAST_BYTES and (disk.f_files == 0 or disk.f_favail > 0)
    return True


class Nodes:
    """The nodes of components; by default all are on this one."""

    def node_of(self, spec: ComponentSpec) -> str:
        """Id of the node of a component; empty for this one."""
        del spec
        return ""

    async def run_at(self, spec: ComponentSpec, function: Callable[..., Any], *arguments: object) -> Any:
        """As `Runtime.run_at`; used for components on other nodes."""
        raise NotImplementedError


@dataclass(slots=True)
class _Look:
    """Disks of a node. `room`: of each folder, as last seen. `asking`: the folder whose disk is being asked here."""

    room: dict[Path, bool] = field(default_factory=dict)
    looked_ms: int | None = None
    task: asyncio.Task[None] | None = None
    asking: Path | None = None


class DiskWatch:
    """Adds full disks to the messages of components. For one event loop."""

    def __init__(self, settings: Settings, clock: Clock, nodes: Nodes | None = None, has_room: Callable[[Path], bool] = has_room) -> None:
        self._settings = settings
        self._clock = clock
        self._nodes = nodes or Nodes()
        self._has_room = has_room
        self._looks: dict[str, _Look] = {}
        self._folders: dict[str, tuple[Path, ...]] = {}

    def starting(self, start: Callable[[ComponentSpec], Awaitable[None]]) -> Callable[[ComponentSpec], Awaitable[None]]:
        """`Runtime.start`, of which every error on a full disk is an EngineUnavailable, so that the start is repeated."""

        async def watched(spec: ComponentSpec) -> None:
            try:
                await start(spec)
            except Exception as error:
                if about := await self._about(spec):
                    raise EngineUnavailable(f"{error}; {about}", engine=spec.name) from error
                raise

        return watched

    def probing(self, probe: Callable[[ComponentSpec], Awaitable[Probe]]) -> Callable[[ComponentSpec], Awaitable[Probe]]:
        """`Runtime.probe`, in which a component that works on a full disk is degraded."""

        async def watched(spec: ComponentSpec) -> Probe:
            about = await self._about(spec)
            try:
                found = await probe(spec)
            except ComponentLost as lost:
                raise lost.with_message(_joined(lost.message, about)) from None
            return replace(found, message=_joined(found.message, about), degraded=found.degraded or found.healthy) if about else found

        return watched

    async def _about(self, spec: ComponentSpec) -> str:
        """Which disks of the component are full or do not answer; empty if none."""
        if spec.name not in self._folders:
            self._folders[spec.name] = folders_of(self._settings, spec.name)
        folders, node = self._folders[spec.name], self._nodes.node_of(spec)
        look, now_ms = self._looks.setdefault(node, _Look()), steady_ms(self._clock)
        new = [folder for folder in folders if folder not in look.room]
        every_ms = _LOOK_ELSEWHERE_EVERY_MS if node else _LOOK_EVERY_MS
        if look.task is None and (new or look.looked_ms is None or now_ms - look.looked_ms >= every_ms):
            look.looked_ms = now_ms if not new else look.looked_ms or now_ms
            look.room |= dict.fromkeys(new, True)
            run = partial(self._nodes.run_at, spec, _rooms) if node else partial(_in_a_thread, self._ask, look)
            look.task = asyncio.create_task(self._look(look, run, tuple(look.room)), name=f"disks {node}")
            if not node:
                await asyncio.wait([look.task], timeout=_DEADLINE_S)
        texts = []
        if full := [str(folder) for folder in folders if not look.room.get(folder, True)]:
            texts.append(f"the disk of {', '.join(full)} is full: free space there")
        if look.asking in folders:
            texts.append(f"the disk of {look.asking} does not answer")
        return _joined(*texts)

    async def _look(self, look: _Look, run: Callable[[Collection[Path]], Awaitable[dict[Path, bool]]], folders: Collection[Path]) -> None:
        try:
            look.room |= await run(folders)
        except CryptoVizError:  # the node does not answer, which its components report
            pass
        finally:
            look.task = None

    def _ask(self, look: _Look, folders: Collection[Path]) -> dict[Path, bool]:
        room = {}
        for folder in folders:
            look.asking = folder
            room[folder] = self._has_room(folder)
        look.asking = None
        return room


def _rooms(folders: Collection[Path]) -> dict[Path, bool]:
    return {folder: has_room(folder) for folder in folders}


async def _in_a_thread(function: Callable[..., dict[Path, bool]], *arguments: object) -> dict[Path, bool]:
    """As `asyncio.to_thread`, in a thread that does not keep the process, nor a place among those of other calls, if it hangs."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dict[Path, bool]] = loop.create_future()

    def set_answer(found: dict[Path, bool]) -> None:
        if not answer.done():
            answer.set_result(found)

    def run() -> None:
        found = function(*arguments)
        if not loop.is_closed():
            loop.call_soon_threadsafe(set_answer, found)

    threading.Thread(target=run, daemon=True, name="disks").start()
    return await answer


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
