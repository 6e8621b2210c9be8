"""How old the data is, in ticks: the demo's 2 s and the live 60 s are judged alike."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Age", "age_label", "classify_age", "format_age"]

# A tick shows 0.3-0.8 s after its slot, so one whole tick of age is the normal case: live ends at two.
LIVE_TICKS = 2
LATE_TICKS = 5

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86_400


class Age(StrEnum):
    """Classes of age; also the CSS class `cv-age-<value>`."""

    LIVE = "live"
    LATE = "late"
    STALE = "stale"
    NO_DATA = "no-data"


def classify_age(age_ms: int | None, tick_ms: int) -> Age:
    """Class of a row whose tick (slot) was `age_ms` ago; None means that there is no row at all."""
    if age_ms is None:
        return Age.NO_DATA
    if age_ms < LIVE_TICKS * tick_ms:
        return Age.LIVE
    return Age.LATE if age_ms < LATE_TICKS * tick_ms else Age.STALE


_LABELS = {Age.LIVE: "live", Age.LATE: "late", Age.STALE: "stale", Age.NO_DATA: "no data"}


def age_label(age: Age) -> str:
    """The class in words: colour is never the only sign."""
    return _LABELS[age]


def format_age(age_ms: int | None) -> str:
    """A duration in its two leading units at most: `4s`, `3m 20s`, `5h 12m`, `2d 3h`."""
    if age_ms is None:
        return "—"
    seconds = max(0, age_ms) // 1000
    if seconds < _MINUTE_S:
        return f"{seconds}s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S}m {seconds % _MINUTE_S}s"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S}h {seconds % _HOUR_S // _MINUTE_S}m"
    return f"{seconds // _DAY_S}d {seconds % _DAY_S // _HOUR_S}h"
