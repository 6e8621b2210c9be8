"""Times in UTC: epoch milliseconds, datetimes and text, and the validation of time arguments (datetime or ISO 8601 text, with a time zone)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptoviz.errors import InvalidTime

__all__ = ["DAY_MS", "When", "check_range", "epoch_ms", "epoch_us", "iso_ms", "moment", "second_text", "typed_ms", "utc"]

When = datetime | str | None
DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(moment_ms: int) -> datetime:
    """The time of UTC epoch ms."""
    return _EPOCH + timedelta(milliseconds=moment_ms)


def epoch_ms(when: datetime) -> int:
    """UTC epoch ms of an aware datetime, rounded down."""
    return (when - _EPOCH) // timedelta(milliseconds=1)


def epoch_us(when: datetime) -> int:
    """UTC epoch us of an aware datetime."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def iso_ms(moment_ms: int) -> str:
    """UTC epoch ms as text: `2026-01-31T12:00:00.000Z`."""
    return utc(moment_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def second_text(moment_ms: int) -> str:
    """UTC epoch ms as text to the second: `2026-01-31T12:00:00Z`."""
    return utc(moment_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(when: When, argument: str) -> datetime | None:
    """Convert an aware datetime, or ISO 8601 text with an offset or `Z`, to UTC.

    Raises:
        InvalidTime: not a time, without a time zone, or before the year 1 or after 9999 in UTC.
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
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise InvalidTime(f"{argument} is {when!r}: valid are times whose year in UTC is 1 to 9999", argument=argument) from None


def typed_ms(text: str) -> int | None:
    """UTC epoch ms of ISO 8601 text that a person typed, of which the offset may be left out: UTC. None: not such a time."""
    try:
        found = datetime.fromisoformat(text.strip())
        return epoch_ms(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def check_range(start: When, end: When) -> tuple[datetime | None, datetime | None]:
    """Convert both ends of a range with `moment`.

    Raises:
        InvalidTime: as `moment`, or start is not before end.
    """
    low, high = moment(start, "start"), moment(end, "end")
    if low is not None and high is not None and low >= high:
        raise InvalidTime(f"start {low.isoformat()} is not before end {high.isoformat()}: start is inclusive, end exclusive", argument="start")
    return low, high
