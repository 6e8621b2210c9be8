"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported by `cryptoviz.telemetry.tracing` when a receiver is set, by nothing else.

A full queue drops its oldest span, and a receiver that does not answer costs spans only.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from urllib3.exceptions import HTTPError

from cryptoviz.log import get_logger
from cryptoviz.masking import redact
from cryptoviz.settings import Settings
from cryptoviz.telemetry.trace_context import Value, is_context

__all__ = ["Tracer"]

QUEUE_SPANS = 2048
"""Spans that wait for the receiver; a tick has about ten. Bounds memory to a few MB."""
BATCH_SPANS = 256
DELAY_MS = 1000
_MAX_LINKS = 64
_LIMITS = SpanLimits(
    max_attributes=128, max_events=128, max_links=128, max_event_attributes=128, max_link_attributes=128, max_span_attributes=128,
    max_attribute_length=SpanLimits.UNSET, max_span_attribute_length=SpanLimits.UNSET,
)  # fmt: skip
"""The SDK's defaults. Those that are not given it takes from the shell."""
_BODY_BYTES = 4096
"""An answer has some bytes."""
_CONTENT = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NS_PER_MS = 1_000_000


class Tracer:
    """The spans of one process."""

    def __init__(self, settings: Settings, component: str) -> None:
        """Starts the sending thread. Its library's own log lines are replaced by one when the receiver fails and one when it is back."""
        own = settings.tracing
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        session = _Session({name: value.get_secret_value() for name, value in own.headers.items()})
        exporter = OTLPSpanExporter(f"{own.endpoint.rstrip('/')}/v1/traces", timeout=own.timeout_s, compression=Compression.Gzip, session=session)
        # The exporter takes them from the shell's OTEL_* variables otherwise.
        session.verify, session.cert = str(own.ca_file) if own.ca_file else True, None
        self._ids = _Ids()
        self._pipeline = f"{settings.kafka.bootstrap_servers}/{settings.kafka.stream_topic}/{settings.home}"
        resource = Resource({"service.namespace": "cryptoviz", "service.name": component, "service.instance.id": settings.ray.namespace})
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids, span_limits=_LIMITS)
        self._provider.add_span_processor(BatchSpanProcessor(_Reporting(exporter, session), QUEUE_SPANS, DELAY_MS, BATCH_SPANS))
        self._tracer = self._provider.get_tracer("cryptoviz")

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value], parent: str | None, links: Iterable[str]) -> Iterator[_Span]:
        """See `cryptoviz.telemetry.tracing.span`."""
        context = None if parent is None else set_span_in_context(_remote(parent))
        with self._tracer.start_as_current_span(
            name, context, attributes=attributes, links=_links(links), record_exception=False, set_status_on_exception=False
        ) as found:
            # Not by the SDK: texts of errors and tracebacks may quote what they were made from.
            made = _Span(found)
            try:
                yield made
            except BaseException as error:
                made.fail(type(error).__name__)
                raise

    def written(self, name: str, attributes: Mapping[str, Value], parent: str, begun_ns: int, links: Iterable[str]) -> None:
        """See `cryptoviz.telemetry.tracing.written_span`."""
        context = set_span_in_context(_remote(parent))
        self._tracer.start_span(name, context, attributes=attributes, links=_links(links), start_time=begun_ns).end()

    def tick_context(self, tick_ts: int) -> str:
        """See `cryptoviz.telemetry.tracing.tick_context`."""
        trace_id, span_id = self._tick_ids(tick_ts)
        return _text(SpanContext(trace_id, span_id, is_remote=True, trace_flags=_SAMPLED))

    def tick(self, tick_ts: int, attributes: Mapping[str, Value], failed: str) -> None:
        """See `cryptoviz.telemetry.tracing.tick_span`."""
        with self._ids.used(*self._tick_ids(tick_ts)):
            root = self._tracer.start_span("tick", set_span_in_context(INVALID_SPAN), attributes=attributes, start_time=tick_ts * _NS_PER_MS)
        if failed:
            _Span(root).fail(failed)
        root.end()

    def current_context(self) -> str:
        """See `cryptoviz.telemetry.tracing.current_context`."""
        return _text(get_current_span().get_span_context())

    def flush(self, timeout_s: float) -> None:
        """See `cryptoviz.telemetry.tracing.flush_spans`."""
        sender = threading.Thread(target=self._provider.force_flush, name="flush-spans", daemon=True)
        sender.start()
        sender.join(timeout_s)

    def _tick_ids(self, tick_ts: int) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self._pipeline}/{tick_ts}".encode(), digest_size=24).digest()
        return int.from_bytes(digest[:16]), int.from_bytes(digest[16:])


class _Span:
    """`cryptoviz.telemetry.tracing.Span` of the SDK's."""

    def __init__(self, found: SdkSpan) -> None:
        self._span = found

    @property
    def context(self) -> str:
        return _text(self._span.get_span_context())

    def set(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(attributes)

    def link(self, contexts: Iterable[str]) -> None:
        for each in _links(contexts):
            self._span.add_link(each.context)

    def fail(self, reason: str) -> None:
        # Half of an escaped character, which JSON may have, would cost all spans of the request.
        self._span.set_status(Status(StatusCode.ERROR, redact(reason).encode(errors="backslashreplace").decode()))


class _Ids(RandomIdGenerator):
    """Random ids, except within `used`."""

    def __init__(self) -> None:
        self._own = threading.local()

    @contextmanager
    def used(self, trace_id: int, span_id: int) -> Iterator[None]:
        """The next root span of this thread gets these ids."""
        self._own.ids = (trace_id, span_id)
        try:
            yield
        finally:
            self._own.ids = None

    def generate_trace_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._own, "ids", None)
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._own, "ids", None)
        return super().generate_span_id() if ids is None else ids[1]


class _Session(requests.Session):
    """Sends the headers of the settings alone, to the receiver alone."""

    def __init__(self, own: Mapping[str, str]) -> None:
        super().__init__()
        self.trust_env = False  # neither proxies nor passwords of the shell
        self._own = {name.lower(): value for name, value in own.items()} | _CONTENT
        self.result = ""
        """Outcome of the last request, without its address."""

    def request(self, *arguments: Any, **named: Any) -> requests.Response:
        try:
            # The exporter adds headers from the shell's OTEL_* variables, such as the key of another receiver.
            response = super().request(*arguments, **(named | {"headers": self._own, "stream": True}))
        except requests.RequestException as error:
            late, away = isinstance(error, requests.Timeout), isinstance(error, requests.ConnectionError)
            self.result = "no answer in time" if late else "no connection" if away else type(error).__name__
            raise
        self.result = f"HTTP {response.status_code}"
        # The status is all that counts. A body that is read whole keeps the connection; one of any other length ends it.
        with suppress(HTTPError, OSError):
            response.raw.read1(_BODY_BYTES, decode_content=False)
        response.close()
        if 300 <= response.status_code < 400:  # the exporter takes it for success, without following it
            raise requests.TooManyRedirects
        return response


class _Reporting(SpanExporter):
    """Logs when the receiver begins to fail and when it is back."""

    def __init__(self, exporter: SpanExporter, session: _Session) -> None:
        self._exporter = exporter
        self._session = session
        self._failing = False
        self._log = get_logger("tracing")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        begun, self._session.result = time.monotonic(), "not sent"
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            waited_s = round(time.monotonic() - begun, 1)
            reason = self._session.result
            self._log.warning("spans_not_sent", setting="CRYPTOVIZ_TRACING__ENDPOINT", reason=reason, spans=len(spans), waited_s=waited_s)
        elif self._failing and not failing:
            self._log.info("spans_sent_again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _text(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else ""


def _remote(text: str) -> SdkSpan:
    return NonRecordingSpan(_context(text)) if is_context(text) else INVALID_SPAN


def _context(text: str) -> SpanContext:
    _, trace_id, span_id, _ = text.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED)


def _links(contexts: Iterable[str]) -> list[Link]:
    return [Link(_context(each)) for each in contexts if is_context(each)][:_MAX_LINKS]
