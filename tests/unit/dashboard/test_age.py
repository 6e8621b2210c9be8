"""Ages are judged in ticks."""

from __future__ import annotations

import pytest

from dashboard.view_logic.age import Age, age_label, classify_age, format_age


@pytest.mark.parametrize("tick_ms", [2_000, 60_000])
@pytest.mark.parametrize(("ticks", "age"), [(0, Age.LIVE), (1.99, Age.LIVE), (2, Age.LATE), (4.99, Age.LATE), (5, Age.STALE), (1000, Age.STALE)])
def test_two_ticks_are_live_and_five_are_late(tick_ms: int, ticks: float, age: Age) -> None:
    assert classify_age(round(ticks * tick_ms), tick_ms) is age


def test_without_a_row_there_is_no_data_which_is_not_stale() -> None:
    assert classify_age(None, 2_000) is Age.NO_DATA
    assert age_label(Age.NO_DATA) == "no data"
    assert format_age(None) == "—"


@pytest.mark.parametrize(
    ("age_ms", "shown"),
    [(-50, "0s"), (999, "0s"), (59_999, "59s"), (60_000, "1m 0s"), (200_000, "3m 20s"), (18_720_000, "5h 12m"), (183_600_000, "2d 3h")],
)
def test_ages_have_two_units_at_most(age_ms: int, shown: str) -> None:
    assert format_age(age_ms) == shown
