"""Asks one provider for its history, through the limits that everything on the node shares, and behind the scrapers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.protection.guards import Guards, build_guards
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.currencies import DOLLARS
from cryptoviz.errors import NoHistory, ProviderUnavailable
from cryptoviz.provider_status import BreakerState
from cryptoviz.providers.failures import bounded_wait_s
from cryptoviz.providers.history import Point, Step, Window
from cryptoviz.providers.registry import provider_class
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import FallbackReason, RawExchange
from cryptoviz.settings import Settings

__all__ = ["Asked", "HistoryAsker"]

T = TypeVar("T")
_ATTEMPTS = 6
_WAIT_S = (1.0, 60.0)
"""Between attempts, doubling, unless the provider or our own limit names a time."""
_LONGEST_WAIT_S = 900.0
"""A longer wait (a used-up day or month, a ban) ends the asking: other providers go on, and the backfill can be resumed."""
_SHARE = 2.0
"""A backfill leaves so many times its own pace to the scrapers, which ask through the same limit."""


class Asked:
    """An answer: prices in order of time, with what is needed to say where they came from."""

    def __init__(self, points: list[Point], received_ms: int, exchange: RawExchange) -> None:
        self.points = points
        self.received_ms = received_ms
        self.exchange = exchange


class HistoryAsker:
    """One provider, for one event loop. No network before `ask`.

    Attributes:
        name: of the provider.
        source: builds calls and parses responses.
        guards: what stands between it and its calls, shared with the scraper.
        calls: made so far, attempts included.
    """

    def __init__(self, name: str, settings: Settings, clock: Clock) -> None:
        own, cls = settings.provider(name), provider_class(name)
        spec = self._spec = cls.spec
        if spec.history is None:
            raise NoHistory(f"{name} has no past prices that a backfill can read", provider=name, reason=FallbackReason.MISSING_ASSET)
        self.name = name
        self.source = spec.history
        self._clock = clock
        self._exchanges: list[RawExchange] = []
        self.guards: Guards = build_guards(name, settings, clock)
        self._base_url = spec.root(own)
        self._fetcher = HttpFetcher(
            provider=name,
            client=open_client(self._base_url, settings.network),
            limits=HttpLimits(own.timeout_s, own.max_body_bytes),
            limiter=self.guards.limiter,
            clock=clock,
            recorder=self._exchanges.append,
            secrets=own.secrets_sent(settings.network),
            status_reasons=spec.status_reasons,
        )
        self._headers = cls(own, self._fetcher, clock).auth_headers()
        per_minute = self.guards.meter.plan.per_minute
        self._pace_s = 60.0 * self.guards.turns.cost.weight / per_minute * _SHARE if per_minute else 0.0
        self._refused_s, self._longest_refusal_s = own.rate_limit_wait_s, own.max_wait_s
        self._currencies: dict[str, str] = {}
        self._loaded = False
        self._next_s = 0.0
        self.calls = 0

    async def ask(self, provider_id: str, window: Window, step: Step, say: Callable[[str], None]) -> Asked:
        """The prices for a window's ticks. Waits for the limits, as `say` tells, and asks again after what may pass.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload, NoHistory: the provider does not give them now.
        """
        path, query = self.source.request(provider_id, window, step)

        def parse(response: HttpResponse) -> tuple[list[Point], int]:
            return self.source.parse(response, step), response.received_ms

        points, received_ms = await self._patiently(path, query, parse, window.ticks[0], say)
        return Asked(points, received_ms, self._exchanges[-1])

    async def currency(self, provider_id: str, say: Callable[[str], None]) -> str:
        """What the id's prices are quoted in: known, or by the provider's listing, which is asked once for an id.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the listing cannot be had now.
            NoHistory: the listing does not have the id, or it is not quoted in dollars.
        """
        known = self.source.currency or self._spec.quote_of(provider_id) or self._currencies.get(provider_id)
        if known is None:
            path, query = self.source.listing_request(provider_id)
            entries = await self._patiently(path, query, self.source.parse_listing, 0, say)
            known = self._currencies[provider_id] = entries[0].pair.quote if len(entries) == 1 else ""
        if known not in DOLLARS:
            message = f"{self.name}: {provider_id} is quoted in {known}, not in dollars" if known else f"{self.name} does not list {provider_id}"
            raise NoHistory(message, provider=self.name, reason=FallbackReason.MISSING_ASSET)
        return known

    async def _patiently(self, path: str, query: dict[str, str], parse: Callable[[HttpResponse], T], tick_ts: int, say: Callable[[str], None]) -> T:
        """One call; waits for the limits, as `say` tells, and calls again after what may pass."""
        if not self._loaded:
            await self.guards.load()
            self._loaded = True
        self.guards.breaker.load()  # its scraper, or an operator, may have opened it since
        if self.guards.breaker.status().state is BreakerState.OPEN:
            message = f"{self.name}: its breaker is open"
            raise ProviderUnavailable(message, provider=self.name, reason=FallbackReason.BREAKER_OPEN, retry_after_s=None)

        def tell(state: RetryCallState) -> None:
            say(f"{self.name} makes us wait {state.upcoming_sleep:.0f} s")

        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait_s,
            retry=retry_if_exception_type(_Passing),
            before_sleep=tell,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._once(path, query, parse, tick_ts, attempt.retry_state.attempt_number)
        except _Passing as passing:
            raise passing.cause from None
        raise AssertionError("tenacity either returns or raises")  # pragma: no cover

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()
        await self.guards.aclose()

    async def _once(self, path: str, query: dict[str, str], parse: Callable[[HttpResponse], T], tick_ts: int, attempt: int) -> T:
        await self._clock.sleep(max(0.0, self._next_s - self._clock.monotonic_s()))
        self._next_s = self._clock.monotonic_s() + self._pace_s
        self._exchanges.clear()
        self.guards.hold_off.load()  # what the provider told its scraper holds for us too
        self._fetcher.begin(tick_ts, attempt)
        self.calls += 1
        try:
            return await self._fetcher.get(f"{self._base_url}{path}", query, self._headers, parse)
        except ProviderUnavailable as error:
            wait_s = error.retry_after_s
            if self._exchanges and error.reason is FallbackReason.RATE_LIMITED:
                wait_s = bounded_wait_s(wait_s, self._refused_s, self._longest_refusal_s)
                self.guards.hold_off.impose(FallbackReason.RATE_LIMITED, wait_s, steady_ms(self._clock))
            if error.final or error.reason is FallbackReason.QUOTA or (wait_s is not None and wait_s > _LONGEST_WAIT_S):
                raise
            raise _Passing(error, wait_s) from None


class _Passing(Exception):
    """A failure that may pass within a time worth waiting for."""

    def __init__(self, cause: ProviderUnavailable, wait_s: float | None) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.wait_s = wait_s


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.wait_s if isinstance(error, _Passing) else None
    low, high = _WAIT_S
    return min(high, low * 2 ** (state.attempt_number - 1)) if asked_s is None else asked_s + low
