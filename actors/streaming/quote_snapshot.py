"""The last recorded quote of each instrument in Redis, for readers that begin between two changes. Failures are counted and never delay trades."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import redis.asyncio
from redis.exceptions import RedisError

from cryptoviz.clock import Clock
from cryptoviz.log import get_logger
from cryptoviz.redis_client import close_client, open_client
from cryptoviz.redis_keys import quote_key
from cryptoviz.settings import RedisSettings
from cryptoviz.trades.quote import QUOTE_KEEP_S, QuoteRecord

__all__ = ["QuoteSnapshot"]

TIMEOUT_S = 0.5
"""A Redis on the same machine or network answers in a few ms."""
RETRY_S = 1.0

log = get_logger("stream")


class QuoteSnapshot:
    """One key an instrument (`cryptoviz.redis_keys.quote_key`), which expires. Written in the task of `run`; one event loop."""

    def __init__(self, settings: RedisSettings, namespace: str, clock: Clock) -> None:
        """`namespace`: of the pipeline, whose keys are its own."""
        self._settings = settings
        self._namespace = namespace
        self._clock = clock
        # Newer quotes replace older ones, so that the size is that of the instruments however long Redis is unavailable.
        self._latest: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self._away = False
        self.failures_total = 0

    def put(self, records: Iterable[QuoteRecord]) -> None:
        """Quotes to write."""
        for one in records:
            self._latest[quote_key(self._namespace, one.venue, one.venue_symbol)] = one.to_json().rstrip(b"\n")
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        client = open_client(self._settings, TIMEOUT_S)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._write(client)
        finally:
            await close_client(client)

    async def _write(self, client: redis.asyncio.Redis) -> None:
        latest, self._latest = self._latest, {}
        try:
            async with asyncio.timeout(2 * TIMEOUT_S), client.pipeline(transaction=False) as pipe:
                for key, value in latest.items():
                    pipe.set(key, value, ex=QUOTE_KEEP_S)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._latest = latest | self._latest
            self._changed.set()
            self.failures_total += 1
            if not self._away:
                log.warning("redis_unavailable", what="quotes", reason=type(error).__name__)
            self._away = True
            await self._clock.sleep(RETRY_S)
        else:
            self._away = False
