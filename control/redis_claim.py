"""Claim of a namespace in an external Redis: two pipelines with the same keys would share breakers, holds, newest prices and desired states.

The claim expires if it is not renewed, so that a pipeline whose head was lost, with its disk, can be started elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from cryptoviz.clock import Clock
from cryptoviz.errors import PreflightError
from cryptoviz.local.private import write_once
from cryptoviz.log import get_logger
from cryptoviz.masking import mask_url
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import OWNER_KEY
from cryptoviz.settings import Settings

__all__ = ["RedisClaim"]

EXPIRES_S = 20
RENEW_S = 5.0
LOOK_S = 1.0
_TIMEOUT_S = 1.0

_log = get_logger("controller")


class RedisClaim:
    """For one pipeline and one event loop. No-op with the embedded Redis. While Redis is away nothing is claimed: the pipeline runs without it."""

    def __init__(self, settings: Settings, clock: Clock, client: Any = None) -> None:
        self._settings = settings
        self._clock = clock
        self._client = client or open_client(settings.redis, _TIMEOUT_S)
        self._key = OWNER_KEY.format(namespace=settings.ray.namespace)
        self._value = b""
        self._is_shared = False

    async def acquire(self) -> None:
        """Claim the namespace, or wait until the claim of a lost pipeline expires.

        Raises:
            PreflightError: another pipeline renews its claim.
        """
        if self._settings.redis.embedded:
            return
        self._value = await asyncio.to_thread(self._own_value)
        left_ms, until_s = 0, self._clock.monotonic_s() + EXPIRES_S + RENEW_S
        with suppress(RedisError, OSError):
            while (holder := await self._holder()) is not None:
                async with asyncio.timeout(_TIMEOUT_S):
                    now_left_ms = await self._client.pttl(self._key)
                if (left_ms and now_left_ms > left_ms) or self._clock.monotonic_s() > until_s:
                    raise self._refused(holder)
                left_ms = now_left_ms
                await self._clock.sleep(LOOK_S)

    async def keep(self) -> None:
        """Renew the claim until cancelled. A Redis that was away during the start may have been claimed by another: that is logged."""
        while not self._settings.redis.embedded:
            await self._clock.sleep(RENEW_S)
            with suppress(RedisError, OSError):
                holder = await self._holder()
                if holder is not None and not self._is_shared:
                    _log.error("redis_of_two_pipelines", problem=self._refused(holder).message)
                self._is_shared = holder is not None

    async def release(self) -> None:
        """Give the claim back, so that another pipeline need not wait."""
        if not self._settings.redis.embedded:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(2 * _TIMEOUT_S):
                    if await self._client.get(self._key) == self._value:
                        await self._client.delete(self._key)
        await close_client(self._client)

    async def _holder(self) -> dict[str, Any] | None:
        """Claim or renew; None if the claim is ours, else that of another pipeline."""
        async with asyncio.timeout(3 * _TIMEOUT_S):
            if await self._client.set(self._key, self._value, nx=True, ex=EXPIRES_S):
                return None
            found = await self._client.get(self._key)
            if found == self._value:
                await self._client.expire(self._key, EXPIRES_S)
                return None
        try:
            holder = json.loads(found or b"{}")
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _own_value(self) -> bytes:
        """Constant for this home, also after a restart."""
        path = self._settings.home / "control" / "pipeline.id"
        if not path.exists():
            write_once(path, secrets.token_hex(8))
        return json.dumps({"id": path.read_text(), "host": socket.gethostname(), "home": str(self._settings.home)}).encode()

    def _refused(self, holder: dict[str, Any]) -> PreflightError:
        where = f"{str(holder.get('home'))[:200]!r} on {str(holder.get('host'))[:100]!r}"
        return PreflightError(
            f"the Redis at {mask_url(self._settings.redis.url)} is used by another running pipeline, of the home {where}, with the same namespace "
            f"{self._settings.ray.namespace!r}: set another CRYPTOVIZ_RAY__NAMESPACE, or another server or database in CRYPTOVIZ_REDIS__URL "
            f"(`redis://host:6379/1`)",
            problems=["redis"],
        )
