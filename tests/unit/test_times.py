"""Times that people type."""

from __future__ import annotations

import pytest

from cryptoviz.errors import InvalidTime
from cryptoviz.times import moment, typed_ms

NOON_MS = 1_769_860_800_000  # 2026-01-31T12:00:00Z: 1 767 225 600 s (2026-01-01) + 30 days + 12 hours


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-31T12:00:00Z", NOON_MS),
        (" 2026-01-31 12:00 ", NOON_MS),
        ("2026-01-31T13:30:00+01:30", NOON_MS),
        ("2026-01-31T12:00:00.0019", NOON_MS + 1),
        ("2026-01-31", NOON_MS - 12 * 3_600_000),
        ("noon", None),
        ("", None),
    ],
)
def test_a_typed_time_without_an_offset_is_utc(text: str, found: int | None) -> None:
    assert typed_ms(text) == found


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"], ids=["before", "after"])
def test_a_time_that_utc_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(InvalidTime, match=r"--from is '.*': valid are times whose year in UTC is 1 to 9999") as caught:
        moment(text, "--from")
    assert caught.value.argument == "--from"
