"""Closing a client of Redis returns, also if the server does not answer the end of the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio
from redis.exceptions import TimeoutError as RedisTimeoutError

from actors.kept_state import SharedStates
from actors.protection.rate_limiter import SharedBucket
from actors.quota.store import RedisStore
from control.reconcile import desired_state
from control.reconcile.desired_state import DesiredDocument
from control.redis_claim import RedisClaim
from cryptoviz.settings import RedisSettings, load_settings
from tests.support.clock import FakeClock

SETTINGS = RedisSettings(url="rediss://127.0.0.1:1/0")
ENDS: dict[str, Callable[[], Awaitable[object]]] = {
    "kept-state": lambda: SharedStates(SETTINGS, "pipeline", "kraken").aclose(),
    "rate-limiter": lambda: SharedBucket([], SETTINGS, "key", FakeClock()).aclose(),
    "quota": lambda: RedisStore(SETTINGS, "kraken", FakeClock()).aclose(),
    "claim": lambda: RedisClaim(load_settings(), FakeClock()).release(),
    "desired-state": lambda: desired_state.RedisStore(SETTINGS, "key").load(),
}


@pytest.mark.parametrize("name", ENDS)
async def test_an_end_that_is_not_answered_is_no_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    async def get(client: redis.asyncio.Redis, key: str) -> str:
        del client, key
        return DesiredDocument().dumps()

    async def aclose(client: redis.asyncio.Redis) -> None:
        closed.append(client)
        raise RedisTimeoutError("Timed out closing connection after 0.3")

    monkeypatch.setattr(redis.asyncio.Redis, "get", get)
    monkeypatch.setattr(redis.asyncio.Redis, "aclose", aclose)
    await ENDS[name]()
    assert len(closed) == 1
