from __future__ import annotations

import asyncio

import pytest

from actors.scraping.collector_client import MAX_WAITING, ResultSender
from cryptoviz.errors import EngineUnavailable
from cryptoviz.records import TickResult
from tests.support.clock import T0, FakeClock
from tests.support.collection_fakes import answer
from tests.support.log_lines import log_lines
from tests.support.waiting import eventually_async

TICK = 2000


class Client:
    def __init__(self) -> None:
        self.away = 0
        self.hang = False
        self.got: list[TickResult] = []
        self.deregistered: list[str] = []

    def _check(self) -> None:
        if self.away:
            self.away -= 1
            raise EngineUnavailable("the collector does not answer", engine="collector", address="x")

    async def submit(self, result: TickResult) -> None:
        if self.hang:
            await asyncio.Event().wait()
        self._check()
        self.got.append(result)

    async def deregister(self, provider: str) -> None:
        self._check()
        self.deregistered.append(provider)


class Rig:
    def __init__(self) -> None:
        self.client = Client()
        self.clock = FakeClock()
        self.sender = ResultSender(self.client, TICK, self.clock)

    async def until(self, delivered: int, undelivered: int) -> None:
        async def done() -> bool:
            return (self.sender.delivered_total, self.sender.undelivered_total) == (delivered, undelivered)

        await eventually_async(done, 60, 0.001)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_results_are_delivered_if_the_collector_returns_within_the_tick(rig: Rig):
    rig.client.away = 3
    result = answer("coingecko", {"bitcoin": 1.0})
    rig.sender.deliver(result)
    await rig.until(1, 0)
    assert rig.client.got == [result]
    assert rig.clock.slept == [0.2] * 3


async def test_a_result_is_dropped_after_its_tick(rig: Rig):
    rig.client.away = 10**6
    rig.sender.deliver(answer("coingecko", {"bitcoin": 1.0}))
    await rig.until(0, 1)
    assert T0 + TICK <= rig.clock.now_ms() <= T0 + TICK + 200
    assert rig.sender.last_error == "the collector does not answer"
    rig.client.away = 0
    rig.sender.deliver(answer("coingecko", {"bitcoin": 1.0}, T0 + TICK))
    await rig.until(1, 1)
    assert rig.sender.last_error == ""


async def test_pending_results_are_bounded_and_cancelled_by_deregister(rig: Rig):
    rig.client.hang = True
    for n in range(MAX_WAITING + 2):
        rig.sender.deliver(answer("coingecko", {"bitcoin": 1.0}, T0 + n * TICK))
    assert rig.sender.undelivered_total == 2
    await rig.sender.deregister("coingecko")
    assert rig.client.deregistered == ["coingecko"]


async def test_deregister_without_a_collector_raises_no_error(rig: Rig):
    rig.client.away = 1
    await rig.sender.deregister("coingecko")
    assert rig.client.deregistered == []


async def test_lines_of_a_delivery_have_the_tick_and_the_fetch_id(rig: Rig):
    rig.client.away = 1000
    result = answer("coingecko", {"bitcoin": 1.0})
    with log_lines() as lines:
        rig.sender.deliver(result)
        await rig.until(0, 1)
        rig.client.away = 0
        rig.sender.deliver(result)
        await rig.until(1, 1)
    for event in ("result_undelivered", "result_delivered"):
        (line,) = lines.of(event)
        assert (line["tick_ts"], line["fetch_id"]) == (result.tick_ts, result.fetch_id)
