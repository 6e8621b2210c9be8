"""Spans of the way of a tick, for an OTLP receiver. Off by default; then nothing of OpenTelemetry is imported and a span costs a function call.

All spans of a tick are in one trace. Its id follows from the pipeline and the tick, so that scrapers and collector need not agree on it. Contexts are
W3C `traceparent` texts, in Kafka the header of this name. docs/tracing.md shows the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from cryptoviz.extras import require_extra
from cryptoviz.telemetry.trace_context import Value

if TYPE_CHECKING:
    from cryptoviz.settings import Settings
    from cryptoviz.telemetry.otel import Tracer

__all__ = [
    "Span",
    "current_context",
    "flush_spans",
    "span",
    "start_tracing",
    "tick_context",
    "tick_span",
    "tracing",
    "written_span",
]


class Span(Protocol):
    """A span in progress. Any thread may use it."""

    @property
    def context(self) -> str:
        """Its `traceparent`; empty when tracing is off."""

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Set attributes."""

    def link(self, contexts: Iterable[str]) -> None:
        """Add links to other spans. Empty contexts are ignored."""

    def fail(self, reason: str) -> None:
        """Mark it as failed."""


class _NoSpan:
    context = ""

    def set(self, attributes: Mapping[str, Value]) -> None:
        pass

    def link(self, contexts: Iterable[str]) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


_NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())
_tracer: Tracer | None = None


def start_tracing(settings: Settings, component: str) -> None:
    """Send the spans of this process to the receiver of the settings, if they name one. No-op if already started. Makes no connection.

    Raises:
        MissingExtra: the packages of the extra `tracing` are not installed.
    """
    global _tracer
    if not settings.tracing.endpoint or _tracer is not None:
        return
    require_extra("tracing", "CRYPTOVIZ_TRACING__ENDPOINT")
    from cryptoviz.telemetry.otel import Tracer

    _tracer = Tracer(settings, component)


def tracing() -> bool:
    """Whether this process sends spans."""
    return _tracer is not None


def span(name: str, attributes: Mapping[str, Value], parent: str | None = None, links: Iterable[str] = ()) -> AbstractContextManager[Span]:
    """A span, current within the context. An exception that leaves the context marks it as failed.

    `parent`: None for the current span; empty for a new trace.
    """
    return _NO_SPAN if _tracer is None else _tracer.span(name, attributes, parent, links)


def written_span(name: str, attributes: Mapping[str, Value], parent: str, begun_ns: int, links: Iterable[str] = ()) -> None:
    """A span that began at `begun_ns` (UTC epoch ns) and ends now."""
    if _tracer is not None:
        _tracer.written(name, attributes, parent, begun_ns, links)


def tick_context(tick_ts: int) -> str:
    """Context of the root span of a tick, which `tick_span` writes once the tick is over; empty when tracing is off."""
    return "" if _tracer is None else _tracer.tick_context(tick_ts)


def tick_span(tick_ts: int, attributes: Mapping[str, Value], failed: str = "") -> None:
    """Write the root span of a tick, from the time of the tick until now. Once per tick."""
    if _tracer is not None:
        _tracer.tick(tick_ts, attributes, failed)


def current_context() -> str:
    """Context of the current span; empty without one."""
    return "" if _tracer is None else _tracer.current_context()


def flush_spans(timeout_s: float = 2.0) -> None:
    """Send the queued spans, and wait for at most `timeout_s`."""
    if _tracer is not None:
        _tracer.flush(timeout_s)
