"""One pipeline for each namespace of an external Redis."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import redis.exceptions

from control.redis_claim import EXPIRES_S, RedisClaim
from cryptoviz.errors import PreflightError
from cryptoviz.redis_keys import LATEST_KEY, of_namespace
from cryptoviz.settings import Settings, load_settings
from tests.support.clock import FakeClock
from tests.support.log_lines import log_lines
from tests.support.waiting import eventually_async


class Server:
    """A Redis with expiring strings, shared by all clients."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.held: dict[str, tuple[bytes, float]] = {}
        self.away = False

    def _alive(self, key: str) -> tuple[bytes, float] | None:
        if self.away:
            raise redis.exceptions.ConnectionError("away")
        found = self.held.get(key)
        return found if found is not None and found[1] > self.clock.monotonic_s() else None

    async def set(self, key: str, value: bytes, *, nx: bool, ex: int) -> bool:
        if self._alive(key) is not None:
            return not nx
        self.held[key] = (value, self.clock.monotonic_s() + ex)
        return True

    async def get(self, key: str) -> bytes | None:
        found = self._alive(key)
        return None if found is None else found[0]

    async def expire(self, key: str, seconds: int) -> None:
        found = self._alive(key)
        assert found is not None
        self.held[key] = (found[0], self.clock.monotonic_s() + seconds)

    async def pttl(self, key: str) -> int:
        found = self._alive(key)
        return -2 if found is None else round((found[1] - self.clock.monotonic_s()) * 1000)

    async def delete(self, key: str) -> None:
        self.held.pop(key, None)

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.fixture
def server() -> Server:
    return Server(FakeClock())


def settings_of(home: Path, namespace: str = "cryptoviz") -> Settings:
    (home / "control").mkdir(parents=True, exist_ok=True)
    return load_settings(home=home, redis={"url": "redis://:canary-9@cache:6379/0"}, ray={"namespace": namespace})


def claim_of(home: Path, server: Server, namespace: str = "cryptoviz") -> RedisClaim:
    return RedisClaim(settings_of(home, namespace), server.clock, server)


async def test_another_running_pipeline_is_refused_with_what_to_set(server: Server, tmp_path: Path) -> None:
    first = claim_of(tmp_path / "one", server)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(PreflightError) as caught:
        await claim_of(tmp_path / "two", server).acquire()
    keeping.cancel()
    message = caught.value.message
    assert "the Redis at redis://" in message
    assert f"is used by another running pipeline, of the home '{tmp_path / 'one'}'" in message
    assert "set another CRYPTOVIZ_RAY__NAMESPACE, or another server or database in CRYPTOVIZ_REDIS__URL" in message
    assert "canary" not in message


async def test_a_restart_of_the_same_home_and_another_namespace_are_accepted(server: Server, tmp_path: Path) -> None:
    await claim_of(tmp_path / "one", server).acquire()
    await claim_of(tmp_path / "one", server).acquire()
    await claim_of(tmp_path / "two", server, "other").acquire()
    assert server.clock.slept == []
    assert of_namespace(LATEST_KEY, "cryptoviz") != of_namespace(LATEST_KEY, "other")


async def test_the_claim_of_a_lost_pipeline_expires_and_a_stopped_one_gives_it_back(server: Server, tmp_path: Path) -> None:
    await claim_of(tmp_path / "lost", server).acquire()
    second = claim_of(tmp_path / "second", server)
    await second.acquire()
    assert sum(server.clock.slept) == EXPIRES_S
    await second.release()
    server.clock.slept.clear()
    await claim_of(tmp_path / "third", server).acquire()
    assert server.clock.slept == []


async def test_a_redis_that_is_away_is_claimed_once_it_is_back(server: Server, tmp_path: Path) -> None:
    server.away = True
    late = claim_of(tmp_path / "late", server)
    await late.acquire()
    server.away = False
    key = "cryptoviz:control:cryptoviz:owner"
    server.held[key] = (json.dumps({"home": "/other", "host": "b"}).encode(), server.clock.monotonic_s() + 4 * EXPIRES_S)
    with log_lines() as lines:
        keeping = asyncio.create_task(late.keep())

        async def claimed() -> bool:
            return bool(json.loads(server.held[key][0])["home"] == str(tmp_path / "late"))

        await eventually_async(claimed)
        keeping.cancel()
    assert len(lines.of("redis_of_two_pipelines")) == 1


async def test_the_embedded_redis_is_not_claimed(server: Server, tmp_path: Path) -> None:
    claim = RedisClaim(load_settings(home=tmp_path), server.clock, server)
    await claim.acquire()
    await claim.keep()
    await claim.release()
    assert server.held == {}
