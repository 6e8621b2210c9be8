"""HTTP requests to a provider: total deadline, bounded size, JSON only, no redirects, TLS verified, every exchange recorded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
import orjson

from actors.fetching.hold_off import Limiter
from actors.fetching.inflate import BodyTooLarge, BoundedInflater, UnknownEncoding
from cryptoviz.clock import Clock
from cryptoviz.errors import CryptoVizError, ProviderFailure
from cryptoviz.log import get_logger, log_context
from cryptoviz.masking import Redactor
from cryptoviz.providers.failures import REFUSALS, bad_payload, failure, page_failure, retry_after_s
from cryptoviz.providers.fetcher import CallLog
from cryptoviz.providers.response import HttpResponse
from cryptoviz.records import Call, FallbackReason, RawExchange
from cryptoviz.security.tls import trust
from cryptoviz.settings import NetworkSettings
from cryptoviz.telemetry.tracing import Span, span

__all__ = ["MAX_RECORDED_BODY_BYTES", "HttpFetcher", "HttpLimits", "Recorder", "full_address", "open_client"]

T = TypeVar("T")
Recorder = Callable[[RawExchange], None]

MAX_RECORDED_BODY_BYTES = 1024 * 1024
"""Maximum recorded size of a body; real responses for 250 coins have a quarter of it."""
_REMOVED = "[removed]"
_LONGEST_SECRET_BYTES = 4096
"""Maximum length of a secret in any escaped form."""
_DIRECT = NetworkSettings()
_RATE_HEADER_PREFIXES = ("retry-after", "ratelimit", "x-ratelimit", "x-rate-limit", "x-mbx-used-weight", "x-mbx-order-count")
_HTTP_OK = 200
_FIRST_ERROR = 400
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`timeout_s` bounds one attempt as a whole, from the connection to the last byte of the body."""

    timeout_s: float
    max_body_bytes: int


def full_address(provider: str, url: str, params: Mapping[str, str]) -> httpx.URL:
    """The URL with its query. Raises ProviderUnavailable if it is not valid."""
    try:
        full = httpx.URL(url).copy_merge_params(dict(params))
    except httpx.InvalidURL as error:
        raise failure(provider, FallbackReason.UNAVAILABLE, f"the address is invalid: {error}") from None
    if full.port is not None and full.port > _MAX_PORT:
        # In httpx it would be raised as an exception group.
        raise failure(provider, FallbackReason.UNAVAILABLE, f"the address is invalid: port {full.port}")
    return full


def open_client(base_url: str, network: NetworkSettings = _DIRECT) -> httpx.AsyncClient:
    """A pooled client with certificates verified and redirects refused. The fetcher sets deadlines, the settings proxy and authorities.

    Raises:
        SettingsError: `network.ca_file` cannot be read.
    """
    headers = {"user-agent": "cryptoviz", "accept": "application/json", "accept-encoding": "gzip, deflate"}
    return httpx.AsyncClient(
        follow_redirects=False, verify=trust(network.ca_file), trust_env=False, proxy=network.proxy_for(base_url), headers=headers,
        timeout=httpx.Timeout(None),
    )  # fmt: skip


class HttpFetcher:
    """Makes the requests of one provider. Each exchange is passed to the recorder when it ends, also after a failure. Keeps no state of a call.

    Args:
        recorder: None: exchanges are not recorded.
        secrets: texts that are removed from recorded exchanges and errors, also where a body repeats them.
        status_reasons: meaning of statuses without a JSON body, where this provider differs from the usual.
    """

    def __init__(
        self,
        provider: str,
        client: httpx.AsyncClient,
        limits: HttpLimits,
        limiter: Limiter,
        clock: Clock,
        recorder: Recorder | None = None,
        secrets: tuple[str, ...] = (),
        status_reasons: Mapping[int, FallbackReason] | None = None,
    ) -> None:
        self._provider = provider
        self._client = client
        self._limits = limits
        self._limiter = limiter
        self._clock = clock
        self._recorder = recorder
        self._redact = Redactor(secrets, _REMOVED)
        self._has_secrets = any(secrets)
        self._status_reasons = status_reasons or {}
        self._log = get_logger(f"provider/{provider}")

    async def aclose(self) -> None:
        await self._client.aclose()

    @property
    def timeout_s(self) -> float:
        return self._limits.timeout_s

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None = None,
        log: CallLog | None = None,
    ) -> T:
        """GET `url` and return the result of `parse` for the response. The exchange is recorded with the outcome of `parse`.

        A good body longer than `MAX_RECORDED_BODY_BYTES` is recorded as the result of `shorten` for its JSON value, else truncated. The call and its
        exchange are added to `log`, also when this raises.

        Raises:
            ProviderUnavailable: timeout, no connection, redirect, 5xx, 429.
            ProviderRefused: key, plan, region.
            BadPayload: not JSON, too large, or what `parse` raises.
        """
        log = log or CallLog()
        await self._turn(url, params, log)
        note = _Note(self._clock.now_ms())
        known = {"http.request.method": "GET", "cryptoviz.fetch_id": note.fetch_id, "cryptoviz.provider": self._provider}
        with log_context(fetch_id=note.fetch_id), span("GET", known) as note.span:
            try:
                result = await self._parsed(url, params, headers, parse, shorten, note)
            except CryptoVizError as error:
                failed = error.with_texts(self._clean)
                self._record(note, log, error.reason if isinstance(error, ProviderFailure) else FallbackReason.BAD_PAYLOAD, failed.message)
            except Exception as error:
                # A bug in a parser: the body is recorded.
                self._record(note, log, FallbackReason.BAD_PAYLOAD, f"{type(error).__name__} in the provider's parser")
                raise
            except asyncio.CancelledError:
                self._record(note, log, FallbackReason.TIMEOUT, "the poll's time was over")
                raise
            else:
                self._record(note, log, "ok", None)
                return result
            # Outside the handler, so that the first error, whose frames reference the decoded body, is not kept as context.
            raise failed

    async def _parsed(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        parse: Callable[[HttpResponse], T],
        shorten: Callable[[Any], Any] | None,
        note: _Note,
    ) -> T:
        full = full_address(self._provider, url, params)
        note.endpoint = self._clean(str(full.copy_with(userinfo=b"")))
        response = await self._exchange(full, headers, note)
        note.received_ms = response.received_ms
        result = self._parse(response, parse)
        if shorten is not None and len(note.body) > MAX_RECORDED_BODY_BYTES:
            note.body = orjson.dumps(shorten(response.json()))
        return result

    def _parse(self, response: HttpResponse, parse: Callable[[HttpResponse], T]) -> T:
        try:
            return parse(response)
        except CryptoVizError as error:
            if not self._has_secrets:
                raise
            first = error
        # A message quotes a part of the body that could end within a secret, so it is made from a body without secrets.
        if len(response.body) <= MAX_RECORDED_BODY_BYTES:
            body = self._clean(response.body.decode("latin-1")).encode("latin-1")
            if body == response.body:
                raise first
            parse(replace(response, body=body))
        raise first.with_message(f"{self._provider}: HTTP {response.status} with a body of no use, which may hold a secret")

    async def _turn(self, url: str, params: Mapping[str, str], log: CallLog) -> None:
        """Wait for the limiter; a refused call is noted."""
        outcome: str = FallbackReason.TIMEOUT
        try:
            await self._limiter.acquire()
        except (CryptoVizError, asyncio.CancelledError) as error:
            if isinstance(error, CryptoVizError):
                outcome = error.reason if isinstance(error, ProviderFailure) else FallbackReason.UNAVAILABLE
            address = full_address(self._provider, url, params).copy_with(userinfo=b"")
            log.calls.append(Call(log.attempt, endpoint=self._clean(str(address)), outcome=outcome))
            raise

    async def _exchange(self, url: httpx.URL, headers: Mapping[str, str], note: _Note) -> HttpResponse:
        try:
            async with asyncio.timeout(self._limits.timeout_s), self._client.stream("GET", url, headers=dict(headers)) as response:
                note.status, note.headers = response.status_code, response.headers
                self._limiter.observe(response.status_code, response.headers)
                await self._read(response, note)
                # Keep only one copy of a long body.
                note.body = bytes(note.body)
        except (TimeoutError, httpx.TimeoutException):
            unread = failure(self._provider, FallbackReason.TIMEOUT, f"no complete answer within {self._limits.timeout_s:g} s")
            raise self._refusal(note) or unread from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            unread = failure(self._provider, FallbackReason.UNAVAILABLE, f"{type(error).__name__}: {self._clean(str(error))}")
            raise self._refusal(note) or unread from None
        except BodyTooLarge:
            text = f"the body is larger than {self._limits.max_body_bytes} bytes (providers.{self._provider}.max_body_bytes)"
            raise self._refusal(note) or bad_payload(self._provider, text) from None
        except UnknownEncoding as error:
            raise self._refusal(note) or bad_payload(self._provider, f"the body does not decode: {error}") from None
        return self._accept(HttpResponse(response.status_code, response.headers, bytes(note.body), self._clock.now_ms(), note.fetch_id))

    async def _read(self, response: httpx.Response, note: _Note) -> None:
        inflater = BoundedInflater(self._clean(response.headers.get("content-encoding", "")), self._limits.max_body_bytes)
        async for chunk in response.aiter_raw():
            note.body += inflater.feed(chunk)
        inflater.end()

    def _refusal(self, note: _Note) -> ProviderFailure | None:
        """The error of a status without its body: a refusal counts even if its body cannot be read."""
        if note.status is None or note.status < _FIRST_ERROR:
            return None
        wait_s = retry_after_s(note.headers, self._clock.now_ms())
        refused = page_failure(self._provider, note.status, wait_s, self._status_reasons)
        return refused if refused.reason in REFUSALS else None

    def _accept(self, response: HttpResponse) -> HttpResponse:
        content_type = self._clean(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
        is_json = content_type == "application/json" or content_type.endswith("+json")
        if 300 <= response.status < 400:
            raise failure(self._provider, FallbackReason.UNAVAILABLE, f"HTTP {response.status}: a redirect, which is not followed")
        if is_json:
            return response
        if response.status == _HTTP_OK:
            raise bad_payload(self._provider, f"the content type is {content_type[:60]!r}, expected application/json")
        raise page_failure(self._provider, response.status, response.retry_after_s, self._status_reasons)

    def _record(self, note: _Note, log: CallLog, outcome: str, error: str | None) -> None:
        # A body that was parsed is complete.
        finished_ms = note.received_ms or self._clock.now_ms()
        # Secrets are removed before truncation, which could split a secret.
        body, whole = _text(bytes(note.body[: MAX_RECORDED_BODY_BYTES + _LONGEST_SECRET_BYTES])) if note.status is not None else (None, False)
        whole = whole and note.received_ms is not None and len(note.body) <= MAX_RECORDED_BODY_BYTES
        if body is not None:
            body = self._clean(body).encode()[:MAX_RECORDED_BODY_BYTES].decode("utf-8", "ignore")
        kept = {name: self._clean(value) for name, value in note.headers.items() if name.lower().startswith(_RATE_HEADER_PREFIXES)}
        exchange = RawExchange(
            fetch_id=note.fetch_id, provider=self._provider, endpoint=note.endpoint, tick_ts=log.tick_ts, started_ts=note.started_ms,
            finished_ts=finished_ms, status=note.status, outcome=outcome, error=error, rate_limit_headers=kept, attempt=log.attempt, body=body,
        )  # fmt: skip
        log.calls.append(Call(log.attempt, note.fetch_id, whole))
        log.exchanges.append(exchange)
        if note.span is not None and note.span.context:
            note.span.set({"url.full": note.endpoint, "cryptoviz.outcome": outcome, "cryptoviz.attempt": log.attempt})
            if note.status is not None:
                note.span.set({"http.response.status_code": note.status})
            if error is not None:
                note.span.fail(error)
        took_ms = finished_ms - note.started_ms
        self._log.debug("exchange", endpoint=note.endpoint, status=note.status, outcome=outcome, attempt=log.attempt, ms=took_ms)
        if self._recorder is not None:
            self._recorder(exchange)

    def _clean(self, text: str) -> str:
        return self._redact(text)


class _Note:
    """The exchange in progress."""

    def __init__(self, started_ms: int) -> None:
        self.fetch_id = uuid.uuid4().hex
        self.endpoint = "(invalid address)"
        self.started_ms = started_ms
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body: bytes | bytearray = bytearray()
        # Set when the response was accepted and passed to the parser.
        self.received_ms: int | None = None
        self.span: Span | None = None


def _text(body: bytes) -> tuple[str, bool]:
    """The body as text, and whether the text is complete."""
    try:
        return body.decode("utf-8"), True
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace"), False
