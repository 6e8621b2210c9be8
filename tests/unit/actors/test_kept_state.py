"""State of a provider in a file and in a copy, of which the newer counts. tests/integration/test_limits.py uses a real Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.exceptions import RedisError

from actors import kept_state
from actors.fetching.hold_off import HoldOff
from actors.kept_state import KeptState, SharedStates
from actors.protection.breaker import Breaker
from actors.protection.provider_protection import build_protection
from cryptoviz.clock import steady_ms
from cryptoviz.provider_status import BreakerState
from cryptoviz.records import FallbackReason
from cryptoviz.settings import BreakerSettings, RedisSettings, claim_home, load_settings
from tests.support.clock import FakeClock
from tests.support.waiting import eventually_async


def at(moment_ms: int, **state: Any) -> dict[str, Any]:
    return {"at_utc_ms": moment_ms, **state}


@pytest.mark.parametrize(
    ("file", "copy", "expected"),
    [
        (None, None, {}),
        (at(1, of="file"), None, at(1, of="file")),
        (None, at(1, of="copy"), at(1, of="copy")),
        (at(2, of="file"), at(1, of="copy"), at(2, of="file")),
        (at(1, of="file"), at(2, of="copy"), at(2, of="copy")),
        (at(1, of="file"), at(2, cleared=True), {}),
        (at(2, cleared=True), at(1, of="copy"), {}),
        ({"of": "an earlier version"}, at(1, of="copy"), at(1, of="copy")),
        (at(1, of="file"), {"at_utc_ms": "x"}, at(1, of="file")),
    ],
)
def test_the_newer_counts(file: dict[str, Any] | None, copy: dict[str, Any] | None, expected: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    if file is not None:
        KeptState(path).save(file)
    assert KeptState(path).load(copy) == expected


def breaker(folder: Path, shared: list[dict[str, Any]], clock: FakeClock) -> Breaker:
    return Breaker(BreakerSettings(failures=1, failing_s=0, open_s=30), folder / "breaker.json", lambda: 0.0, clock, shared.append)


async def test_a_breaker_moves_to_another_node_and_back(tmp_path: Path) -> None:
    clock, shared = FakeClock(), list[dict[str, Any]]()
    first = breaker(tmp_path / "one", shared, clock)
    first.trip("by hand", steady_ms(clock))
    await clock.sleep(60)
    second = breaker(tmp_path / "two", shared, clock)
    second.load(shared[-1])
    assert (second.status().state, second.status().by_operator, second.status().reason) == (BreakerState.OPEN, True, "by hand")
    second.reset(steady_ms(clock))
    await clock.sleep(60)
    back = breaker(tmp_path / "one", shared, clock)
    back.load(shared[-1])  # its own file still says open
    assert back.status().state is BreakerState.CLOSED
    # A copy that could not be written does not open the breaker again.
    after = breaker(tmp_path / "two", shared, clock)
    after.load(shared[0])
    assert after.status().state is BreakerState.CLOSED


async def test_a_hold_moves_to_another_node(tmp_path: Path) -> None:
    clock, shared = FakeClock(), list[dict[str, Any]]()
    HoldOff(tmp_path / "one" / "hold.json", clock, shared.append).impose(FallbackReason.RATE_LIMITED, 90.0, steady_ms(clock))
    await clock.sleep(30)
    moved = HoldOff(tmp_path / "two" / "hold.json", clock, shared.append)
    moved.load(shared[-1])
    assert moved.active(steady_ms(clock)) == (FallbackReason.RATE_LIMITED, 60.0)
    moved.lift()
    successor = HoldOff(tmp_path / "one" / "hold.json", clock)
    successor.load(shared[-1])
    assert successor.active(steady_ms(clock)) is None


def test_a_state_that_the_disk_refuses_holds_in_this_process_and_is_shared(tmp_path: Path) -> None:
    """A full disk: neither the poll that learns of a ban fails, nor does a scraper on another node ask."""
    clock, shared = FakeClock(), list[dict[str, Any]]()
    (tmp_path / "run").touch()  # a file in place of the folder refuses like a full disk
    held = HoldOff(tmp_path / "run" / "hold-off.json", clock, shared.append)
    held.impose(FallbackReason.RATE_LIMITED, 60, steady_ms(clock))
    assert held.active(steady_ms(clock)) == (FallbackReason.RATE_LIMITED, 60)
    assert [state["reason"] for state in shared] == [FallbackReason.RATE_LIMITED.value]
    broken = Breaker(BreakerSettings(failures=1, failing_s=0), tmp_path / "run" / "breaker.json", lambda: 0.0, clock, shared.append)
    broken.trip("by hand", steady_ms(clock))
    assert shared[-1]["reason"] == "by hand"


class FakeRedis:
    """A hash. `down`: calls that fail."""

    def __init__(self, down: int = 0) -> None:
        self.values: dict[str, bytes] = {}
        self.down = down

    async def hget(self, key: str, field: str) -> bytes | None:
        self._answer()
        return self.values.get(field)

    async def hset(self, key: str, field: str, value: bytes) -> None:
        self._answer()
        self.values[field] = value

    async def aclose(self) -> None:
        pass

    def _answer(self) -> None:
        if self.down:
            self.down -= 1
            raise RedisError

    def state(self, kind: str) -> Any:
        return orjson.loads(self.values[f"{kind}:p:kraken"])


def shared_states(monkeypatch: pytest.MonkeyPatch, redis: FakeRedis) -> SharedStates:
    monkeypatch.setattr(kept_state, "_RETRY_S", 0.0)
    states = SharedStates(RedisSettings(), "p", "kraken")
    monkeypatch.setattr(states, "_client", redis)
    return states


async def test_the_newest_state_is_shared_once_redis_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = FakeRedis(down=3)
    states = shared_states(monkeypatch, redis)
    states.saver("breaker")(at(1, of="trip"))
    states.saver("hold")(at(1, of="hold"))
    states.saver("breaker")(at(2, of="reset"))

    async def both_shared() -> bool:
        return len(redis.values) == 2

    await eventually_async(both_shared)
    assert (redis.state("breaker"), redis.state("hold")) == (at(2, of="reset"), at(1, of="hold"))
    await states.aclose()


async def test_a_redis_that_stays_away_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    states = shared_states(monkeypatch, FakeRedis(down=1_000_000))
    monkeypatch.setattr(kept_state, "_RETRY_S", 3600.0)
    states.saver("breaker")(at(1))
    async with asyncio.timeout(120):
        await states.aclose()


@pytest.mark.parametrize(
    ("copy", "shared"), [({}, [at(2, of="file")]), (at(1, of="copy"), [at(2, of="file")]), (at(2, of="file"), []), (at(3, of="copy"), []), (None, [])]
)
def test_a_file_that_is_newer_than_the_copy_is_shared(copy: dict[str, Any] | None, shared: list[dict[str, Any]], tmp_path: Path) -> None:
    """None: Redis did not answer, and may have a newer copy."""
    KeptState(tmp_path / "state.json").save(at(2, of="file"))
    given: list[dict[str, Any]] = []
    KeptState(tmp_path / "state.json", given.append).load(copy)
    assert given == shared


async def test_a_missing_copy_is_distinguished_from_a_redis_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = FakeRedis()
    states = shared_states(monkeypatch, redis)
    assert await states.load("breaker") == {}
    redis.values["breaker:p:kraken"] = b"["
    assert await states.load("breaker") == {}
    redis.down = 1
    assert await states.load("breaker") is None
    await states.aclose()


def test_a_state_that_neither_disk_nor_redis_takes_is_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    kept = KeptState(tmp_path / "run" / "state.json")
    kept.save(at(2, of="ban"))
    assert kept.load(None) == kept.load(at(1, of="copy")) == at(2, of="ban")
    assert kept.load(at(3, of="copy")) == at(3, of="copy")


async def test_a_scraper_that_moved_while_redis_was_away_learns_of_its_breaker_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, redis, shared = FakeClock(), FakeRedis(), list[dict[str, Any]]()
    breaker(tmp_path / "one", shared, clock).trip("by hand", steady_ms(clock))
    protection = build_protection("kraken", claim_home(load_settings(home=tmp_path, redis={"url": "redis://127.0.0.1:1"})), clock)
    monkeypatch.setattr(protection.states, "_client", redis)
    redis.values[f"breaker:{protection.states._owner}"] = orjson.dumps(shared[-1])
    redis.down = 6
    assert not await protection.load()
    assert protection.breaker.status().state is BreakerState.CLOSED
    await protection.load_late(clock)
    assert protection.breaker.status().reason == "by hand"
    assert await protection.load()
    await protection.aclose()


async def test_a_reset_on_a_node_whose_clock_is_behind_is_newer_than_what_it_resets(tmp_path: Path) -> None:
    ahead, behind, shared = FakeClock(), FakeClock(), list[dict[str, Any]]()
    ahead.ms += 3_600_000
    breaker(tmp_path / "one", shared, ahead).trip("by hand", steady_ms(ahead))
    moved = breaker(tmp_path / "two", shared, behind)
    moved.load(shared[-1])
    assert moved.status().state is BreakerState.OPEN
    moved.reset(steady_ms(behind))
    back = breaker(tmp_path / "one", shared, ahead)
    back.load(shared[-1])
    assert back.status().state is BreakerState.CLOSED
