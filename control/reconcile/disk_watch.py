"""Full disks: the state of a component names the folder whose disk has no room left, and its start is repeated until there is room.

Each program reports a full disk in its own way, or not at all: Kafka ends with "all log dirs failed", Valkey refuses writes, MinIO answers 507, Spark
fails a batch, and logs lose lines. So the controller looks at the disks itself. Only those of its own host, where engines, logs and the lake's driver
are unless they are placed elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from control.reconcile.components import ComponentSpec
from control.reconcile.runtime import Runtime
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.components import LAKE, MAINTENANCE, Probe
from cryptoviz.engines.ray_folder import ray_folder
from cryptoviz.errors import ComponentLost, EngineUnavailable
from cryptoviz.settings import Settings

__all__ = ["LEAST_BYTES", "DiskWatch", "folders_of", "has_room"]

LEAST_BYTES = 16 * 1024 * 1024
"""Below this a disk is full. Kafka needs most at once: 10 MB for each new index of a segment."""
_LOOK_EVERY_MS = 2000
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


class DiskWatch:
    """A `Runtime` that adds full disks to the messages of another."""

    def __init__(self, runtime: Runtime, settings: Settings, clock: Clock, has_room: Callable[[Path], bool] = has_room) -> None:
        self._runtime = runtime
        self._settings = settings
        self._clock = clock
        self._has_room = has_room
        self._looked_ms: int | None = None
        self._known: dict[Path, bool] = {}
        self._folders: dict[str, tuple[Path, ...]] = {}

    async def find(self, spec: ComponentSpec) -> Probe | None:
        """As `Runtime.find`."""
        return await self._runtime.find(spec)

    async def prepare(self, spec: ComponentSpec) -> None:
        """As `Runtime.prepare`."""
        await self._runtime.prepare(spec)

    async def start(self, spec: ComponentSpec) -> None:
        """As `Runtime.start`. Every error of a start on a full disk is an EngineUnavailable, so that the start is repeated."""
        try:
            await self._runtime.start(spec)
        except Exception as error:
            if about := await self._about(spec.name):
                raise EngineUnavailable(f"{error}; {about}", engine=spec.name) from error
            raise

    async def probe(self, spec: ComponentSpec) -> Probe:
        """As `Runtime.probe`. A component that works on a full disk is degraded."""
        about = await self._about(spec.name)
        try:
            probe = await self._runtime.probe(spec)
        except ComponentLost as lost:
            raise lost.with_message(_joined(lost.message, about)) from None
        if not about:
            return probe
        return replace(probe, message=_joined(probe.message, about), degraded=probe.degraded or probe.healthy)

    async def stop(self, spec: ComponentSpec, grace_s: float) -> None:
        """As `Runtime.stop`."""
        await self._runtime.stop(spec, grace_s)

    async def call(self, spec: ComponentSpec, method: str, *arguments: object) -> Any:
        """As `Runtime.call`."""
        return await self._runtime.call(spec, method, *arguments)

    async def run_at(self, spec: ComponentSpec, function: Callable[..., Any], *arguments: object) -> Any:
        """As `Runtime.run_at`."""
        return await self._runtime.run_at(spec, function, *arguments)

    async def _about(self, name: str) -> str:
        """Which disks of the component are full; empty if none is."""
        now_ms = steady_ms(self._clock)
        if name not in self._folders:
            self._folders[name] = folders_of(self._settings, name)
        folders = self._folders[name]
        if self._looked_ms is None or now_ms - self._looked_ms >= _LOOK_EVERY_MS:
            self._looked_ms, self._known = now_ms, {}
        for folder in folders:
            if folder not in self._known:
                self._known[folder] = await asyncio.to_thread(self._has_room, folder)
        full = [str(folder) for folder in folders if not self._known.get(folder, True)]
        return f"the disk of {', '.join(full)} is full: free space there" if full else ""


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
