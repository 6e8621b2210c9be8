"""Persistence of the desired state across restarts of the controller.

A local file is written on every change. An external Redis also gets a copy, which survives the loss of the head node's disk.
Each document has a revision that grows with each change: at start **the higher revision wins**, and the file at a tie. The embedded Redis
holds no copy: it is itself a component with a desired state, and its data is on the same disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import redis.asyncio
import redis.exceptions

from cryptoviz.components import DesiredState
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import DESIRED_KEY
from cryptoviz.settings import RedisSettings, Settings

__all__ = ["DesiredDocument", "DesiredStore", "FileStore", "RedisStore", "SharedStore", "build_store"]

_REDIS_TIMEOUT_S = 1.0
"""The desired state must not wait for an unavailable Redis: it is also in the file."""

_log = get_logger("controller")


@dataclass(frozen=True, slots=True)
class DesiredDocument:
    """Desired state by component. Missing names are STOPPED."""

    revision: int = 0
    components: dict[str, DesiredState] = field(default_factory=dict)

    def dumps(self) -> str:
        return json.dumps({"revision": self.revision, "components": {name: str(state) for name, state in self.components.items()}}, indent=1)

    @classmethod
    def loads(cls, text: str | bytes) -> DesiredDocument:
        """Parse the output of `dumps`. Raises ValueError for anything else."""
        tree = json.loads(text)
        try:
            return cls(int(tree["revision"]), {str(name): DesiredState(state) for name, state in tree["components"].items()})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a desired-state document: {error}") from error


class DesiredStore(Protocol):
    """Persists one document."""

    async def load(self) -> DesiredDocument:
        """The newest document; empty if none is stored."""

    async def save(self, document: DesiredDocument) -> None:
        """Persist the document. Raises OSError when no copy could be written."""


class FileStore:
    """One JSON file, replaced atomically, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> DesiredDocument:
        """The document in the file; empty if the file is missing, or damaged (logged)."""
        try:
            return DesiredDocument.loads(await asyncio.to_thread(self._path.read_bytes))
        except FileNotFoundError:
            return DesiredDocument()
        except ValueError as error:
            _log.error("desired_state_unreadable", path=str(self._path), error=str(error))
            return DesiredDocument()

    async def save(self, document: DesiredDocument) -> None:
        await asyncio.to_thread(write_private, self._path, document.dumps(), durable=True)


class RedisStore:
    """One string in Redis. Each call opens a connection, because changes are rare and an idle connection would need monitoring."""

    def __init__(self, settings: RedisSettings, key: str) -> None:
        self._settings = settings
        self._key = key

    async def load(self) -> DesiredDocument:
        """The document in Redis. Raises ConnectionError when Redis does not answer, ValueError when the string is not a document."""
        text = await self._run(lambda client: client.get(self._key))
        return DesiredDocument.loads(text) if text else DesiredDocument()

    async def save(self, document: DesiredDocument) -> None:
        """Set the string. Raises ConnectionError when Redis does not answer."""
        await self._run(lambda client: client.set(self._key, document.dumps()))

    async def _run(self, command: Callable[[redis.asyncio.Redis], Awaitable[Any]]) -> Any:
        client = open_client(self._settings, _REDIS_TIMEOUT_S)
        try:
            async with asyncio.timeout(2 * _REDIS_TIMEOUT_S):
                return await command(client)
        except (redis.exceptions.RedisError, TimeoutError) as error:
            raise ConnectionError(f"{type(error).__name__}") from None
        finally:
            await close_client(client)


class SharedStore:
    """A file and a remote copy. The higher revision wins; the copy may be unavailable."""

    def __init__(self, file: DesiredStore, copy: DesiredStore) -> None:
        self._file = file
        self._copy = copy

    async def load(self) -> DesiredDocument:
        """The document with the higher revision."""
        document = await self._file.load()
        try:
            other = await self._copy.load()
        except (OSError, ValueError) as error:
            _log.warning("desired_state_copy_unreadable", error=str(error))
            return document
        return other if other.revision > document.revision else document

    async def save(self, document: DesiredDocument) -> None:
        """Write both; only the file must succeed."""
        await self._file.save(document)
        try:
            await self._copy.save(document)
        except OSError as error:
            _log.warning("desired_state_copy_not_written", error=str(error))


def build_store(settings: Settings) -> DesiredStore:
    """The store for these settings: a file, and a copy in an external Redis."""
    file = FileStore(settings.home / "control" / "desired.json")
    if settings.redis.embedded:
        return file
    return SharedStore(file, RedisStore(settings.redis, DESIRED_KEY.format(namespace=settings.ray.namespace)))
