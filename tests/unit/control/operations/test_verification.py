"""The operation `verify`: its result, from a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.operations.verification import result_of
from cryptoviz.errors import TerminalError
from cryptoviz.lake.verify import Comparison, Report

GOOD = Comparison(
    topic="prices.stream", table="prices", reader="delta", kafka_records=50, rows=40, dead_letters=3, lost=0, doubled=0, unknown=0, pending=7,
    expired=0, repeated_events=0, covered={"0": "0-42"},
)  # fmt: skip
PLAIN = replace(GOOD, reader="plain")
RAW = replace(GOOD, topic="raw", table="raw", kafka_records=10, rows=10, dead_letters=0, pending=0)


def test_figures_count_each_record_of_kafka_once_whatever_the_readers() -> None:
    result = result_of(Report((GOOD, PLAIN, RAW)))
    assert result.message == "OK: nothing lost, nothing doubled"
    assert result.figures == {"kafka_records_total": 60.0, "pending_total": 7.0, "comparisons_total": 3.0}
    assert len(result.notes) == 3
    assert result.notes[0].startswith("prices.stream -> prices (delta reader): 50 in Kafka, 40 rows, 3 dead letters; lost 0,")


def test_a_difference_fails_the_operation_and_is_named() -> None:
    with pytest.raises(TerminalError) as fault:
        result_of(Report((GOOD, replace(PLAIN, lost=2, doubled=1, samples=("lost 0:17", "doubled 1:3")), replace(RAW, repeated_events=4))))
    assert fault.value.message == (
        "Kafka and the lake differ: prices (plain reader): lost 2, doubled 1, unknown 0, event ids repeated 0 (lost 0:17, doubled 1:3); "
        "raw (delta reader): lost 0, doubled 0, unknown 0, event ids repeated 4 (no offset)"
    )
