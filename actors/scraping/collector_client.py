"""Client of the collector actor. Delivers results across restarts of the collector and never delays a poll."""

from __future__ import annotations

import asyncio
from typing import Protocol

from actors.ray_actor import RayActor
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.components import COLLECTOR
from cryptoviz.errors import CryptoVizError, EngineUnavailable
from cryptoviz.log import get_logger, log_context
from cryptoviz.records import TickResult

__all__ = ["CollectorClient", "RayCollectorClient", "ResultSender"]

CALL_TIMEOUT_S = 2.0
"""The collector only stores a result; a longer call means that it is unavailable."""
RETRY_S = 0.2
MAX_WAITING = 4
"""Maximum number of undelivered results. A result is useless after its tick."""


class CollectorClient(Protocol):
    """Calls of the collector. Each raises EngineUnavailable if the collector is unavailable."""

    async def submit(self, result: TickResult) -> None:
        """Submit one result."""

    async def deregister(self, provider: str) -> None:
        """Report that the provider's scraper was stopped."""


class RayCollectorClient:
    """`CollectorClient` of the Ray actor."""

    def __init__(self, namespace: str, name: str = COLLECTOR) -> None:
        self._name = name
        self._actor = RayActor(name, namespace)

    async def submit(self, result: TickResult) -> None:
        await self._call("submit", result)

    async def deregister(self, provider: str) -> None:
        await self._call("deregister", provider)

    async def _call(self, method: str, argument: object) -> None:
        try:
            await self._actor.call(method, argument, timeout_s=CALL_TIMEOUT_S)
        except CryptoVizError as error:
            raise EngineUnavailable(f"the collector does not answer: {error.message}", engine="collector", address=self._name) from None


class ResultSender:
    """Delivers results in the background. For one event loop."""

    def __init__(self, client: CollectorClient, tick_ms: int, clock: Clock) -> None:
        self._client = client
        self._tick_ms = tick_ms
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("collector-link")
        self.delivered_total = 0
        self.undelivered_total = 0
        self.last_error = ""

    def deliver(self, result: TickResult) -> None:
        """Start the delivery and return at once."""
        with log_context(tick_ts=result.tick_ts, fetch_id=result.fetch_id):
            if len(self._tasks) >= MAX_WAITING:
                self._lost("too many results are waiting for the collector")
                return
            task = asyncio.get_running_loop().create_task(self._deliver(result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def deregister(self, provider: str) -> None:
        """Cancel pending deliveries and report the stop to the collector, if it is available."""
        for task in list(self._tasks):
            task.cancel()
        try:
            await self._client.deregister(provider)
        except EngineUnavailable as error:
            self._log.warning("deregistration_failed", reason=error.message)

    async def _deliver(self, result: TickResult) -> None:
        left_ms = min(result.tick_ts + self._tick_ms - self._clock.now_ms(), self._tick_ms)
        deadline_ms = steady_ms(self._clock) + left_ms
        while True:
            try:
                await self._client.submit(result)
            except EngineUnavailable as error:
                if steady_ms(self._clock) >= deadline_ms:
                    self._lost(error.message)
                    return
                await self._clock.sleep(RETRY_S)
            else:
                self.delivered_total += 1
                self.last_error = ""
                self._log.debug("result_delivered", provider=result.provider)
                return

    def _lost(self, reason: str) -> None:
        if not self.last_error:
            self._log.warning("result_undelivered", reason=reason)
        self.last_error = reason
        self.undelivered_total += 1
