"""Contexts of the spans that published the records of a batch: read from Kafka's headers by the tasks, linked by the driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptoviz.telemetry.trace_context import HEADER, Value, is_context
from cryptoviz.telemetry.tracing import written_span
from spark_jobs.streaming.kafka_range_reader import OffsetRange

__all__ = ["Headers", "TracedRecords", "write_spans"]

MAX_CONTEXTS = 64
"""Contexts of a range; a batch of the running pipeline has a few. Those of a backlog after them get no span."""
_MAX_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class TracedRecords:
    """Records of one context in one topic-partition: the first and last offset, and how many."""

    topic: str
    partition: int
    context: str
    first: int
    last: int
    records: int


class Headers:
    """Collects the contexts of a range. A header that is no `traceparent` is ignored, as are all other headers."""

    def __init__(self, wanted: OffsetRange) -> None:
        self._wanted = wanted
        self._found: dict[str, list[int]] = {}
        self._looked = 0

    def __call__(self, messages: Sequence[Any]) -> None:
        """Look at the messages, the first `_MAX_RECORDS` of the range."""
        for message in messages[: max(0, _MAX_RECORDS - self._looked)]:
            context = _context_of(_headers_of(message))
            if context and (context in self._found or len(self._found) < MAX_CONTEXTS):
                self._found.setdefault(context, []).append(message.offset())
        self._looked += len(messages)

    def found(self) -> list[TracedRecords]:
        """What was collected, by context."""
        of = self._wanted
        return [TracedRecords(of.topic, of.partition, context, at[0], at[-1], len(at)) for context, at in self._found.items()]


def write_spans(traced: Iterable[TracedRecords], tables: dict[str, tuple[str, int]], batch: str, begun_ns: int) -> None:
    """A span `lake commit` in the trace of each context, from the begin of the batch until now, with a link to the batch.

    `tables`: by topic, its table and the version that has the records.
    """
    for one in traced:
        table, version = tables[one.topic]
        known: dict[str, Value] = {
            "cryptoviz.table": table,
            "cryptoviz.table_version": version,
            "messaging.destination.name": one.topic,
            "messaging.destination.partition.id": str(one.partition),
            "cryptoviz.first_offset": one.first,
            "cryptoviz.last_offset": one.last,
            "cryptoviz.records": one.records,
        }
        written_span("lake commit", known, one.context, begun_ns, [batch])


def _headers_of(message: Any) -> Sequence[tuple[str, bytes | None]] | None:
    # The client raises SystemError for a name that is not UTF-8, which any producer may write (confluent-kafka 2.16.1).
    with contextlib.suppress(SystemError):
        return message.headers()  # type: ignore[no-any-return]
    return None


def _context_of(headers: Sequence[tuple[str, bytes | None]] | None) -> str:
    for name, value in headers or ():
        if name == HEADER and value is not None:
            with contextlib.suppress(UnicodeDecodeError):
                text = value.decode("ascii")
                return text if is_context(text) else ""
    return ""
