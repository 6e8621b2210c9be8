"""Where the desired state is kept, so that a controller made anew wants what its predecessor wanted.

A local file is written on every change. A Redis that is not ours to start also gets a copy, which survives the loss of the head node's disk.
Each document carries a revision that grows with each change: at start **the higher revision wins**, and the file at a tie. The embedded Redis
holds no copy: it is itself one of the components whose desired state is asked for, and it lives on the same disk.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import redis.asyncio
import redis.exceptions

from cryptoviz.components import DesiredState
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings

__all__ = ["DesiredDocument", "DesiredStore", "FileStore", "RedisStore", "SharedStore", "build_store"]

_REDIS_TIMEOUT_S = 1.0
"""The desired state must not wait for a Redis that is away; the file has it."""

_log = get_logger("controller")


@dataclass(frozen=True, slots=True)
class DesiredDocument:
    """What is wanted of each component. Names that are missing are not wanted."""

    revision: int = 0
    components: dict[str, DesiredState] = field(default_factory=dict)

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({"revision": self.revision, "components": {name: str(state) for name, state in self.components.items()}}, indent=1)

    @classmethod
    def loads(cls, text: str | bytes) -> DesiredDocument:
        """From `dumps`. Raises ValueError for anything else."""
        tree = json.loads(text)
        try:
            return cls(int(tree["revision"]), {str(name): DesiredState(state) for name, state in tree["components"].items()})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a desired-state document: {error}") from error


class DesiredStore(Protocol):
    """Keeps one document."""

    async def load(self) -> DesiredDocument:
        """The newest document, an empty one if there is none."""
        ...

    async def save(self, document: DesiredDocument) -> None:
        """Keep it. Raises OSError when it cannot be kept at all."""
        ...


class FileStore:
    """One JSON file, replaced atomically, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> DesiredDocument:
        """What the file says; an empty document when it is missing or damaged (which is logged)."""
        try:
            return DesiredDocument.loads(await asyncio.to_thread(self._path.read_bytes))
        except FileNotFoundError:
            return DesiredDocument()
        except ValueError as error:
            _log.error("desired_state_unreadable", path=str(self._path), error=str(error))
            return DesiredDocument()

    async def save(self, document: DesiredDocument) -> None:
        """Replace the file."""
        await asyncio.to_thread(self._write, document.dumps())

    def _write(self, text: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)


class RedisStore:
    """One string in a Redis. Each call opens its own connection: changes are rare and an idle connection would have to be watched."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    async def load(self) -> DesiredDocument:
        """What Redis holds. Raises ConnectionError when it does not answer, ValueError when it holds something else."""
        text = await self._run(lambda client: client.get(self._key))
        return DesiredDocument.loads(text) if text else DesiredDocument()

    async def save(self, document: DesiredDocument) -> None:
        """Set the string. Raises ConnectionError when Redis does not answer."""
        await self._run(lambda client: client.set(self._key, document.dumps()))

    async def _run(self, command: Callable[[redis.asyncio.Redis], Awaitable[Any]]) -> Any:
        client = redis.asyncio.from_url(self._url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S)
        try:
            return await command(client)
        except redis.exceptions.RedisError as error:
            raise ConnectionError(f"{type(error).__name__}") from None
        finally:
            await client.aclose()


class SharedStore:
    """A file and a copy elsewhere. The higher revision wins; the copy may be away."""

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
    """The store that the settings ask for."""
    file = FileStore(settings.home / "control" / "desired.json")
    if settings.redis.embedded:
        return file
    return SharedStore(file, RedisStore(settings.redis.url, f"cryptoviz:control:{settings.ray.namespace}:desired"))
