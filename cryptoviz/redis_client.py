"""Redis's asyncio clients: opened so that a cancelled task ends, closed without an error."""

from __future__ import annotations

from contextlib import suppress

import redis.asyncio
from redis.exceptions import RedisError

from cryptoviz.settings import RedisSettings

__all__ = ["close_client", "open_client"]


def open_client(settings: RedisSettings, timeout_s: float) -> redis.asyncio.Redis:
    """A client whose calls have no time limit of their own: call it within `asyncio.timeout`. Connecting is limited to `timeout_s` seconds.

    With `socket_timeout`, redis-py sends each command through `asyncio.wait_for`, which before Python 3.12 discards a cancellation that arrives when
    the command has just been sent (https://github.com/python/cpython/issues/86296): the task would go on, and whoever waits for its end would hang.
    """
    client = redis.asyncio.Redis.from_url(**settings.connection(timeout_s))
    client.connection_pool.connection_kwargs["socket_timeout"] = None  # also if the URL sets one
    return client


async def close_client(client: redis.asyncio.Redis) -> None:
    """Close the connections. No error if the server does not answer the end of TLS in time: what the caller does next must happen all the same."""
    with suppress(RedisError, OSError):
        await client.aclose()
