"""Reads missing trades over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from actors.fetching.hold_off import Limiter
from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.streaming.core import StreamCore
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderUnavailable
from cryptoviz.log import get_logger
from cryptoviz.settings import Settings
from cryptoviz.trades.gap_tracker import MissingRun
from cryptoviz.trades.gaps import PermanentReason
from cryptoviz.venues.base import RefillCall, RefillPage, StreamVenue
from cryptoviz.venues.spec import Instrument

__all__ = ["MAX_WAIT_S", "Refiller"]

GRACE_US = 300_000
"""Age of a gap before it is refilled: frames out of order close it by themselves."""
MAX_WAIT_S = 120.0
"""Longest wait for the local rate limit."""
_TIMEOUT_S = 15.0
_BODY_BYTES = 16 << 20
_POLL_S = 0.1
_FIRST_WAIT_S = 0.5

log = get_logger("stream")


class Refiller:
    """One gap at a time, the oldest first; one event loop."""

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
        self._max_back_off_s = settings.streams.max_back_off_s
        self._root = root or venue.spec.refill_url
        self._fetcher = HttpFetcher(
            provider=venue.spec.refill.shares or venue.spec.name,
            client=open_client(self._root, settings.network),
            limits=HttpLimits(_TIMEOUT_S, _BODY_BYTES),
            limiter=limiter,
            clock=clock,
        )
        self._not_before: dict[tuple[str, int], float] = {}
        self._failures: dict[tuple[str, int], int] = {}
        self._next_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._gate.wait()
            due = self._due()
            if not due:
                await self._clock.sleep(_POLL_S)
                continue
            await self._refill(*due[0])

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    def _due(self) -> Sequence[tuple[Instrument, MissingRun]]:
        now = self._clock.monotonic_s()
        missing = self._core.missing(self._now_us() - GRACE_US)
        known = {_key(instrument, run) for instrument, run in missing}
        for forgotten in self._not_before.keys() - known:
            self._not_before.pop(forgotten)
            self._failures.pop(forgotten, None)
        return [one for one in missing if self._not_before.get(_key(*one), 0.0) <= now]

    async def _refill(self, instrument: Instrument, missing: MissingRun) -> None:
        """Ask for the run once. What is still missing then is asked for again, later each time."""
        key, failures = _key(instrument, missing), self._failures.get(_key(instrument, missing), 0)
        wait_s: float | None = None
        try:
            call = self._venue.refill(instrument, missing.run, missing.around_us)
            if call is None:
                self._core.give_up(instrument, missing.run, PermanentReason.NO_TIME)
                return
            while call is not None and self._gate.is_set():
                page = await self._get(call)
                self._core.refilled(instrument, page.trades, page.voided, page.absent)
                call = page.next
            self.last_error = ""
        except ProviderUnavailable as error:
            wait_s, self.last_error = error.retry_after_s, error.message
        except CryptoVizError as error:
            self.last_error = error.message
        if self.last_error:
            log.warning("refill_failed", venue=self._venue.spec.name, symbol=instrument.symbol, reason=self.last_error)
        self._failures[key] = failures + 1
        self._not_before[key] = self._clock.monotonic_s() + max(wait_s or 0.0, min(self._max_back_off_s, _FIRST_WAIT_S * 2 ** min(failures, 20)))

    async def _get(self, call: RefillCall) -> RefillPage:
        await self._clock.sleep(self._next_s - self._clock.monotonic_s())
        self._next_s = self._clock.monotonic_s() + self._venue.spec.refill.min_interval_s
        self.calls += 1
        await self._before()
        return await self._fetcher.get(
            f"{self._root}{call.path}", call.query, call.headers, lambda response: self._venue.parse_refill(response, call)
        )


def _key(instrument: Instrument, missing: MissingRun) -> tuple[str, int]:
    return instrument.symbol, missing.run.first
