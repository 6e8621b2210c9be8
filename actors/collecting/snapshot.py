"""The latest values in Redis. A convenience for readers who come late: its failures are counted and never hold prices up.

Keys: hash `cryptoviz:latest` (asset id -> unified record as JSON), string `cryptoviz:latest:tick` (UTC epoch ms), hash `cryptoviz:providers`
(provider -> JSON of how its last tick went), hash `cryptoviz:gaps` (asset id -> ticks without any price since ever).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis.asyncio
from redis.exceptions import RedisError

from actors.publishing.transaction import Batch
from cryptoviz.clock import Clock
from cryptoviz.log import get_logger

__all__ = ["GAPS_KEY", "LATEST_KEY", "LATEST_TICK_KEY", "PROVIDERS_KEY", "SnapshotWriter"]

LATEST_KEY = "cryptoviz:latest"
LATEST_TICK_KEY = "cryptoviz:latest:tick"
PROVIDERS_KEY = "cryptoviz:providers"
GAPS_KEY = "cryptoviz:gaps"

TIMEOUT_S = 0.5
"""A Redis on the same machine or network answers in a few ms."""
RETRY_S = 1.0
"""Within DESIGN's 10 s for a Redis that is back, without hammering one that is away."""


@dataclass(slots=True)
class _Pending:
    """What is to be written. Newer values replace older ones, so that it stays as small as one snapshot however long Redis is away."""

    latest: dict[str, bytes] = field(default_factory=dict)
    tick_ts: int | None = None
    providers: dict[str, bytes] = field(default_factory=dict)
    gaps: Counter[str] = field(default_factory=Counter)

    def merge_older(self, older: _Pending) -> None:
        """Put back what could not be written, below what came since."""
        self.latest = older.latest | self.latest
        self.tick_ts = older.tick_ts if self.tick_ts is None else self.tick_ts
        self.providers = older.providers | self.providers
        self.gaps.update(older.gaps)


class SnapshotWriter:
    """Writes in its own task; the other methods only note what is to be written. For one event loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._pending = _Pending()
        self._changed = asyncio.Event()
        self._log = get_logger("snapshot")
        self.written_total = 0
        self.failures_total = 0
        self.last_error = ""

    def set_latest(self, batch: Batch) -> None:
        """A tick that Kafka has acknowledged."""
        self._pending.latest |= {message.key.decode(): message.value.rstrip(b"\n") for message in batch.messages}
        self._pending.tick_ts = batch.tick_ts
        self._changed.set()

    def set_providers(self, states: Mapping[str, bytes]) -> None:
        """How each provider's last tick went, as JSON."""
        self._pending.providers |= states
        self._changed.set()

    def count_gaps(self, asset_ids: Mapping[str, int]) -> None:
        """Ticks without a price, by asset."""
        self._pending.gaps.update(asset_ids)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        client = redis.asyncio.Redis.from_url(self._url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._write(client)
        finally:
            await client.aclose()

    async def _write(self, client: redis.asyncio.Redis) -> None:
        pending, self._pending = self._pending, _Pending()
        try:
            async with asyncio.timeout(2 * TIMEOUT_S), client.pipeline(transaction=True) as pipe:
                if pending.latest:
                    pipe.hset(LATEST_KEY, items=_flat(pending.latest))
                if pending.tick_ts is not None:
                    pipe.set(LATEST_TICK_KEY, pending.tick_ts)
                if pending.providers:
                    pipe.hset(PROVIDERS_KEY, items=_flat(pending.providers))
                for asset_id, count in pending.gaps.items():
                    pipe.hincrby(GAPS_KEY, asset_id, count)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._pending.merge_older(pending)
            self._changed.set()
            self.failures_total += 1
            if not self.last_error:
                self._log.warning("redis_unavailable", reason=type(error).__name__)
            self.last_error = f"Redis (redis.url) does not take the snapshot: {type(error).__name__}"
            await self._clock.sleep(RETRY_S)
        else:
            self.written_total += 1
            if self.last_error:
                self._log.info("redis_back")
            self.last_error = ""


def _flat(values: Mapping[str, bytes]) -> list[str | bytes]:
    """Field, value, field, value: the order of HSET's arguments."""
    return [part for pair in values.items() for part in pair]
