"""Stores of a provider's usage: a small file, and Redis, so that either may be lost. Written before a call is sent: a kill loses no count."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, fields
from pathlib import Path
from typing import Protocol

import orjson
from redis.exceptions import RedisError

from actors.quota.usage import KEPT, Count, Usage
from cryptoviz.clock import Clock
from cryptoviz.local.private import write_private
from cryptoviz.log import get_logger
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import QUOTA_KEY
from cryptoviz.settings import RedisSettings

__all__ = ["FileStore", "RedisStore", "UsageStore", "decode_usage", "encode_usage"]

_ALWAYS = ("day_ms", "day_used", "month_ms", "month_used", "last_turn_ms")
_OTHERS = ("other_days", "other_months")
_NUMBERS = tuple(field.name for field in fields(Usage) if field.name not in _OTHERS)
_TIMEOUT_S = 0.3
"""A Redis on the same machine or network answers in a few ms; a poll waits no longer."""
_RETRY_S = 5.0
"""Delay before an unavailable Redis is tried again."""


class UsageStore(Protocol):
    """Keeps one provider's usage. Never raises: a store that fails counts as empty."""

    async def load(self) -> Usage:
        """The last saved usage, or an empty one."""

    async def save(self, usage: Usage) -> None:
        """Replace the saved usage."""


class FileStore:
    """A file that is replaced atomically. An unreadable file counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Usage:
        try:
            return decode_usage(self._path.read_bytes())
        except (OSError, ValueError):
            return Usage()

    async def save(self, usage: Usage) -> None:
        """See `UsageStore`. 100 bytes, written without a thread."""
        try:
            write_private(self._path, encode_usage(usage).decode())
        except OSError as error:
            get_logger("quota").warning("quota_file_not_written", path=str(self._path), error=error.strerror)


class RedisStore:
    """A field of the hash `cryptoviz:quota`. Not saved for a few seconds after it could not be loaded, as that would replace a larger count."""

    def __init__(self, settings: RedisSettings, provider: str, clock: Clock) -> None:
        self._client = open_client(settings, _TIMEOUT_S)
        self._provider = provider
        self._clock = clock
        self._away_until_s = float("-inf")

    async def load(self) -> Usage:
        if self._clock.monotonic_s() < self._away_until_s:
            return Usage()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                value = await self._client.hget(QUOTA_KEY, self._provider)
            return decode_usage(value) if value else Usage()
        except ValueError:
            return Usage()
        except (RedisError, OSError, TimeoutError):
            self._away_until_s = self._clock.monotonic_s() + _RETRY_S
            return Usage()

    async def save(self, usage: Usage) -> None:
        if self._clock.monotonic_s() < self._away_until_s:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._client.hset(QUOTA_KEY, self._provider, encode_usage(usage))
        except (RedisError, OSError, TimeoutError):
            self._away_until_s = self._clock.monotonic_s() + _RETRY_S

    async def aclose(self) -> None:
        await close_client(self._client)


def encode_usage(usage: Usage) -> bytes:
    """As JSON."""
    return orjson.dumps(asdict(usage) | {name: [list(count) for count in getattr(usage, name)] for name in _OTHERS})


def decode_usage(value: bytes | str) -> Usage:
    """Decode the output of `encode_usage`, or of an earlier version, which kept no other periods. Raises ValueError."""
    data = orjson.loads(value)
    if not isinstance(data, dict):
        raise ValueError("not a usage")
    numbers = {name: data.get(name, None if name in _ALWAYS else 0) for name in _NUMBERS}
    if not all(map(_is_count, numbers.values())):
        raise ValueError("not a usage")
    days, months = (_counts(data.get(name, [])) for name in _OTHERS)
    return Usage(**{name: int(number or 0) for name, number in numbers.items()}, other_days=days, other_months=months)


def _counts(rows: object) -> tuple[Count, ...]:
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(Count._fields) and all(map(_is_count, row)) for row in rows):
        raise ValueError("not a usage")
    return tuple(Count(*row) for row in rows[:KEPT])


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
