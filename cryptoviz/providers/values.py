"""Single values of a provider's body. Nothing is coerced: a value of another type counts as missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import inf, isfinite
from typing import Any

from cryptoviz.records import FallbackReason

__all__ = [
    "bounded_ms",
    "count_or_none",
    "count_text",
    "epoch_ms",
    "number",
    "number_text",
    "positive_or_none",
    "positive_text",
    "price_of",
    "price_of_text",
    "rank_of",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FIRST_MS = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MS
_LAST_MS = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MS
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")


def number(value: Any) -> float | None:
    """A finite JSON number as a float; None for null, text, booleans and everything else."""
    # By exact type, which excludes booleans: called a dozen times for each coin.
    kind = type(value)
    if kind is float:
        return value if isfinite(value) else None
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def number_text(value: Any) -> float | None:
    """A finite decimal number in text, as exchanges write amounts; None for everything else, also for a JSON number."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        return None
    result = float(value)
    return result if isfinite(result) else None


def positive_text(value: Any) -> float | None:
    """A number above 0 in text."""
    result = number_text(value)
    return result if result is not None and result > 0.0 else None


def count_text(value: Any) -> float | None:
    """A number in text that may be 0."""
    result = number_text(value)
    return result if result is not None and result >= 0.0 else None


def price_of_text(value: Any) -> float | FallbackReason:
    """An exchange's last price, or the reason why there is none: null, empty text and 0 mean no trades; anything else is a bad payload."""
    if value is None or value == "":
        return FallbackReason.MISSING_ASSET
    result = number_text(value)
    if result is None or result < 0.0:
        return FallbackReason.BAD_PAYLOAD
    return result if result > 0.0 else FallbackReason.MISSING_ASSET


def price_of(value: Any) -> float | FallbackReason:
    """A price, or the reason why there is none: null is a missing asset; text, 0, negative and the like are a bad payload."""
    if value is None:
        return FallbackReason.MISSING_ASSET
    result = number(value)
    if result is None or result <= 0.0:
        return FallbackReason.BAD_PAYLOAD
    return result


def positive_or_none(value: Any) -> float | None:
    """A number above 0. Aggregators write 0 for a market cap, supply, high or low that they do not know."""
    result = value if type(value) is float else number(value)
    return result if result is not None and 0.0 < result < inf else None


def count_or_none(value: Any) -> float | None:
    """A number that may be 0, such as the volume of a coin without trades."""
    result = value if type(value) is float else number(value)
    return result if result is not None and 0.0 <= result < inf else None


def rank_of(value: Any) -> int | None:
    """A rank from 1 that fits the lake's int32."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def bounded_ms(value: int) -> int:
    """A time stamp, clamped to the calendar's range: whether it is plausible is decided in one place."""
    return min(max(value, _FIRST_MS), _LAST_MS)


def epoch_ms(value: Any) -> int | None:
    """UTC epoch ms of an ISO-8601 time with a zone; None for anything else. `actors.collecting.unify` decides whether it is plausible."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    # Whole milliseconds by integer arithmetic: a float second count loses the last digit.
    return (moment - _EPOCH) // _MS
