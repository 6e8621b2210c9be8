"""What watchers are shown: the newest state of all components under a version that grows with each change."""

from __future__ import annotations

import asyncio

from cryptoviz.components import ComponentStatus
from cryptoviz.rpc.pipeline_status import PipelineStatus, overall

__all__ = ["Snapshots"]


class Snapshots:
    """Holds one snapshot, the newest; whoever is slow misses those in between and nothing piles up. For one event loop."""

    def __init__(self, pipeline_id: str, *, replayed: bool) -> None:
        self._id = pipeline_id
        self._replayed = replayed
        self._shown: tuple[ComponentStatus, ...] = ()
        self._changed = asyncio.Event()
        self._version = 0

    @property
    def version(self) -> int:
        """Of the newest snapshot."""
        return self._version

    def publish(self, components: tuple[ComponentStatus, ...], now_ms: int) -> None:
        """Show `components`; nothing happens when they are what is shown already."""
        if components == self._shown and self._version:
            return
        self._shown = components
        # Starts from the clock, so that a watcher's last version stays in the past of a controller made anew.
        self._version = max(self._version + 1, now_ms)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def newest(self) -> PipelineStatus:
        """The newest snapshot."""
        state, reason = overall(self._shown)
        return PipelineStatus(state, reason, self._shown, self._replayed, self._version, self._id)

    def component(self, name: str) -> ComponentStatus:
        """One component of the newest snapshot, which must have it."""
        return next(status for status in self._shown if status.name == name)

    async def changed_since(self, version: int) -> PipelineStatus:
        """The newest snapshot, once its version is another than `version`."""
        while self._version == version:
            await self._changed.wait()
        return self.newest()
