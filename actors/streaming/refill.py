"""Reads missing trades over HTTP, and between them a sample of the venue's own candles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from actors.fetching.hold_off import Limiter
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.streaming.candle_sampler import CandleSampler
from actors.streaming.core import StreamCore
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderUnavailable
from cryptoviz.log import get_logger
from cryptoviz.providers.response import HttpResponse
from cryptoviz.settings import Settings
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.trades.refill_plan import RefillJob, RefillPlan
from cryptoviz.venues.base import KlineCall, RefillCall, RefillPage, StreamVenue

__all__ = ["MAX_WAIT_S", "Refiller"]

MAX_WAIT_S = 120.0
"""Longest wait for the local rate limit."""
_TIMEOUT_S = 15.0
_BODY_BYTES = 16 << 20
_POLL_S = 0.1

log = get_logger("stream")
T = TypeVar("T")


class Refiller:
    """One request at a time, in the order of `RefillPlan`; one event loop."""

    def __init__(
        self,
        venue: StreamVenue,
        root: str,
        core: StreamCore,
        limiter: Limiter,
        settings: Settings,
        clock: Clock,
        now_us: Callable[[], int],
        gate: asyncio.Event,
        before: Callable[[], Awaitable[object]],
        sampler: CandleSampler,
    ) -> None:
        """`root`: replaces the venue's address; `gate`: nothing is read while it is not set; `before`: called before each request."""
        self.last_error = ""
        self.calls = 0
        self._venue = venue
        self._core = core
        self._before = before
        self._clock = clock
        self._now_us = now_us
        self._gate = gate
        self._root = root or venue.spec.refill_url
        self._fetcher = HttpFetcher(
            provider=venue.spec.refill.shares or venue.spec.name,
            client=open_client(self._root, settings.network),
            limits=HttpLimits(_TIMEOUT_S, _BODY_BYTES),
            limiter=limiter,
            clock=clock,
        )
        self._sampler = sampler
        self._plan = RefillPlan(venue.spec.refill.rows)
        self._next_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._gate.wait()
            job = self._plan.next(self._core.missing(), self._now_us())
            if job is not None:
                await self._refill(job)
            elif (call := self._sampler.due()) is not None:
                await self._sample(call)
            else:
                await self._clock.sleep(_POLL_S)

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    async def _refill(self, job: RefillJob) -> None:
        """Request the run once. What is still missing then is requested again, after a longer wait each time."""
        instrument, missing = self._core.feeds[job.symbol].instrument, self._core.missing_trades()
        try:
            call = self._venue.refill(instrument, job.run, job.around_us)
            if call is None:
                self._core.give_up(instrument, job.run, PermanentReason.NO_TIME)
            while call is not None and self._gate.is_set():
                page = await self._get(call.path, call.query, call.headers, partial(self._parsed, call))
                self._core.refilled(instrument, page.trades, page.voided, page.absent)
                call = page.next
        except CryptoVizError as error:
            self.last_error = error.message
            log.warning("refill_failed", venue=self._venue.spec.name, symbol=job.symbol, reason=error.message)
            self._plan.failed(job.symbol, self._now_us(), hold_s=error.retry_after_s if isinstance(error, ProviderUnavailable) else None)
        else:
            self.last_error = ""
            # Gaps that opened meanwhile count as not brought, so that the next job waits a moment too long at most.
            self._plan.answered(job.symbol, max(0, missing - self._core.missing_trades()), self._now_us())

    def _parsed(self, call: RefillCall, response: HttpResponse) -> RefillPage:
        return self._venue.parse_refill(response, call)

    async def _sample(self, call: KlineCall) -> None:
        try:
            found = await self._get(call.path, call.query, {}, lambda response: self._venue.parse_klines(response, call))
        except CryptoVizError as error:  # the next sample begins where this one did
            log.warning("candles_not_read", venue=self._venue.spec.name, symbol=call.instrument.symbol, reason=error.message)
        else:
            self._core.record(self._sampler.records(call, found))

    async def _get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], parse: Callable[[HttpResponse], T]) -> T:
        await self._clock.sleep(self._next_s - self._clock.monotonic_s())
        self._next_s = self._clock.monotonic_s() + self._venue.spec.refill.min_interval_s
        self.calls += 1
        await self._before()
        return await self._fetcher.get(f"{self._root}{path}", query, headers, parse)
