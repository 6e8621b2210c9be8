"""Faults 6 and 10 in a whole pipeline: the broker is killed or stands still; Redis is killed, emptied, read-only or stands still."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from playwright.sync_api import sync_playwright

from cryptoviz.redis_keys import LATEST_KEY, LATEST_TICK_KEY
from tests.chaos.pipeline_rig import (
    Recovery,
    assert_exact,
    assert_no_longer_said,
    assert_none_skipped,
    component,
    in_order,
    process_of,
    stopped,
    ticks_since,
)
from tests.chaos.rig import ROUNDS, SEED, Figures
from tests.support.browser import launch_chromium
from tests.support.clock import now_ms
from tests.support.pipeline import Demo
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

RECONNECT_S = 10.0


def kill(demo: Demo, name: str) -> None:
    """Kill an engine, and wait until the controller has seen it."""
    restarts = component(demo, name).restarts
    process_of(demo, name).send_signal(signal.SIGKILL)
    eventually(lambda: component(demo, name).restarts > restarts, 120, 0.1)


@pytest.mark.short
def test_ticks_wait_for_a_killed_broker_and_none_is_lost(demo: Demo) -> None:
    figures, chance = Figures("fault 6, broker killed"), random.Random(SEED)
    for _ in range(ROUNDS):
        eventually(lambda: in_order(demo), 120, 0.3)
        before = demo.newest_tick()
        threading.Event().wait(chance.uniform(0, demo.settings.collect.tick_s))
        kill(demo, "kafka")
        back = Recovery()
        figures.add("killed", back.made(demo))
        eventually(lambda: component(demo, "collector").metrics["queue_ticks"] == 0, 120, 0.2)
        assert_none_skipped(demo, before)
    figures.tell()
    assert_exact(demo)


@pytest.mark.parametrize("seconds", [pytest.param(10.0, marks=pytest.mark.short), 60.0])
def test_a_broker_that_stands_still_is_reported_and_its_ticks_wait_within_a_bound(demo: Demo, seconds: float) -> None:
    figures = Figures("fault 6, broker stopped")
    for _ in range(1 if seconds < 60 else ROUNDS):
        eventually(lambda: in_order(demo), 120, 0.3)
        before = demo.newest_tick()
        with stopped(process_of(demo, "kafka")):
            begun = now_ms()
            eventually(lambda: "does not answer" in component(demo, "kafka").message, 120, 0.1)
            eventually(
                lambda: "has not acknowledged" in component(demo, "collector").message or "kafka" in component(demo, "collector").message, 120, 0.1
            )
            most = eventually(lambda: max(0.0, demo.metric("collector", "queue_ticks")))
            while now_ms() - begun < seconds * 1000:
                most = max(most, demo.metric("collector", "queue_ticks"))
                threading.Event().wait(0.2)
        assert 1 <= most <= demo.settings.collect.queue_ticks
        back = Recovery()
        figures.add(f"stopped for {seconds:.0f} s", back.made(demo))
        assert_no_longer_said(demo, "kafka", "does not answer")
        assert_none_skipped(demo, before)
    figures.tell()
    assert_exact(demo)


def snapshot_tick(demo: Demo) -> int:
    """Tick of the snapshot in Redis; 0 without one."""
    with redis.Redis.from_url(**demo.settings.redis.connection(60)) as client:
        return int(client.get(LATEST_TICK_KEY) or 0) if client.hlen(LATEST_KEY) == len(demo.settings.assets) else 0


def command(demo: Demo, *arguments: str | int) -> object:
    """An administrator's command."""
    with redis.Redis.from_url(**demo.settings.redis.connection(60)) as client:
        return client.execute_command(*arguments)


@contextlib.contextmanager
def killed(demo: Demo) -> Iterator[None]:
    kill(demo, "redis")
    yield


@contextlib.contextmanager
def emptied(demo: Demo) -> Iterator[None]:
    assert command(demo, "FLUSHALL")
    yield


@contextlib.contextmanager
def read_only(demo: Demo) -> Iterator[None]:
    """A replica of a server that does not exist: it answers reads, and refuses writes."""
    assert command(demo, "REPLICAOF", "127.0.0.1", 1)
    try:
        eventually(lambda: "Redis (redis.url) does not accept the snapshot" in component(demo, "collector").message, 120, 0.1)
        yield
    finally:
        assert command(demo, "REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def without_replicas(demo: Demo) -> Iterator[None]:
    """Writes are refused because too few replicas would have them."""
    assert command(demo, "CONFIG", "SET", "min-replicas-to-write", 3)
    try:
        eventually(lambda: "Redis (redis.url) does not accept the snapshot" in component(demo, "collector").message, 120, 0.1)
        yield
    finally:
        assert command(demo, "CONFIG", "SET", "min-replicas-to-write", 0)


@contextlib.contextmanager
def still(demo: Demo) -> Iterator[None]:
    with stopped(process_of(demo, "redis")):
        eventually(lambda: "does not answer" in component(demo, "redis").message, 120, 0.1)
        yield


REDIS_FAULTS: dict[str, Callable[[Demo], contextlib.AbstractContextManager[None]]] = {
    "killed": killed, "emptied": emptied, "read-only": read_only, "without replicas": without_replicas, "stopped": still,
}  # fmt: skip


@pytest.mark.short
def test_prices_continue_without_redis_and_its_snapshot_is_back_in_10_s(demo: Demo) -> None:
    figures = Figures("fault 10")
    eventually(lambda: in_order(demo), 120, 0.3)
    begun = demo.newest_tick()
    with sync_playwright() as playwright:
        page = launch_chromium(playwright).new_page()
        page.set_default_timeout(120_000)
        page.goto(demo.page)
        page.locator(".cv-price").first.wait_for(state="visible")
        for _ in range(ROUNDS):
            for name, fault in REDIS_FAULTS.items():
                with fault(demo):
                    since = demo.newest_tick()
                    # Prices, their lake and the page go on.
                    eventually(lambda since=since: len(ticks_since(demo, since)) >= 4, 120, 0.2)  # type: ignore[misc]
                    shown = eventually(lambda since=since: shown_since(page, since), 60, 0.2)  # type: ignore[misc]
                    assert len(shown) == len(demo.settings.assets)
                back = Recovery()
                healed = demo.newest_tick()
                eventually(lambda healed=healed: snapshot_tick(demo) >= healed, RECONNECT_S, 0.05)  # type: ignore[misc]
                figures.add(name, back.made(demo))
                assert_no_longer_said(demo, "collector", "Redis")
    assert_none_skipped(demo, begun)
    figures.tell()
    assert_exact(demo)


def shown_since(page: object, tick_ts: int) -> list[str]:
    """Prices on the page, once all are of a later tick than this one and have an age."""
    cells = page.locator(".cv-price").all()  # type: ignore[attr-defined]
    assert cells
    ticks = [int(cell.get_attribute("data-tick") or 0) for cell in cells]
    assert min(ticks) > tick_ts, (min(ticks), tick_ts)
    ages = page.locator("cv-age").all_inner_texts()  # type: ignore[attr-defined]
    assert any(ages)
    return [cell.get_attribute("data-price") or "" for cell in cells]
