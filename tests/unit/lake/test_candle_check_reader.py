"""Which candles of venues are compared unless a start is given."""

from datetime import UTC, date, datetime

import pytest

from cryptoviz.lake.candle_check_reader import checked_from

DAYS = [date(2026, 3, day) for day in (1, 2, 20, 21)]


@pytest.mark.parametrize(
    ("high", "expected"),
    [(None, 15), (datetime(2026, 3, 20, tzinfo=UTC), 14), (datetime(2026, 3, 21, 9, tzinfo=UTC), 15), (datetime(2026, 2, 1, tzinfo=UTC), None)],
    ids=["newest", "midnight", "within a day", "before all"],
)
def test_without_a_start_the_last_seven_days_are_compared(high: datetime | None, expected: int | None) -> None:
    assert checked_from(DAYS, high) == (None if expected is None else datetime(2026, 3, expected, tzinfo=UTC))


def test_a_table_without_days_has_none() -> None:
    assert checked_from((), None) is None
