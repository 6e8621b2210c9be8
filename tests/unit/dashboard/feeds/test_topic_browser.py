"""What is read of a topic's partitions, in whatever order Kafka gives their records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cryptoviz.settings import load_settings
from dashboard.feeds.topic_browser import TopicBrowser
from dashboard.views.topic_rows import Browse, Start

T0 = 1_700_000_000_000
RECORDS = 60
LIMIT = 20


class Message:
    """Record `offset` of a partition; of two partitions they are a second apart."""

    def __init__(self, partition: int, offset: int) -> None:
        self._partition, self._offset = partition, offset

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return f"coin-{self._partition}".encode()

    def value(self) -> bytes:
        return b"{}"

    def timestamp(self) -> tuple[int, int]:
        return 1, T0 + (2 * self._offset + self._partition) * 1000

    def headers(self) -> None: ...
    def error(self) -> None: ...


class Reader:
    """Gives the records in `order`, ten at a time."""

    def __init__(self, order: Sequence[tuple[int, int]]) -> None:
        self._left = list(order)

    def assign(self, _partitions: Any) -> None: ...

    def consume(self, _count: int, timeout: float) -> list[Message]:
        taken, self._left = self._left[:10], self._left[10:]
        return [Message(*one) for one in taken]


EACH = [(partition, offset) for partition in (0, 1) for offset in range(RECORDS)]


@pytest.mark.parametrize("order", [EACH, EACH[RECORDS:] + EACH[:RECORDS], sorted(EACH, key=lambda one: one[1])], ids=["0-1", "1-0", "mixed"])
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (Start.OLDEST, [(number % 2, number // 2) for number in range(LIMIT)]),
        (Start.NEWEST, [(number % 2, number // 2) for number in range(2 * RECORDS - 1, 2 * RECORDS - 1 - LIMIT, -1)]),
    ],
)
def test_the_first_and_the_last_records_are_those_of_all_partitions(
    order: Sequence[tuple[int, int]], start: Start, expected: list[tuple[int, int]]
) -> None:
    found = read(order, Browse("topic", start, limit=LIMIT))
    assert [(one.partition, one.offset) for one in found.records] == expected
    assert found.complete


def test_records_of_a_key_are_read_until_there_are_enough() -> None:
    found = read(sorted(EACH, key=lambda one: one[1]), Browse("topic", Start.OLDEST, key="coin-1", limit=LIMIT))
    assert [(one.partition, one.offset) for one in found.records] == [(1, offset) for offset in range(LIMIT)]
    assert found.scanned < 3 * LIMIT


def test_records_from_a_time_on_are_not_those_that_follow_it_with_an_earlier_one() -> None:
    """Kafka finds the first record of a time; those after it may be older. Offset 30 of partition 0 is 60 s after the first, of 1 61 s."""
    found = read(EACH, Browse("topic", Start.TIME, T0 + 60_000, limit=LIMIT))
    assert [(one.partition, one.offset) for one in found.records] == [(number % 2, 30 + number // 2) for number in range(LIMIT)]
    assert found.scanned == 2 * (30 + LIMIT)


def read(order: Sequence[tuple[int, int]], asked: Browse) -> Any:
    browse: Callable[..., Any] = TopicBrowser(load_settings())._read
    return browse(Reader(order), asked, {0: (0, RECORDS), 1: (0, RECORDS)})
