"""A receiver of OTLP over HTTP, which decodes what it gets."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from cryptoviz.telemetry import tracing

__all__ = ["Received", "Receiver", "end_tracing", "otlp_receiver"]


@dataclass(frozen=True)
class Received:
    """A span: ids in hex, times in ns, `parent` empty for a root, `links` as (trace id, span id)."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    failed: str | None
    attributes: dict[str, Any] = field(hash=False)
    links: tuple[tuple[str, str], ...] = ()


class Receiver:
    """What was received. `status`: answer to all further requests; `silent`: they get no answer until it is cleared."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/base"
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.silent = False
        self.connections = 0
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._spans: list[Received] = []

    def spans(self, **wanted: object) -> list[Received]:
        """Spans with these fields, in the order of their begin."""
        with self._lock:
            found = [one for one in self._spans if all(getattr(one, key) == value for key, value in wanted.items())]
        return sorted(found, key=lambda one: one.begin)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Decode a request."""
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
        found = []
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                links = tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links)
                failed = span.status.message if span.status.code == 2 else None
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                found.append(Received(service, span.name, *ids, *times, failed, _attributes(span.attributes), links))
        with self._lock:
            self._spans += found
            self.paths.append(path)
            self.headers.append(headers)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def otlp_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if receiver.silent:
                receiver.released.wait()
            if receiver.status == 200:
                receiver.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.endpoint = receiver.endpoint.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def end_tracing() -> None:
    """End the tracer of this process and its thread, which would log failures into later tests. Queued spans are dropped."""
    tracer, tracing._tracer = tracing._tracer, None
    if tracer is not None:
        processor: Any = tracer._provider._active_span_processor._span_processors[0]
        processor.span_exporter.export = lambda spans: SpanExportResult.FAILURE
        tracer._provider.shutdown()
