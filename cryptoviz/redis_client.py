"""Closing of Redis's asyncio clients."""

from __future__ import annotations

from contextlib import suppress

import redis.asyncio
from redis.exceptions import RedisError

__all__ = ["close_client"]


async def close_client(client: redis.asyncio.Redis) -> None:
    """Close the connections. No error if the server does not answer the end of TLS in time: what the caller does next must happen all the same."""
    with suppress(RedisError, OSError):
        await client.aclose()
