"""Persistence of operations across restarts of the controller: one JSON file, replaced atomically."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from control.to_end import to_end
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.operations import OperationStatus

__all__ = ["OperationFile", "OperationStore"]

_ALL = TypeAdapter(tuple[OperationStatus, ...])
_log = get_logger("controller")


class OperationStore(Protocol):
    """Persists operations."""

    async def load(self) -> tuple[OperationStatus, ...]:
        """The operations of the last save."""

    async def save(self, operations: Iterable[OperationStatus]) -> None:
        """Persist the operations. Raises OSError on failure."""


class OperationFile:
    """An `OperationStore` in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()

    async def load(self) -> tuple[OperationStatus, ...]:
        """The content of the file; empty if the file is missing, or damaged (logged)."""
        try:
            return _ALL.validate_json(await asyncio.to_thread(self._path.read_bytes))
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            _log.error("operations_unreadable", path=str(self._path), error=str(error.errors(include_url=False)[:1]))
            return ()

    async def save(self, operations: Iterable[OperationStatus]) -> None:
        await to_end(self._save(_ALL.dump_json(tuple(operations), indent=1)))

    async def _save(self, content: bytes) -> None:
        async with self._turn:
            await asyncio.to_thread(self._write, content)

    def _write(self, content: bytes) -> None:
        write_private(self._path, content.decode(), durable=True)
