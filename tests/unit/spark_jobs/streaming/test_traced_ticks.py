"""Contexts in the headers of a range, and the spans of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryptoviz.settings import load_settings
from cryptoviz.telemetry.tracing import flush_spans, start_tracing
from spark_jobs.streaming.kafka_range_reader import OffsetRange
from spark_jobs.streaming.traced_ticks import MAX_CONTEXTS, Headers, TracedRecords
from spark_jobs.tables.parquet import TablePart, WrittenPart
from tests.support.otlp import Receiver, end_tracing, otlp_receiver
from tests.support.settings import forget_settings
from tests.unit.spark_jobs.streaming.test_batch import Rig

WANTED = OffsetRange("stream", 1, 10, 20)


def context(n: int) -> str:
    return f"00-{n:032x}-{n:016x}-01"


class Message:
    def __init__(self, offset: int, headers: Any) -> None:
        self._offset, self._headers = offset, headers

    def offset(self) -> int:
        return self._offset

    def headers(self) -> Any:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


def found(*headers: Any) -> list[TracedRecords]:
    seen = Headers(WANTED)
    for n, each in enumerate(headers):
        seen([Message(10 + n, each)])
    return seen.found()


def test_records_of_a_context_are_counted_with_their_offsets() -> None:
    one, two = [("traceparent", context(1).encode())], [("other", b"x"), ("traceparent", context(2).encode())]
    assert found(one, one, two, one) == [TracedRecords("stream", 1, context(1), 10, 13, 3), TracedRecords("stream", 1, context(2), 12, 12, 1)]


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"00-abc", context(1).upper().encode() + b"z", context(1).encode() + b"\n"])
def test_a_header_that_is_no_context_is_ignored(value: bytes | None) -> None:
    assert found(None, [], [("traceparent", value)], [("TRACEPARENT", context(1).encode())]) == []


def test_a_foreign_header_that_the_client_cannot_read_is_ignored() -> None:
    """Other producers may write names that are not UTF-8. The batch with such a record would fail again and again."""
    unreadable = SystemError("<method 'headers' of 'confluent_kafka.cimpl.Message' objects> returned a result with an exception set")
    assert found(unreadable, [("traceparent", context(1).encode())]) == [TracedRecords("stream", 1, context(1), 11, 11, 1)]


def test_a_backlog_has_a_bounded_number_of_contexts() -> None:
    assert len(found(*([("traceparent", context(n + 1).encode())] for n in range(MAX_CONTEXTS + 5)))) == MAX_CONTEXTS


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Receiver]:
    forget_settings(monkeypatch, tmp_path)
    with otlp_receiver() as receiver:
        start_tracing(load_settings(tracing={"endpoint": receiver.endpoint}), "lake")
        yield receiver
        end_tracing()


def test_a_batch_has_a_span_in_the_trace_of_each_tick(receiver: Receiver) -> None:
    rig = Rig()
    for version, log in enumerate(rig.logs.values()):
        log.version = version + 7
    traced = [TracedRecords("stream", 0, context(1), 10, 14, 5), TracedRecords("stream", 0, context(2), 15, 18, 4)]
    rig.run([TablePart("prices", WrittenPart("p", 1, 9, "{}")), *traced], {("stream", 0): 20, ("raw", 0): 5})
    flush_spans(60.0)
    (batch,) = receiver.spans(name="lake batch")
    assert batch.parent == ""
    assert [trace for trace, _ in batch.links] == [context(n).split("-")[1] for n in (1, 2)]
    assert batch.attributes == {"cryptoviz.files": 1, "cryptoviz.rows": 9}
    assert [(one.name, one.parent, one.trace) for one in receiver.spans(trace=batch.trace) if one != batch] == [
        ("write files", batch.id, batch.trace),
        ("commit", batch.id, batch.trace),
    ]
    (commit,) = receiver.spans(name="commit")
    assert commit.attributes == {"cryptoviz.table": "prices", "cryptoviz.files": 1, "cryptoviz.table_version": 9}
    first, second = sorted(receiver.spans(name="lake commit"), key=lambda one: one.trace)
    for one, n in ((first, 1), (second, 2)):
        assert (one.trace, one.parent) == tuple(context(n).split("-")[1:3])
        assert one.links == ((batch.trace, batch.id),)
        assert one.begin <= batch.begin
        assert one.end <= batch.end
    assert first.attributes == {
        "cryptoviz.table": "prices", "cryptoviz.table_version": 9, "messaging.destination.name": "stream",
        "messaging.destination.partition.id": "0", "cryptoviz.first_offset": 10, "cryptoviz.last_offset": 14, "cryptoviz.records": 5,
    }  # fmt: skip
    assert rig.cluster.traced


def test_a_batch_that_fails_has_no_commit(receiver: Receiver) -> None:
    rig = Rig()
    rig.kafka.ids["stream"] = "id-new"
    with pytest.raises(Exception, match="re-created"):
        rig.run([TracedRecords("stream", 0, context(1), 10, 14, 5)], {("stream", 0): 20, ("raw", 0): 5})
    flush_spans(60.0)
    assert {one.name: one.failed for one in receiver.spans()} == {"lake batch": "LakeError", "write files": None}


def test_tasks_look_at_headers_only_while_tracing_is_on() -> None:
    rig = Rig()
    rig.run([TablePart("prices", WrittenPart("p", 1, 9, "{}"))], {("stream", 0): 20, ("raw", 0): 5})
    assert not rig.cluster.traced
