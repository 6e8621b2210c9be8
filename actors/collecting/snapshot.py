"""Latest values in Redis, so that readers need not wait for the next tick. Failures are counted and never delay prices.

Keys: hash `cryptoviz:latest` (asset id -> unified record as JSON), string `cryptoviz:latest:tick` (UTC epoch ms), hash `cryptoviz:providers`
(provider -> JSON, result of its last tick), hash `cryptoviz:gaps` (asset id -> number of ticks without a price, never reset).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis.asyncio
from redis.exceptions import RedisError

from actors.publishing.transaction import KafkaTransaction
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
"""The snapshot is current within 10 s after Redis is available again (DESIGN), at a low retry rate."""


@dataclass(slots=True)
class _Pending:
    """Values to write. Newer values replace older ones, so that the size is that of one snapshot however long Redis is unavailable."""

    latest: dict[str, bytes] = field(default_factory=dict)
    tick_ts: int | None = None
    providers: dict[str, bytes] = field(default_factory=dict)
    gaps: Counter[str] = field(default_factory=Counter)

    def merge_older(self, older: _Pending) -> None:
        """Merge values that could not be written; newer values take precedence."""
        self.latest = older.latest | self.latest
        self.tick_ts = older.tick_ts if self.tick_ts is None else self.tick_ts
        self.providers = older.providers | self.providers
        self.gaps.update(older.gaps)


class SnapshotWriter:
    """`core.Snapshot` in Redis. Writes in the task of `run`; the other methods only store the values to write. For one event loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._pending = _Pending()
        self._changed = asyncio.Event()
        self._log = get_logger("snapshot")
        self.written_total = 0
        self.failures_total = 0
        self.last_error = ""

    def set_latest(self, transaction: KafkaTransaction) -> None:
        self._pending.latest |= {message.key.decode(): message.value.rstrip(b"\n") for message in transaction.messages}
        self._pending.tick_ts = transaction.tick_ts
        self._changed.set()

    def set_providers(self, states: Mapping[str, bytes]) -> None:
        self._pending.providers |= states
        self._changed.set()

    def count_gaps(self, asset_ids: Mapping[str, int]) -> None:
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
            self.last_error = f"Redis (redis.url) does not accept the snapshot: {type(error).__name__}"
            await self._clock.sleep(RETRY_S)
        else:
            self.written_total += 1
            if self.last_error:
                self._log.info("redis_back")
            self.last_error = ""


def _flat(values: Mapping[str, bytes]) -> list[str | bytes]:
    """Alternating fields and values, as HSET requires."""
    return [part for pair in values.items() for part in pair]
