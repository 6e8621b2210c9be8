"""Selection of messages, the end of a range, and the cuts of record batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.settings import KafkaSettings
from spark_jobs.streaming import kafka_range_reader
from spark_jobs.streaming.kafka_range_reader import BATCH_BYTES, BATCH_RECORDS, OffsetRange, RecordBatcher, read_range, records_in_range


class Message:
    """A message like confluent-kafka's, or its event for the end of a partition."""

    def __init__(self, offset: int, size: int = 10, code: int | None = None) -> None:
        self._offset, self._size, self._code = offset, size, code

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_764_000_000_000

    def key(self) -> bytes:
        return b"bitcoin"

    def value(self) -> bytes:
        return b"{}"

    def __len__(self) -> int:
        return self._size


WANTED = OffsetRange("t", 0, 5, 9)


def test_a_range_is_over_with_its_last_record() -> None:
    good, at, done = records_in_range([Message(5), Message(8)], WANTED, 5)
    assert ([one.offset() for one in good], at, done) == ([5, 8], 9, True)


def test_a_range_that_ends_in_a_transactions_end_is_over_with_the_next_record_or_the_partition() -> None:
    assert records_in_range([Message(5), Message(7)], WANTED, 5)[2] is False
    assert records_in_range([Message(9)], WANTED, 8) == ([], 9, True)
    assert records_in_range([Message(9, code=KafkaError._PARTITION_EOF)], WANTED, 8) == ([], 9, True)
    assert records_in_range([Message(8, code=KafkaError._PARTITION_EOF)], WANTED, 8)[2] is False


def test_records_that_kafka_has_dropped_are_reported() -> None:
    with pytest.raises(LakeError, match=r"t\[0\]: Kafka no longer has all offsets of \[5, 9\)"):
        records_in_range([Message(-1, code=KafkaError._AUTO_OFFSET_RESET)], WANTED, 5)


@pytest.mark.parametrize("pieces", [1, 7])
def test_batches_are_cut_by_records_or_bytes_however_the_messages_come(pieces: int) -> None:
    small, large = [Message(n) for n in range(BATCH_RECORDS + 5)], [Message(n, 3 << 20) for n in range(4)]
    for messages, sizes in ((small, [BATCH_RECORDS, 5]), (large, [3, 1])):
        batcher = RecordBatcher()
        batches = [batch for start in range(0, len(messages), pieces) for batch in batcher.add(messages[start : start + pieces])]
        batches += batcher.rest()
        assert [batch.num_rows for batch in batches] == sizes
        assert [offset for batch in batches for offset in batch.column("offset").to_pylist()] == [one.offset() for one in messages]


def test_another_error_of_the_broker_is_worth_waiting_for() -> None:
    with pytest.raises(EngineUnavailable, match=r"t\[0\] \[5, 9\)"):
        records_in_range([Message(-1, code=KafkaError.UNKNOWN_TOPIC_OR_PART)], WANTED, 5)


def test_large_records_are_asked_for_by_the_few() -> None:
    batcher = RecordBatcher()
    before = batcher.records_at_once
    assert before * (1 << 20) <= 256 << 20
    list(batcher.add([Message(n, 1 << 20) for n in range(8)]))
    assert batcher.records_at_once == BATCH_BYTES >> 20
    small = RecordBatcher()
    list(small.add([Message(n, 380) for n in range(BATCH_RECORDS)]))
    assert small.records_at_once == BATCH_RECORDS


class FakeConsumer:
    """Returns these messages, one a call, from the assigned offset on; then nothing."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self.assigned: list[int] = []
        self.closed = False

    def assign(self, partitions: Sequence[Any]) -> None:
        self.assigned.append(partitions[0].offset)

    def unassign(self) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True

    def poll(self, timeout_s: float) -> Message | None:
        del timeout_s
        return self._messages.pop(0) if self._messages else None


def test_a_consumer_without_messages_is_replaced_and_the_task_reads_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    silent, good = FakeConsumer([Message(5), Message(6)]), FakeConsumer([Message(7), Message(8)])
    made = iter((silent, good))
    monkeypatch.setattr(kafka_range_reader, "kafka_consumer", lambda *_: next(made))
    monkeypatch.setattr(kafka_range_reader, "_RENEW_S", 0.0)
    monkeypatch.setattr(kafka_range_reader, "_consumers", {})
    (batch,) = read_range(KafkaSettings(), WANTED)
    assert batch.column("offset").to_pylist() == [5, 6, 7, 8]
    assert (silent.assigned, silent.closed, good.assigned, good.closed) == ([5], True, [7], False)


def test_a_broker_that_answers_no_consumer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [FakeConsumer([]), FakeConsumer([])]
    unused = iter(made)
    monkeypatch.setattr(kafka_range_reader, "kafka_consumer", lambda *_: next(unused))
    monkeypatch.setattr(kafka_range_reader, "_RENEW_S", 0.01)
    monkeypatch.setattr(kafka_range_reader, "_SILENCE_S", 0.05)
    monkeypatch.setattr(kafka_range_reader, "_consumers", {})
    with pytest.raises(EngineUnavailable, match=r"no record of t\[0\] \[5, 9\)"):
        list(read_range(KafkaSettings(), WANTED))
    assert [one.closed for one in made] == [True, False]
