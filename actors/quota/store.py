"""Where the use of a provider is kept: a small file, and Redis, so that either may be lost. Written before a call goes: a kill loses no count."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, fields
from pathlib import Path
from typing import Protocol

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from actors.quota.plan import Usage
from cryptoviz.clock import Clock
from cryptoviz.log import get_logger

__all__ = ["QUOTA_KEY", "FileStore", "MemoryStore", "RedisStore", "UsageStore", "decode_usage", "encode_usage"]

QUOTA_KEY = "cryptoviz:quota"
"""Hash: provider -> its `Usage` as JSON."""
_TIMEOUT_S = 0.3
"""A Redis on the same machine or network answers in a few ms; a poll is not held up for longer."""
_RETRY_S = 5.0
"""A Redis that is away is asked again after so long."""


class UsageStore(Protocol):
    """Keeps one provider's use. Never raises: a store that fails is one that knows nothing."""

    async def load(self) -> Usage:
        """What was saved last, or an empty one."""
        ...

    async def save(self, usage: Usage) -> None:
        """Keep it."""
        ...


class MemoryStore:
    """Keeps it as long as the process lives."""

    def __init__(self) -> None:
        self.usage = Usage()

    async def load(self) -> Usage:
        """See `UsageStore`."""
        return self.usage

    async def save(self, usage: Usage) -> None:
        """See `UsageStore`."""
        self.usage = usage


class FileStore:
    """A file that is replaced whole. An unreadable one counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Usage:
        """See `UsageStore`."""
        try:
            return decode_usage(self._path.read_bytes())
        except (OSError, ValueError):
            return Usage()

    async def save(self, usage: Usage) -> None:
        """See `UsageStore`. A hundred bytes: not worth a thread."""
        scratch = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_bytes(encode_usage(usage))
            scratch.replace(self._path)
        except OSError as error:
            get_logger("quota").warning("quota_file_not_written", path=str(self._path), error=error.strerror)


class RedisStore:
    """A field of the hash `cryptoviz:quota`."""

    def __init__(self, url: str, provider: str, clock: Clock) -> None:
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        self._provider = provider
        self._clock = clock
        self._away_until_s = float("-inf")

    async def load(self) -> Usage:
        """See `UsageStore`."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                value = await self._client.hget(QUOTA_KEY, self._provider)
            return decode_usage(value) if value else Usage()
        except (RedisError, OSError, TimeoutError, ValueError):
            return Usage()

    async def save(self, usage: Usage) -> None:
        """See `UsageStore`."""
        if self._clock.monotonic_s() < self._away_until_s:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._client.hset(QUOTA_KEY, self._provider, encode_usage(usage))
        except (RedisError, OSError, TimeoutError):
            self._away_until_s = self._clock.monotonic_s() + _RETRY_S

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def encode_usage(usage: Usage) -> bytes:
    """As JSON."""
    return orjson.dumps(asdict(usage))


def decode_usage(value: bytes | str) -> Usage:
    """What `encode_usage` wrote. Raises ValueError."""
    data = orjson.loads(value)
    names = {field.name for field in fields(Usage)}
    if not isinstance(data, dict) or not all(type(data.get(name)) is int and data[name] >= 0 for name in names):
        raise ValueError("not a usage")
    return Usage(**{name: data[name] for name in names})
