"""A usage store without a file or Redis."""

from __future__ import annotations

from actors.quota.usage import Usage

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps it as long as the process lives."""

    def __init__(self) -> None:
        self.usage = Usage()

    async def load(self) -> Usage:
        return self.usage

    async def save(self, usage: Usage) -> None:
        self.usage = usage
