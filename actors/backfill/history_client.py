"""Client for one provider's price history. Shares the provider's limits with all its users and yields to the scrapers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from actors.fetching.http import HttpFetcher, HttpLimits, open_client
from actors.protection.provider_protection import ProviderProtection, build_protection
from cryptoviz.clock import Clock, steady_ms
from cryptoviz.errors import CryptoVizError, NoHistory, ProviderUnavailable
from cryptoviz.log import get_logger
from cryptoviz.provider_status import BreakerState
from cryptoviz.providers.failures import bad_payload, bounded_wait_s
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.history import Point, Step, Window
from cryptoviz.providers.registry import provider_class
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import DOLLAR, DOLLARS, FallbackReason, RawExchange
from cryptoviz.settings import Settings

__all__ = ["HistoryClient", "HistoryResponse"]

T = TypeVar("T")
_log = get_logger("backfill")
_ATTEMPTS = 6
_WAIT_S = (1.0, 60.0)
"""Minimum and maximum wait between attempts; doubled each time, unless the provider or the local rate limit states a wait."""
_LONGEST_WAIT_S = 900.0
"""A longer wait (daily or monthly quota, ban) fails the request: the backfill continues with other providers, and can be repeated later."""
_SHARE = 2.0
"""Factor on the minimum interval between calls, which leaves part of the shared rate limit to the scrapers."""


class HistoryResponse:
    """Prices in order of time, with their origin."""

    def __init__(self, points: list[Point], received_ms: int, exchange: RawExchange) -> None:
        self.points = points
        self.received_ms = received_ms
        self.exchange = exchange


class HistoryClient:
    """Client for one provider and one event loop. The constructor makes no connection.

    Attributes:
        name: of the provider.
        source: builds calls and parses responses.
        protection: rate limiter, quota, hold-off and breaker, shared with the scraper.
        calls: calls so far, including retries.
    """

    def __init__(self, name: str, settings: Settings, clock: Clock) -> None:
        own, cls = settings.provider(name), provider_class(name)
        spec = self._spec = cls.spec
        if spec.history is None:
            raise NoHistory(f"{name} has no price history for a backfill", provider=name, reason=FallbackReason.MISSING_ASSET)
        self.name = name
        self.source = spec.history
        self._clock = clock
        self.protection: ProviderProtection = build_protection(name, settings, clock)
        self._base_url = spec.root(own)
        self._fetcher = HttpFetcher(
            provider=name,
            client=open_client(self._base_url, settings.network),
            limits=HttpLimits(own.timeout_s, own.max_body_bytes),
            limiter=self.protection.limiter,
            clock=clock,
            secrets=own.secrets_sent(settings.network),
            status_reasons=spec.status_reasons,
        )
        self._headers = cls(own, self._fetcher, clock).auth_headers()
        per_minute = self.protection.meter.plan.per_minute
        self._pace_s = 60.0 * self.protection.turns.cost.weight / per_minute * _SHARE if per_minute else 0.0
        self._refused_s, self._longest_refusal_s = own.rate_limit_wait_s, own.max_wait_s
        self._currencies: dict[str, str] = {}
        self._loaded = False
        self._next_s = 0.0
        self.calls = 0

    async def fetch(self, provider_id: str, window: Window, step: Step, report: Callable[[str], None]) -> HistoryResponse:
        """Fetch the prices for a window's ticks. Waits for rate limits and retries transient failures; waits are passed to `report`.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload, NoHistory: the prices are not available now.
        """
        path, query = self.source.request(provider_id, window, step)

        def parse(response: HttpResponse) -> tuple[list[Point], int]:
            return self._parsed(self.source.parse, response, step), response.received_ms

        log = CallLog(window.ticks[0])
        points, received_ms = await self._with_retries(path, query, parse, log, report)
        return HistoryResponse(points, received_ms, log.exchanges[-1])

    async def currency(self, provider_id: str, report: Callable[[str], None]) -> str:
        """Quote currency of an id: known, or from the provider's listing, which is requested once per id.

        Raises:
            ProviderUnavailable, ProviderRefused, BadPayload: the listing is not available now.
            NoHistory: the id is not listed, or not quoted in dollars.
        """
        known = self.source.currency or self._spec.quote_of(provider_id) or self._currencies.get(provider_id)
        if known is None and self._spec.quote is None:
            known = DOLLAR
        if known is None:
            path, query = self.source.listing_request(provider_id)
            entries = await self._with_retries(path, query, partial(self._parsed, self.source.parse_listing), CallLog(), report)
            known = self._currencies[provider_id] = entries[0].pair.quote if len(entries) == 1 else ""
        if known not in DOLLARS:
            message = f"{self.name}: {provider_id} is quoted in {known}, not in dollars" if known else f"{self.name} does not list {provider_id}"
            raise NoHistory(message, provider=self.name, reason=FallbackReason.MISSING_ASSET)
        return known

    def _parsed(self, parse: Callable[..., T], *arguments: Any) -> T:
        """What a parser returns; an unexpected exception is a bad payload, so that the other providers are tried."""
        try:
            return parse(*arguments)
        except CryptoVizError:
            raise
        except Exception as error:  # noqa: BLE001 (as in `BaseProvider.poll`)
            _log.exception("provider_bug", provider=self.name)
            raise bad_payload(self.name, f"{type(error).__name__} in the parser of its history") from None

    async def _with_retries(
        self, path: str, query: dict[str, str], parse: Callable[[HttpResponse], T], log: CallLog, report: Callable[[str], None]
    ) -> T:
        """One request with retries; waits are passed to `report`."""
        if not self._loaded:
            await self.protection.load()
            self._loaded = True
        await self.protection.load_breaker()  # the scraper, perhaps of another node, or the operator may have opened it since
        if self.protection.breaker.status().state is BreakerState.OPEN:
            message = f"{self.name}: its breaker is open"
            raise ProviderUnavailable(message, provider=self.name, reason=FallbackReason.BREAKER_OPEN, retry_after_s=None)

        def report_wait(state: RetryCallState) -> None:
            report(f"waiting {state.upcoming_sleep:.0f} s for {self.name}")

        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait_s,
            retry=retry_if_exception_type(_Transient),
            before_sleep=report_wait,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    log.attempt = attempt.retry_state.attempt_number
                    return await self._once(path, query, parse, log)
        except _Transient as transient:
            raise transient.cause from None
        raise AssertionError("tenacity either returns or raises")  # pragma: no cover

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        await self.protection.aclose()

    async def _once(self, path: str, query: dict[str, str], parse: Callable[[HttpResponse], T], log: CallLog) -> T:
        await self._clock.sleep(max(0.0, self._next_s - self._clock.monotonic_s()))
        self._next_s = self._clock.monotonic_s() + self._pace_s
        await self.protection.load_hold()  # a hold imposed on the scraper applies here too
        self.calls += 1
        try:
            return await self._fetcher.get(f"{self._base_url}{path}", query, self._headers, parse, log=log)
        except ProviderUnavailable as error:
            wait_s = error.retry_after_s
            if log.sent and error.reason is FallbackReason.RATE_LIMITED:
                wait_s = bounded_wait_s(wait_s, self._refused_s, self._longest_refusal_s)
                self.protection.hold_off.impose(FallbackReason.RATE_LIMITED, wait_s, steady_ms(self._clock))
            if error.final or error.reason is FallbackReason.QUOTA or (wait_s is not None and wait_s > _LONGEST_WAIT_S):
                raise
            raise _Transient(error, wait_s) from None


class _Transient(Exception):
    """A failure that may end within the maximum wait."""

    def __init__(self, cause: ProviderUnavailable, wait_s: float | None) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.wait_s = wait_s


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.wait_s if isinstance(error, _Transient) else None
    low, high = _WAIT_S
    return min(high, low * 2 ** (state.attempt_number - 1)) if asked_s is None else asked_s + low
