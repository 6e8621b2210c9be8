"""How often callers that poll make the control service ask a scraper."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control.reconcile.reconciler import Reconciler
from control.rpc.provider_states import ProviderStates
from cryptoviz.components import ComponentState
from cryptoviz.errors import ComponentLost
from cryptoviz.provider_status import BreakerState, BreakerStatus, ProviderStatus, ScraperStatus
from cryptoviz.settings import load_settings

CLOSED, OPEN = ScraperStatus(), ScraperStatus(breaker=BreakerStatus(BreakerState.OPEN, "by hand", 5, None, 0, 0, by_operator=True))


class FakeReconciler:
    """One scraper, which answers when it is let, and counts its questions."""

    table = frozenset({"scraper/kraken"})

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status: ScraperStatus | Exception = CLOSED
        self.let = asyncio.Event()
        self.let.set()

    def component(self, name: str) -> Any:
        del name
        return SimpleNamespace(state=ComponentState.RUNNING, message="polls")

    async def call(self, name: str, method: str, *arguments: object) -> ScraperStatus:
        del name, arguments
        self.asked.append(method)
        if method == "trip_breaker":
            self.status = OPEN
        answer = self.status
        await self.let.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def states() -> tuple[ProviderStates, FakeReconciler, Clock]:
    reconciler, clock = FakeReconciler(), Clock()
    settings = load_settings(collect={"providers": ["kraken"]})
    return ProviderStates(cast("Reconciler", reconciler), settings, clock), reconciler, clock


async def breaker(states: ProviderStates) -> BreakerState:
    scraper = (await states.one("kraken")).scraper
    assert scraper is not None
    return scraper.breaker.state


async def test_calls_at_the_same_time_and_within_a_quarter_of_a_second_ask_once():
    shared, reconciler, clock = states()
    assert set(await asyncio.gather(*(breaker(shared) for _ in range(50)))) == {BreakerState.CLOSED}
    clock.now_s += 0.25
    assert await breaker(shared) is BreakerState.CLOSED
    assert reconciler.asked == ["provider_status"]
    clock.now_s += 0.01
    await breaker(shared)
    assert reconciler.asked == ["provider_status"] * 2


async def test_a_call_after_a_trip_sees_it():
    shared, reconciler, _ = states()
    assert await breaker(shared) is BreakerState.CLOSED
    await shared.trip("kraken", "by hand")
    assert await breaker(shared) is BreakerState.OPEN
    assert reconciler.asked == ["provider_status", "trip_breaker", "provider_status"]


async def test_a_question_that_began_before_a_trip_is_no_answer_after_it():
    shared, reconciler, _ = states()
    reconciler.let.clear()
    before = asyncio.create_task(shared.one("kraken"))
    await asyncio.sleep(0)
    tripping = asyncio.create_task(shared.trip("kraken", "by hand"))
    await asyncio.sleep(0)
    reconciler.let.set()
    await asyncio.gather(before, tripping)
    assert await breaker(shared) is BreakerState.OPEN


async def test_an_error_is_shared_and_forgotten_like_an_answer():
    shared, reconciler, clock = states()
    reconciler.status = ComponentLost("its process ended", component="scraper/kraken")
    found: list[ProviderStatus] = await asyncio.gather(*(shared.one("kraken") for _ in range(3)))
    assert [(one.scraper, one.message) for one in found] == [(None, "polls")] * 3
    assert len(reconciler.asked) == 1
    reconciler.status, clock.now_s = CLOSED, clock.now_s + 0.3
    assert await breaker(shared) is BreakerState.CLOSED


async def test_a_caller_that_leaves_does_not_end_the_question_of_others():
    shared, reconciler, _ = states()
    reconciler.let.clear()
    leaves, stays = asyncio.create_task(shared.one("kraken")), asyncio.create_task(shared.one("kraken"))
    await asyncio.sleep(0)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    reconciler.let.set()
    assert (await stays).scraper == CLOSED
    assert len(reconciler.asked) == 1
