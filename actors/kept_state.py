"""State of a provider that outlives its scraper: in a file, and in Redis, where a scraper on another node finds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from redis.exceptions import RedisError

from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import PROTECTION_KEY
from cryptoviz.settings import RedisSettings

__all__ = ["KeptState", "SharedStates"]

_TIMEOUT_S = 0.3
"""A Redis on the same network answers in a few ms; neither a poll nor a start waits longer."""
_RETRY_S = 5.0
"""Delay before a save is repeated."""


class KeptState:
    """One state, as fields of `cryptoviz.clock.steady_reference` and others. The newer of file and copy counts, by the wall clock.
    A state is newer than the one that was loaded before it, also if the clock of this node is behind.

    Args:
        path: of the file; None for no file.
        share: called with each state that is saved.
    """

    def __init__(self, path: Path | None = None, share: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._path = path
        self._share = share
        self._saved: dict[str, Any] = {}
        self._newest_ms = -1

    def load(self, copy: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The newest state that was saved; empty if there is none, it is unreadable, or it was cleared.

        `copy`: as from `SharedStates.load`. If it is known to be older than the file, that is shared.
        """
        file = self._read()
        newest = max((one for one in (self._saved, file, copy) if one), key=_saved_ms, default={})
        if copy is not None and _saved_ms(file) > _saved_ms(copy) and self._share is not None:
            self._share(file)
        self._newest_ms = max(self._newest_ms, _saved_ms(newest))
        return {} if "cleared" in newest else dict(newest)

    def save(self, state: dict[str, Any]) -> None:
        """Best effort: a full disk must not end the poll that learned the state, nor keep it from the copy."""
        self._newest_ms = max(_saved_ms(state), self._newest_ms + 1)
        if self._newest_ms > _saved_ms(state):  # the state before is of a node whose clock is ahead
            state = state | {"saved_ms": self._newest_ms}
        self._saved = state
        if self._path is not None:
            try:
                write_private(self._path, orjson.dumps(state).decode())
            except OSError as error:
                get_logger("protection").warning("state_not_kept", path=str(self._path), error=error.strerror)
        if self._share is not None:
            self._share(state)

    def clear(self, reference: dict[str, Any]) -> None:
        """Forget the state. `reference`: of the present time. Saved too, because an older copy may still have the state."""
        self.save({"cleared": True, **reference})

    def _read(self) -> dict[str, Any]:
        try:
            found = orjson.loads(self._path.read_bytes()) if self._path is not None else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class SharedStates:
    """Copies of the states of a pipeline's provider in Redis, by kind. Best effort: without Redis the files apply. For one event loop."""

    def __init__(self, settings: RedisSettings, pipeline: str, provider: str) -> None:
        self._client = open_client(settings, _TIMEOUT_S)
        self._owner = f"{pipeline}:{provider}"
        self._unsaved: dict[str, dict[str, Any]] = {}
        self._saving: asyncio.Task[None] | None = None

    async def load(self, kind: str) -> dict[str, Any] | None:
        """The copy; empty if there is none, None if Redis does not answer."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                value = await self._client.hget(PROTECTION_KEY, self._field(kind))
            found = orjson.loads(value) if value else {}
        except ValueError:
            return {}
        except (RedisError, OSError, TimeoutError):
            return None
        return found if isinstance(found, dict) else {}

    def saver(self, kind: str) -> Callable[[dict[str, Any]], None]:
        """A function that saves in the background, so that a poll does not wait for Redis. The newest state is saved as soon as Redis answers."""

        def save(state: dict[str, Any]) -> None:
            self._unsaved[kind] = state
            if self._saving is None or self._saving.done():
                self._saving = asyncio.get_running_loop().create_task(self._save(), name=f"share {self._owner}")

        return save

    async def aclose(self) -> None:
        """Wait for saves, as long as one takes; a state that Redis has not received then stays in the file."""
        if self._saving is not None:
            await asyncio.wait([self._saving], timeout=2 * _TIMEOUT_S)
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        await close_client(self._client)

    async def _save(self) -> None:
        logged = False
        while self._unsaved:
            kind, state = next(iter(self._unsaved.items()))
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._client.hset(PROTECTION_KEY, self._field(kind), orjson.dumps(state))
            except (RedisError, OSError, TimeoutError) as error:
                if not logged:
                    get_logger("protection").warning("state_not_shared", state=self._field(kind), reason=type(error).__name__)
                logged = True
                await asyncio.sleep(_RETRY_S)
            else:
                if self._unsaved[kind] is state:
                    del self._unsaved[kind]

    def _field(self, kind: str) -> str:
        return f"{kind}:{self._owner}"


def _saved_ms(state: Mapping[str, Any]) -> int:
    moment = state.get("saved_ms", state.get("at_utc_ms"))  # missing in the file of an earlier version
    return moment if isinstance(moment, int) else 0
