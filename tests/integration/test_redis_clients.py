"""A task that uses Redis ends when it is cancelled, at whatever step of a call the cancellation arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pyrate_limiter import Rate

from actors.kept_state import SharedStates
from actors.protection.rate_limiter import SharedBucket
from actors.quota.store import RedisStore
from cryptoviz.clock import SystemClock
from cryptoviz.settings import RedisSettings, Settings

pytestmark = pytest.mark.integration
STEPS = 60
"""More steps of the event loop than a call on an open connection takes."""


def bucket_call(settings: RedisSettings) -> Callable[[], Awaitable[object]]:
    bucket = SharedBucket([Rate(1_000_000, 1000)], settings, "cancelled-bucket", SystemClock())
    return lambda: bucket.put(1, 0)


def kept_call(settings: RedisSettings) -> Callable[[], Awaitable[object]]:
    states = SharedStates(settings, "pipeline", "kraken")
    return lambda: states.load("hold")


CALLS: dict[str, Callable[[RedisSettings], Callable[[], Awaitable[object]]]] = {
    "kept-state": kept_call,
    "rate-limiter": bucket_call,
    "quota": lambda settings: RedisStore(settings, "cancelled", SystemClock()).load,
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_task_ends(name: str, base: Settings) -> None:
    call = CALLS[name](base.redis)

    async def call_again() -> None:
        while True:
            await call()

    await call()  # connects
    for step in range(STEPS):
        task = asyncio.create_task(call_again())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        if not task.done():
            task.cancel()
            pytest.fail(f"the cancellation at step {step} was discarded")
        assert task.cancelled()
