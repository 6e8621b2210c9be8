"""The number of dead letters that the lake reports."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from cryptoviz.settings import load_settings
from spark_jobs.streaming import dead_letter_counts
from spark_jobs.streaming.dead_letter_counts import DeadLetterCounter
from tests.support.waiting import eventually


def test_nothing_is_reported_before_the_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted job with 0 and then the table's 7 would look as if 7 records had been refused now."""
    readable = threading.Event()

    class Counts:
        def __init__(self, _: object) -> None:
            pass

        def look(self) -> Mapping[str, int]:
            readable.wait()
            return {"not_json": 4, "tombstone": 3}

    monkeypatch.setattr(dead_letter_counts, "ReasonCounts", Counts)
    counter = DeadLetterCounter(load_settings(), lambda: 0)
    assert counter.metrics() == {}
    counter.start()
    try:
        assert counter.metrics() == {}
        readable.set()
        eventually(counter.metrics)
        assert counter.metrics() == {"dead_letters_total": 7.0, "dead_letters_not_json_total": 4.0, "dead_letters_tombstone_total": 3.0}
    finally:
        readable.set()
        counter.close()
