"""Latest values in Redis, so that readers need not wait for the next tick. Failures are counted and never delay prices.

Keys (`cryptoviz.redis_keys`): a hash (asset id -> unified record as JSON), and a string (UTC epoch ms of the tick).
"""

from __future__ import annotations

import asyncio

import redis.asyncio
from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT

from actors.publishing.transaction import KafkaTransaction
from cryptoviz.clock import Clock
from cryptoviz.log import get_logger, log_context
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import LATEST_KEY, LATEST_TICK_KEY, of_namespace
from cryptoviz.settings import RedisSettings

__all__ = ["SnapshotWriter"]

TIMEOUT_S = 0.5
"""A Redis on the same machine or network answers in a few ms."""
RETRY_S = 1.0
"""The snapshot is current within 10 s after Redis is available again (DESIGN), at a low retry rate."""


class SnapshotWriter:
    """`core.Snapshot` in Redis. Writes in the task of `run`. For one event loop."""

    def __init__(self, settings: RedisSettings, namespace: str, clock: Clock) -> None:
        """`namespace`: of the pipeline, whose keys are its own."""
        self._settings = settings
        self._keys = of_namespace(LATEST_KEY, namespace), of_namespace(LATEST_TICK_KEY, namespace)
        self._clock = clock
        # Values to write. Newer values replace older ones, so that the size is that of one snapshot however long Redis is unavailable.
        self._latest: dict[FieldT, EncodableT] = {}
        self._tick_ts = 0
        self._changed = asyncio.Event()
        self._log = get_logger("snapshot")
        self.failures_total = 0
        self.last_error = ""

    def set_latest(self, transaction: KafkaTransaction) -> None:
        self._latest |= {message.key: message.value.rstrip(b"\n") for message in transaction.messages}
        self._tick_ts = transaction.tick_ts
        self._changed.set()

    async def run(self) -> None:
        client = open_client(self._settings, TIMEOUT_S)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                with log_context(tick_ts=self._tick_ts):
                    await self._write(client)
        finally:
            await close_client(client)

    async def _write(self, client: redis.asyncio.Redis) -> None:
        latest, self._latest = self._latest, {}
        try:
            async with asyncio.timeout(2 * TIMEOUT_S), client.pipeline(transaction=True) as pipe:
                pipe.hset(self._keys[0], mapping=latest)
                pipe.set(self._keys[1], self._tick_ts)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._latest = latest | self._latest
            self._changed.set()
            self.failures_total += 1
            if not self.last_error:
                self._log.warning("redis_unavailable", reason=type(error).__name__)
            self.last_error = f"Redis (redis.url) does not accept the snapshot: {type(error).__name__}"
            await self._clock.sleep(RETRY_S)
        else:
            if self.last_error:
                self._log.info("redis_back")
            self.last_error = ""
