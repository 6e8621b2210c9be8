"""Broadcast of the newest pipeline status to watchers, with a version that grows with each change."""

from __future__ import annotations

import asyncio

from cryptoviz.components import ComponentStatus
from cryptoviz.rpc.pipeline_status import PipelineStatus, overall

__all__ = ["StatusBroadcast"]


class StatusBroadcast:
    """Holds the newest snapshot; slow watchers skip intermediate snapshots. For one event loop."""

    def __init__(self, pipeline_id: str, *, replayed: bool) -> None:
        self._id = pipeline_id
        self._replayed = replayed
        self._shown: tuple[ComponentStatus, ...] = ()
        self._changed = asyncio.Event()
        self._version = 0

    @property
    def version(self) -> int:
        return self._version

    def publish(self, components: tuple[ComponentStatus, ...], now_ms: int) -> None:
        """Publish `components`; a no-op if they are unchanged."""
        if components == self._shown and self._version:
            return
        self._shown = components
        # Starts from the clock, so that versions of an earlier controller are always smaller.
        self._version = max(self._version + 1, now_ms)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def newest(self) -> PipelineStatus:
        state, reason = overall(self._shown)
        return PipelineStatus(state, reason, self._shown, self._replayed, self._version, self._id)

    def component(self, name: str) -> ComponentStatus:
        """A component of the newest snapshot, which must contain it."""
        return next(status for status in self._shown if status.name == name)

    async def changed_since(self, version: int) -> PipelineStatus:
        """The newest snapshot as soon as its version differs from `version`."""
        while self._version == version:
            await self._changed.wait()
        return self.newest()
