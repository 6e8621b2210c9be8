"""Times that people type."""

from __future__ import annotations

import pytest

from cryptoviz.times import typed_ms

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
