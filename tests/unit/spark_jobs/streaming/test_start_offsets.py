"""Start offsets: the tables' progress compared with Kafka's retained offsets."""

from __future__ import annotations

import pytest

from cryptoviz.errors import LakeError
from spark_jobs.streaming.start_offsets import StartPoint, check_start


def point(progress: int | None, earliest: int = 0, end: int = 100, partition: int = 0) -> StartPoint:
    return StartPoint("stream", "id-1", partition, earliest, end, progress)


def test_new_topic_starts_at_its_beginning_and_known_ones_at_their_progress() -> None:
    assert check_start([point(None, earliest=7), point(40, partition=1), point(100, partition=2)]) == {"stream": {0: 7, 1: 40, 2: 100}}


def test_offsets_that_kafka_dropped_are_named() -> None:
    with pytest.raises(LakeError, match=r"stream\[0\]: Kafka no longer has the offsets \[40, 60\).*CRYPTOVIZ_LAKE__ACCEPT_LOST_OFFSETS"):
        check_start([point(40, earliest=60)])


def test_lost_offsets_can_be_accepted() -> None:
    assert check_start([point(40, earliest=60)], accept_lost=True) == {"stream": {0: 60}}


def test_a_topic_that_ends_below_the_progress_is_refused_in_any_case() -> None:
    with pytest.raises(LakeError, match=r"lost \[100, 120\)"):
        check_start([point(120)], accept_lost=True)
