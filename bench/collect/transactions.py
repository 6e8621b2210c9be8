"""One Kafka transaction, by what it commits besides its records: nothing, the producer's progress, and the topic's id in it (ADR 8)."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from unittest import mock

from cryptoviz.kafka import OwnedProducer, Record, producer, transactions
from cryptoviz.settings import Settings

__all__ = ["transaction_times"]

VALUE = b"x" * 400


def transaction_times(settings: Settings, rounds: int) -> dict[str, dict[str, float]]:
    """Median ms of a transaction of 1 and of 17 records.

    The kinds take turns, so that other work on the machine slows all of them alike. Each has a producer of its own, because a transaction right after
    another of the same producer may wait until the broker has completed the earlier one: `in_a_row` is the mean of such transactions.
    """
    return {str(count): _by_kind(settings, [Record(settings.kafka.stream_topic, None, VALUE)] * count, rounds) for count in (1, 17)}


def _by_kind(settings: Settings, records: list[Record], rounds: int) -> dict[str, float]:
    topic = settings.kafka.stream_topic
    plain = producer(settings.kafka, {"transactional.id": uuid.uuid4().hex, "acks": "all"})
    plain.init_transactions(30)
    owned, short = (OwnedProducer(settings.kafka, f"bench-{uuid.uuid4().hex}", topic) for _ in range(2))
    owned.connect()
    short.connect()
    topic_id = owned.progress.topic_id

    def without_progress() -> None:
        plain.begin_transaction()
        for record in records:
            plain.produce(record.topic, value=record.value)
        plain.commit_transaction(30)

    def with_progress() -> None:
        with mock.patch.object(transactions, "_topic_id_of", return_value=topic_id):
            short.commit(records, 1, uuid.uuid4().hex)

    def whole() -> None:
        owned.commit(records, 1, uuid.uuid4().hex)

    kinds: dict[str, Callable[[], None]] = {"records": without_progress, "progress": with_progress, "topic_id": whole}
    took: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            begun = time.perf_counter()
            run()
            took[name].append((time.perf_counter() - begun) * 1000)
    begun = time.perf_counter()
    for _ in range(rounds):
        whole()
    in_a_row = (time.perf_counter() - begun) * 1000 / rounds
    owned.close()
    short.close()
    return {name: statistics.median(values) for name, values in took.items()} | {"in_a_row": in_a_row}
