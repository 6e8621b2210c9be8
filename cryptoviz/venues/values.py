"""Single values of a venue's frames and responses: amounts as text and times as UTC epoch microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

__all__ = ["is_zero", "number_text", "plain", "possible", "require_decimals", "us_of_count", "us_of_text"]

FIRST_US = 1_230_768_000_000_000
"""2009-01-01 UTC, before the first trade of any coin."""
AHEAD_US = 86_400_000_000
"""A venue's clock may be wrong, but not by a day: such a time is a default or an overflow."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})")
_VALID_TIME = "valid is RFC 3339, as in 2026-01-31T12:00:00.123456Z"
_SECONDS = slice(17, 19)
"""Their place in it."""
_DECIMAL = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?")
_EXPONENT = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?[eE][+-]?[0-9]{1,2}")
_NUMBER = re.compile(r"[0-9.eE+-]{1,60}")
# By digits, because venues changed their unit, or it is an option of the request: seconds, ms, us, ns. Valid until 2286.
_UNITS = ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1))


def possible(moment_us: int, ingest_us: int) -> int | None:
    """The time of a trade; None if it cannot be: before 2009, or more than a day after it arrived."""
    return moment_us if FIRST_US <= moment_us <= ingest_us + AHEAD_US else None


def us_of_count(count: int, ingest_us: int) -> int | None:
    """Of a count since 1970 in s, ms, us or ns, recognized by its size, rounded down; None if it is impossible (see `possible`)."""
    for below, factor in _UNITS:
        if count < below:
            return possible(count * factor, ingest_us)
    return possible(count // 1_000, ingest_us)


def us_of_text(text: str, ingest_us: int) -> int | None:
    """Of an RFC 3339 text with up to 9 digits of a second, rounded down; None if it is impossible (see `possible`).

    A leap second (23:59:60 UTC) is the same as the second after it, as in POSIX, which does not count it.

    Raises:
        ValueError: not such a text.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError(f"time {text[:40]!r}: {_VALID_TIME}")
    leap = text[_SECONDS] == "60"
    try:
        since = datetime.fromisoformat(f"{text[: _SECONDS.start]}59{text[_SECONDS.stop :]}" if leap else text) - _EPOCH
    except OverflowError:
        # The offset leads out of the calendar.
        return None
    seconds = since.days * 86_400 + since.seconds + leap
    if leap and seconds % 86_400:
        raise ValueError(f"time {text[:40]!r}: {_VALID_TIME}")
    return possible(seconds * 1_000_000 + since.microseconds, ingest_us)


def number_text(raw: msgspec.Raw) -> str:
    """The text of a bare JSON number, with its trailing zeros.

    Raises:
        ValueError: another JSON value.
    """
    text = bytes(raw).decode()
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r}: valid is a JSON number")
    return text


def plain(text: str) -> str:
    """A decimal number without exponent. Text without one is returned as it is; `1E-8` becomes `0.00000001`, which is as exact."""
    return f"{Decimal(text):f}" if _EXPONENT.fullmatch(text) else text


def require_decimals(what: str, *texts: str) -> None:
    """Raises `ValueError` unless each text is a plain decimal number, 0 or above."""
    for text in texts:
        if _DECIMAL.fullmatch(text) is None:
            raise ValueError(f"{what} has {text[:40]!r}: valid is a decimal number")


def is_zero(text: str) -> bool:
    """Whether an amount is 0, however it is written."""
    return bool(text) and not text.strip("0.")
