"""Validation of time arguments: datetime or ISO 8601 text, always with a time zone."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptoviz.errors import InvalidTime

__all__ = ["When", "check_range", "moment"]

When = datetime | str | None


def moment(when: When, argument: str) -> datetime | None:
    """Convert an aware datetime, or ISO 8601 text with an offset or `Z`, to UTC.

    Raises:
        InvalidTime: not a time, or without a time zone.
    """
    if when is None:
        return None
    try:
        parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        raise InvalidTime(f"{argument} is {when!r}: valid is ISO 8601 with an offset, as in 2026-01-31T12:00:00Z", argument=argument) from None
    if not isinstance(parsed, datetime):
        raise InvalidTime(f"{argument} is {when!r}: valid are datetime with a time zone and ISO 8601 text", argument=argument)
    if parsed.tzinfo is None:
        raise InvalidTime(
            f"{argument} is {when!r} without a time zone: add one, as in 2026-01-31T12:00:00Z or datetime(..., tzinfo=UTC)", argument=argument
        )
    return parsed.astimezone(UTC)


def check_range(start: When, end: When) -> tuple[datetime | None, datetime | None]:
    """Convert both ends of a range with `moment`.

    Raises:
        InvalidTime: as `moment`, or start is not before end.
    """
    low, high = moment(start, "start"), moment(end, "end")
    if low is not None and high is not None and low >= high:
        raise InvalidTime(f"start {low.isoformat()} is not before end {high.isoformat()}: start is inclusive, end exclusive", argument="start")
    return low, high
