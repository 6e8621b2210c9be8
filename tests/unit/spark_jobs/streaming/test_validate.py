"""Cases that the corpus of small values does not cover."""

from __future__ import annotations

import pytest

from cryptoviz.errors import RecordError
from spark_jobs.streaming.validate import check_record
from spark_jobs.tables.record_spec import PRICES_SPEC, Reason
from tests.support.poison import GOOD, STAMP


def test_deep_nesting_is_refused_and_does_not_end_the_worker() -> None:
    deep = GOOD.replace(b'"rank":1', b'"rank":1,"x":' + b'{"a":' * 1010 + b"1" + b"}" * 1010)
    with pytest.raises(RecordError, match="nested too deeply") as caught:
        check_record(deep, STAMP, PRICES_SPEC)
    assert caught.value.reason is Reason.NOT_JSON


def test_a_reason_shows_a_bad_value_in_part_only() -> None:
    with pytest.raises(RecordError) as caught:
        check_record(GOOD.replace(b'"rank":1', b'"rank":"' + b"x" * 5000 + b'"'), STAMP, PRICES_SPEC)
    assert "rank is 'xxx" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_kafka_without_time_stamps_does_not_make_ticks_implausible_forever() -> None:
    """Kafka returns -1 for a missing time: then only ticks of the first day of 2009 are plausible, so the record is a dead letter."""
    with pytest.raises(RecordError) as caught:
        check_record(GOOD, -1, PRICES_SPEC)
    assert caught.value.reason is Reason.BAD_TIME
